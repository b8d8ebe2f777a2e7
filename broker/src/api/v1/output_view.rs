//! Output in a JSON answer: text, and where it is not UTF-8 also its exact bytes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

/// Puts `name`, and beside it `name_encoding` and `name_base64` if the text
/// alone would not be exact.
pub(super) fn put(view: &mut Map<String, Value>, name: &str, bytes: Vec<u8>) {
    match String::from_utf8(bytes) {
        Ok(text) => {
            view.insert(name.to_owned(), text.into());
        }
        Err(error) => {
            let bytes = error.as_bytes();
            view.insert(name.to_owned(), String::from_utf8_lossy(bytes).into());
            view.insert(format!("{name}_encoding"), "base64".into());
            view.insert(format!("{name}_base64"), BASE64.encode(bytes).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_marked() {
        let mut view = Map::new();
        put(&mut view, "output", b"h\xc3\xa9".to_vec());
        assert_eq!(view.len(), 1);
        assert_eq!(view["output"], "hé");
        put(&mut view, "stderr", b"a\xff".to_vec());
        assert_eq!(view["stderr"], "a\u{fffd}");
        assert_eq!(view["stderr_encoding"], "base64");
        assert_eq!(view["stderr_base64"], "Yf8=");
    }
}
