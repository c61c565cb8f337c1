//! Names that are safe wherever a record's name is used.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::sanitize::excerpt;

/// The name of a node, a service or an instance: `[A-Za-z0-9][A-Za-z0-9_.-]{0,63}`.
///
/// Every target format accepts these characters, so a name is never quoted. HAProxy accepts exactly
/// `[A-Za-z0-9_.:-]` in the name of a proxy or server (measured with 2.6). The colon is left out because it
/// separates host and port everywhere else. The first character is restricted further, so that a name is
/// never an option (`-x`), a hidden file, `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Name(String);

impl Name {
    /// The most characters of a name.
    pub const MAX_LENGTH: usize = 64;

    /// Parses a name. The error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        // The fast path for valid names; a roster has a hundred thousand.
        if let [first, rest @ ..] = text.as_bytes()
            && rest.len() < Self::MAX_LENGTH
            && first.is_ascii_alphanumeric()
            && rest.iter().all(|byte| may_follow(char::from(*byte)))
        {
            return Ok(Self(text.to_owned()));
        }
        let first = text.chars().next().ok_or(NameError::Empty)?;
        let length = text.chars().count();
        if length > Self::MAX_LENGTH {
            return Err(NameError::TooLong { length, shown: excerpt(text) });
        }
        if !first.is_ascii_alphanumeric() {
            return Err(NameError::First { character: first, shown: excerpt(text) });
        }
        match text.chars().enumerate().find(|&(_, character)| !may_follow(character)) {
            Some((index, character)) => {
                Err(NameError::Character { character, position: index + 1, shown: excerpt(text) })
            }
            None => Ok(Self(text.to_owned())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn may_follow(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-')
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

/// Why a text is not a [`Name`].
///
/// `shown` is the beginning of the text with control characters escaped: safe to print.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("the name is empty")]
    Empty,
    /// More than [`Name::MAX_LENGTH`] characters.
    #[error("the name `{shown}` is too long: {length} characters, at most {max} are allowed", max = Name::MAX_LENGTH)]
    TooLong {
        /// How many characters there are.
        length: usize,
        /// The beginning of the text.
        shown: String,
    },
    /// The first character is not an ASCII letter or digit.
    #[error("the name `{shown}` starts with `{}`; it must start with a letter or digit (ASCII)", character.escape_debug())]
    First {
        /// The character in question.
        character: char,
        /// The beginning of the text.
        shown: String,
    },
    /// A later character is not allowed.
    #[error(
        "character {position} of the name `{shown}` is `{}`; only letters, digits (ASCII), `_`, `.` and `-` are allowed",
        character.escape_debug()
    )]
    Character {
        /// The character in question.
        character: char,
        /// Its position, in characters from 1.
        position: usize,
        /// The beginning of the text.
        shown: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expect: Result<(), &str>) {
        let outcome = Name::parse(input).map(|name| assert_eq!(name.to_string(), input));
        assert_eq!(outcome.map_err(|error| error.to_string()), expect.map_err(str::to_owned));
    }

    #[test]
    fn accepts_the_allow_list() {
        for name in ["a", "0", "web-1", "i-0abc.eu_west", "A..b", "10.0.0.1", &"x".repeat(64)] {
            check(name, Ok(()));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        check("", Err("the name is empty"));
        check(
            &"x".repeat(65),
            Err(
                "the name `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…` is too long: 65 characters, at most 64 are allowed",
            ),
        );
        check("-x", Err("the name `-x` starts with `-`; it must start with a letter or digit (ASCII)"));
        check("..", Err("the name `..` starts with `.`; it must start with a letter or digit (ASCII)"));
        check("é", Err("the name `é` starts with `é`; it must start with a letter or digit (ASCII)"));
        check(
            "web\n server evil",
            Err(
                r"character 4 of the name `web\n server evil` is `\n`; only letters, digits (ASCII), `_`, `.` and `-` are allowed",
            ),
        );
    }

    /// The injection table of HAProxy, tried as names, and characters that other formats would act upon.
    #[test]
    fn refuses_what_any_format_acts_upon() {
        let refused = [
            "a b",
            "a\tb",
            "a\nb",
            "a\rb",
            "a\0b",
            "a#b",
            "a$HOME",
            "a${HOME}",
            r"a\x31",
            "a'b",
            "a\"b",
            "a\\",
            "a:b",
            "a/b",
            "../a",
            "a@b",
            "a%b",
            "a;b",
            "a{b",
            "a<b",
            "a*",
            "é1",
            "a\u{200b}",
            "a\u{7f}",
            "*",
            "[::]",
            " a",
            "a ",
        ];
        for text in refused {
            let message = Name::parse(text).expect_err(text).to_string();
            assert!(!message.contains(char::is_control), "{message:?}");
        }
    }

    #[test]
    fn serializes_as_its_text() {
        assert_eq!(serde_json::to_string(&Name::parse("web-1").unwrap()).unwrap(), r#""web-1""#);
    }

    proptest::proptest! {
        #[test]
        fn accepts_the_pattern_of_its_documentation(text in "[A-Za-z0-9][A-Za-z0-9_.-]{0,63}") {
            proptest::prop_assert_eq!(Name::parse(&text).unwrap().to_string(), text);
        }

        #[test]
        fn never_lets_another_character_through(text in "\\PC*") {
            if let Ok(name) = Name::parse(&text) {
                proptest::prop_assert!(name.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)));
            }
        }
    }
}
