//! Text that many values share without a copy.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use serde::{Serialize, Serializer};

/// A part of a larger piece of memory that is text. A clone is cheap.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(Bytes);

impl From<Bytes> for Text {
    /// Invalid UTF-8 is replaced, as in [`String::from_utf8_lossy`].
    fn from(bytes: Bytes) -> Text {
        match std::str::from_utf8(&bytes) {
            Ok(_) => Text(bytes),
            Err(_) => Text(String::from_utf8_lossy(&bytes).into_owned().into()),
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).expect("it was looked at when it was made")
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_made_one() {
        let text = Text::from(Bytes::from_static(b"a\xff"));
        assert_eq!(
            (&*text, format!("{text:>3}{text:?}")),
            ("a\u{fffd}", " a\u{fffd}\"a\u{fffd}\"".to_owned())
        );
        assert_eq!(serde_json::to_string(&Text::from("x")).unwrap(), r#""x""#);
    }
}
