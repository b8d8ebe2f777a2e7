//! Users and groups as the image's own `/etc/passwd` and `/etc/group` know them.

use postern_proto as proto;

use super::error::{chain, shown};
use super::{FileError, Root};

/// Real files of this kind are a few KiB; a hostile image brings a gigabyte, a
/// FIFO or a link to a device (CVE-2026-47262).
const MAX_DATABASE: u64 = 1 << 20;

/// The kernel takes no more supplementary groups (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65_536;

/// `(uid_t) -1` means "leave it" to chown(2) and setresuid(2), never a user.
const MAX_ID: u32 = u32::MAX - 1;

/// Who a command runs as, or whose rights apply to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups, the primary one among them.
    pub groups: Vec<u32>,
    /// Login name; the uid in digits where passwd has none.
    pub name: String,
    /// Home directory; `/` where passwd has none.
    pub home: String,
    /// Login shell; `/bin/sh` where passwd has none.
    pub shell: String,
}

/// Why a user of a request is nobody.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No such name in passwd.
    #[error("there is no user {0} in the image's /etc/passwd")]
    NoSuchUser(String),
    /// No such name in group.
    #[error("there is no group {0} in the image's /etc/group")]
    NoSuchGroup(String),
    /// The text is not `user`, `uid`, `user:group` or `uid:gid`.
    #[error("{text} is not a user: {why}")]
    Malformed {
        /// As it was given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// passwd or group cannot be read.
    #[error("looking up the user {text}")]
    Unreadable {
        /// As it was given.
        text: String,
        /// What happened.
        #[source]
        cause: FileError,
    },
}

impl From<UserError> for proto::Error {
    fn from(error: UserError) -> Self {
        Self::invalid("user", chain(&error))
    }
}

impl User {
    /// The user of the agent itself, for what is done on nobody's behalf.
    pub fn root() -> Self {
        Self {
            uid: 0,
            gid: 0,
            groups: vec![0],
            name: "root".into(),
            home: "/root".into(),
            shell: "/bin/sh".into(),
        }
    }

    /// Finds `""` (root), `name`, `uid`, `name:group` or `uid:gid`.
    ///
    /// Digits are always an id, never a name, so that no line of passwd can give
    /// `1000` another uid. A group that is named takes the place of all others,
    /// as with `docker run --user`.
    pub fn resolve(root: &Root, spec: &str) -> Result<Self, UserError> {
        let spec = if spec.is_empty() { "0" } else { spec };
        let unreadable = |cause| UserError::Unreadable { text: shown(spec.as_bytes()), cause };
        let (who, group) = parse(spec)?;
        // Two numbers need no file, and work in an image whose files are traps.
        let by_number = matches!((&who, &group), (Who::Id(_), Some(Who::Id(_))));
        let read = |path| match root.read_capped(path, MAX_DATABASE) {
            Err(_) if by_number => Ok(Vec::new()),
            read => read.map(Option::unwrap_or_default).map_err(unreadable),
        };
        let passwd = read("/etc/passwd")?;
        let groups = read("/etc/group")?;
        let mut user = match who {
            Who::Id(uid) => {
                find_by(&passwd, |line| line.uid == uid).unwrap_or_else(|| nameless(uid))
            }
            Who::Name(name) => find_by(&passwd, |line| line.name == name)
                .ok_or_else(|| UserError::NoSuchUser(shown(name.as_bytes())))?,
        };
        match group {
            None => user.groups = memberships(&groups, &user, spec)?,
            Some(group) => {
                user.gid = match group {
                    Who::Id(gid) => gid,
                    Who::Name(name) => group_lines(&groups)
                        .find(|line| line.name == name)
                        .map(|line| line.gid)
                        .ok_or_else(|| UserError::NoSuchGroup(shown(name.as_bytes())))?,
                };
                user.groups = vec![user.gid];
            }
        }
        Ok(user)
    }
}

enum Who<'a> {
    Id(u32),
    Name(&'a str),
}

fn parse(spec: &str) -> Result<(Who<'_>, Option<Who<'_>>), UserError> {
    let malformed = |why| UserError::Malformed { text: shown(spec.as_bytes()), why };
    let part = |text| parse_part(text).map_err(malformed);
    match spec.split_once(':') {
        None => Ok((part(spec)?, None)),
        Some((_, group)) if group.contains(':') => Err(malformed("it has more than one colon")),
        Some((who, group)) => Ok((part(who)?, Some(part(group)?))),
    }
}

fn parse_part(text: &str) -> Result<Who<'_>, &'static str> {
    if text.is_empty() {
        return Err("a part of it is empty");
    }
    if text.starts_with(['-', '+']) {
        return Err("an id has no sign and a name does not begin with one");
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(Who::Name(text));
    }
    parse_id(text).map(Who::Id).ok_or("the id is larger than any")
}

fn parse_id(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|id| *id <= MAX_ID)
}

/// A uid that passwd does not know has a group of 0, as in every other runtime.
fn nameless(uid: u32) -> User {
    let name = if uid == 0 { "root".to_owned() } else { uid.to_string() };
    User { uid, gid: 0, groups: Vec::new(), name, home: "/".into(), shell: "/bin/sh".into() }
}

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a [u8],
    shell: &'a [u8],
}

/// The first line that fits. Lines that are not lines of passwd are passed over.
fn find_by(passwd: &[u8], fits: impl Fn(&PasswdLine<'_>) -> bool) -> Option<User> {
    let line = lines(passwd).filter_map(passwd_line).find(fits)?;
    let text_or = |bytes: &[u8], default: &str| {
        if bytes.is_empty() {
            default.to_owned()
        } else {
            String::from_utf8_lossy(bytes).into_owned()
        }
    };
    Some(User {
        uid: line.uid,
        gid: line.gid,
        groups: Vec::new(),
        name: line.name.to_owned(),
        home: text_or(line.home, "/"),
        shell: text_or(line.shell, "/bin/sh"),
    })
}

fn passwd_line(line: &[u8]) -> Option<PasswdLine<'_>> {
    let mut fields = line.split(|b| *b == b':');
    let name = std::str::from_utf8(fields.next()?).ok().filter(|n| !n.is_empty())?;
    let _password = fields.next()?;
    let uid = parse_id(std::str::from_utf8(fields.next()?).ok()?)?;
    let gid = parse_id(std::str::from_utf8(fields.next()?).ok()?)?;
    let _gecos = fields.next();
    let home = fields.next().unwrap_or_default();
    let shell = fields.next().unwrap_or_default();
    Some(PasswdLine { name, uid, gid, home, shell })
}

struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a [u8],
}

fn group_lines(groups: &[u8]) -> impl Iterator<Item = GroupLine<'_>> {
    lines(groups).filter_map(|line| {
        let mut fields = line.split(|b| *b == b':');
        let name = std::str::from_utf8(fields.next()?).ok().filter(|n| !n.is_empty())?;
        let _password = fields.next()?;
        let gid = parse_id(std::str::from_utf8(fields.next()?).ok()?)?;
        Some(GroupLine { name, gid, members: fields.next().unwrap_or_default() })
    })
}

/// The primary group and every group that lists the user.
fn memberships(groups: &[u8], user: &User, spec: &str) -> Result<Vec<u32>, UserError> {
    let mut ids = vec![user.gid];
    ids.extend(
        group_lines(groups)
            .filter(|line| line.members.split(|b| *b == b',').any(|m| m == user.name.as_bytes()))
            .map(|line| line.gid),
    );
    ids.sort_unstable();
    ids.dedup();
    if ids.len() > MAX_GROUPS {
        return Err(UserError::Malformed {
            text: shown(spec.as_bytes()),
            why: "it is in more groups than the kernel takes",
        });
    }
    Ok(ids)
}

/// A NUL cannot be passed on to a process, so such a line is none.
fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split(|b| *b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.contains(&0))
}

#[cfg(test)]
mod tests;
