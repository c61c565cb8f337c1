//! Values in Java's `.properties` files.

use std::fmt::Write;

use super::Refused;

/// The value of a property: the rest of the line after `key=`.
///
/// Escapes as `java.util.Properties.store` does. `\`, newline, return, tab, form feed, `#`, `!`, `=` and `:`
/// get a backslash, and so does a leading space, which `load` would skip. All beyond printable ASCII becomes
/// `\uXXXX` in UTF-16 units, since `load(InputStream)` reads ISO 8859-1. Never refuses.
pub fn properties(value: &str) -> Result<String, Refused> {
    let mut escaped = String::with_capacity(value.len());
    for (index, character) in value.chars().enumerate() {
        match character {
            '\n' => escaped.push_str(r"\n"),
            '\r' => escaped.push_str(r"\r"),
            '\t' => escaped.push_str(r"\t"),
            '\u{c}' => escaped.push_str(r"\f"),
            ' ' if index == 0 => escaped.push_str(r"\ "),
            '\\' | '#' | '!' | '=' | ':' => escaped.extend(['\\', character]),
            ' '..='~' => escaped.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(escaped, r"\u{unit:04X}").expect("writing to a String cannot fail");
                }
            }
        }
    }
    Ok(escaped)
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_outcome;
    use super::*;

    #[test]
    fn values() {
        #[track_caller]
        fn check(input: &str, expect: &str) {
            assert_outcome(input, properties(input), Ok(expect));
        }

        check("", "");
        check("a b ", "a b ");
        check("  a", r"\  a");
        check("a\nevil=1", r"a\nevil\=1");
        check("\r\t\u{c}\0", r"\r\t\f\u0000");
        check("#!=:", r"\#\!\=\:");
        check(r"C:\u0041\", r"C\:\\u0041\\");
        check("é€😀", r"\u00E9\u20AC\uD83D\uDE00");
        check("\u{7f}\u{85}\u{2028}", r"\u007F\u0085\u2028");
    }

    /// Reads the value as `java.util.Properties.load` does for one line, by its documentation.
    fn load(line: &str) -> String {
        let mut units = Vec::new();
        let mut characters = line.trim_start_matches([' ', '\t', '\u{c}']).chars();
        while let Some(character) = characters.next() {
            assert!(character.is_ascii() && !character.is_ascii_control(), "{line:?}");
            let unit = match (character, if character == '\\' { characters.next() } else { None }) {
                ('\\', Some('n')) => 0x0a,
                ('\\', Some('r')) => 0x0d,
                ('\\', Some('t')) => 0x09,
                ('\\', Some('f')) => 0x0c,
                ('\\', Some('u')) => {
                    let digits: String = characters.by_ref().take(4).collect();
                    u16::from_str_radix(&digits, 16).unwrap()
                }
                ('\\', escaped) => escaped.expect("the line must not go on") as u16,
                (plain, _) => plain as u16,
            };
            units.push(unit);
        }
        String::from_utf16(&units).unwrap()
    }

    proptest::proptest! {
        #[test]
        fn reads_back(value in "(?s).*") {
            proptest::prop_assert_eq!(load(&properties(&value).unwrap()), value);
        }

        #[test]
        fn reads_back_what_matters(value in "[ \\\\#!=:\t\n\r\u{c}unft0😀]*") {
            proptest::prop_assert_eq!(load(&properties(&value).unwrap()), value);
        }
    }
}
