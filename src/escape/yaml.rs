//! YAML scalars.

use std::fmt::Write;

use super::Refused;

/// A scalar in double quotes, the only style that can write every text (YAML 1.2.2, section 7.3.1; YAML 1.1,
/// section 9.1.1).
///
/// Always quotes, so that no value is read as another type (`no`, `1e3`, `null`). Escapes what the format
/// forbids (`c-printable`, section 5.1: most of C0 and C1, U+FFFE, U+FFFF), the line breaks of YAML 1.1
/// (section 5.4: U+0085, U+2028, U+2029), and the byte order mark. Also escapes `<` and `%`: Rails runs ERB
/// over `database.yml` before parsing it, and `<%= … %>` is Ruby. Never refuses.
pub fn yaml(value: &str) -> Result<String, Refused> {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '<' | '%' | '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => escape(&mut quoted, 'x', 2, character),
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                escape(&mut quoted, 'u', 4, character)
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    Ok(quoted)
}

/// `\xNN` or `\uNNNN`: the code point in hexadecimal (section 5.7); in YAML, `\x` is not a byte.
fn escape(quoted: &mut String, letter: char, width: usize, character: char) {
    write!(quoted, r"\{letter}{:0width$x}", u32::from(character)).expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_outcome;
    use super::*;

    #[test]
    fn scalars() {
        #[track_caller]
        fn check(input: &str, expect: &str) {
            assert_outcome(input, yaml(input), Ok(expect));
        }

        check("", r#""""#);
        check("no", r#""no""#);
        check("a: b # c", r#""a: b # c""#);
        check(r#"a"\b"#, r#""a\"\\b""#);
        check("<%= `id` %>", r#""\x3c\x25= `id` \x25>""#);
        check("a\nb: c\r\t\0", r#""a\x0ab: c\x0d\x09\x00""#);
        check("\u{7f}\u{85}\u{9f}\u{a0}", "\"\\x7f\\x85\\x9f\u{a0}\"");
        check("\u{2028}\u{2029}\u{feff}", r#""\u2028\u2029\ufeff""#);
        check("\u{fffe}\u{ffff}\u{fffd}", "\"\\ufffe\\uffff\u{fffd}\"");
        check("é😀", r#""é😀""#);
        check("{{a}} !!x &y *z", r#""{{a}} !!x &y *z""#);
    }

    proptest::proptest! {
        #[test]
        fn stays_on_one_line_and_out_of_erb(value in "(?s).*") {
            let quoted = yaml(&value).unwrap();
            let leaves = |c: char| c.is_control() || matches!(c, '<' | '%' | '\u{2028}' | '\u{2029}');
            proptest::prop_assert!(!quoted.contains(leaves), "{}", quoted);
        }
    }
}
