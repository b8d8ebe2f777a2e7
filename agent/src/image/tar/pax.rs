//! PAX extended headers: records of `LENGTH KEY=VALUE\n`.

use super::TarError;
use super::header::id;
use super::sparse::PaxSparse;

const XATTR: &[u8] = b"SCHILY.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";

/// Linux's own bounds on an extended attribute, `XATTR_NAME_MAX` and
/// `XATTR_SIZE_MAX`.
const MAX_XATTR_NAME: usize = 255;
const MAX_XATTR_VALUE: usize = 65_536;

/// Digits of a fraction that a timespec holds.
const NANO_DIGITS: usize = 9;

/// What a PAX header says of the next entry. The last record of a key counts;
/// an empty value leaves what the plain header says.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Option<PaxSparse>,
}

impl Pax {
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, TarError> {
        let mut pax = Self::default();
        while !bytes.is_empty() {
            let (key, value, rest) = record(bytes).ok_or(TarError::BadField("PAX record"))?;
            pax.set(key, value)?;
            bytes = rest;
        }
        Ok(pax)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        if let Some(name) = key.strip_prefix(XATTR) {
            let named = (1..=MAX_XATTR_NAME).contains(&name.len()) && !name.contains(&0);
            if !named || value.len() > MAX_XATTR_VALUE {
                return Err(TarError::BadField("PAX attribute"));
            }
            self.xattrs.push((name.to_vec(), value.to_vec()));
            return Ok(());
        }
        if let Some(key) = key.strip_prefix(SPARSE) {
            return self.sparse.get_or_insert_default().set(key, value);
        }
        let given = !value.is_empty();
        match key {
            b"path" => self.path = text(value, "PAX path")?,
            b"linkpath" => self.link = text(value, "PAX linkpath")?,
            b"size" => {
                self.size = if given { Some(size(value)?) } else { None };
            }
            b"uid" => self.uid = if given { Some(id(decimal(value), "PAX uid")?) } else { None },
            b"gid" => self.gid = if given { Some(id(decimal(value), "PAX gid")?) } else { None },
            b"mtime" => {
                self.mtime = match time(value) {
                    _ if !given => None,
                    None => return Err(TarError::BadField("PAX mtime")),
                    time => time,
                };
            }
            // Names of owners, access times, comments, other programs' keys.
            _ => {}
        }
        Ok(())
    }
}

/// Splits the first record off: its key, its value, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|b| *b == b' ')?;
    let len = usize::try_from(decimal(bytes.get(..space)?)?).ok()?;
    let line = bytes.get(space + 1..len)?.strip_suffix(b"\n")?;
    let equals = line.iter().position(|b| *b == b'=')?;
    let key = line.get(..equals).filter(|key| !key.is_empty())?;
    Some((key, line.get(equals + 1..)?, bytes.get(len..)?))
}

fn text(value: &[u8], what: &'static str) -> Result<Option<Vec<u8>>, TarError> {
    if value.contains(&0) {
        return Err(TarError::BadField(what));
    }
    Ok(Some(value).filter(|v| !v.is_empty()).map(<[u8]>::to_vec))
}

fn size(value: &[u8]) -> Result<u64, TarError> {
    let size = decimal(value).and_then(|n| u64::try_from(n).ok());
    size.ok_or(TarError::BadField("PAX size"))
}

/// Digits only: a sign is where two programs part ways.
pub(super) fn decimal(text: &[u8]) -> Option<i64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0i64, |n, b| match b {
        b'0'..=b'9' => n.checked_mul(10)?.checked_add(i64::from(b - b'0')),
        _ => None,
    })
}

/// `[-]SECONDS[.FRACTION]`, what is finer than a nanosecond cut off.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (seconds, fraction) = match text.iter().position(|b| *b == b'.') {
        Some(dot) => (text.get(..dot)?, text.get(dot + 1..)?),
        None => (text, &[][..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = decimal(seconds)?;
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(NANO_DIGITS);
    let nanos = digits.fold(0u32, |n, b| n * 10 + u32::from(b - b'0'));
    Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        // A timespec counts its nanoseconds forward.
        (true, _) => ((-seconds).checked_sub(1)?, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond_on_both_sides_of_the_epoch() {
        for (text, want) in [
            ("1700000000", Some((1_700_000_000, 0))),
            ("1.5", Some((1, 500_000_000))),
            ("1.123456789987", Some((1, 123_456_789))),
            ("1.", Some((1, 0))),
            ("-1.5", Some((-2, 500_000_000))),
            ("-3", Some((-3, 0))),
            ("9223372036854775807", Some((i64::MAX, 0))),
            ("9223372036854775808", None),
            ("1.x", None),
            ("--1", None),
            (".5", None),
            ("", None),
        ] {
            assert_eq!(time(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn records_that_lie_about_their_length_are_refused() {
        for bad in [
            "6 a=b",
            "5 a=b\n",
            "99 a=b\n",
            "0 a=b\n",
            "-6 a=b\n",
            "6 abc\n",
            "5 =b\n",
            "x",
            " ",
            "99999999999999999999 a=b\n",
        ] {
            assert!(Pax::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert_eq!(Pax::parse(b"9 path=a\n9 path=b\n").unwrap().path.unwrap(), b"b");
        assert_eq!(Pax::parse(b"9 path=a\n8 path=\n").unwrap().path, None);
        assert!(Pax::parse(b"12 path=a\0b\n").is_err());
        assert!(Pax::parse(b"12 size=-10\n").is_err());
    }
}
