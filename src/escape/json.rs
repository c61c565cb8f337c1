//! JSON strings, and JSON inside HTML.

use super::Refused;
use crate::sanitize::terminal_safe_json;

/// A JSON string with its double quotes (RFC 8259, section 7).
///
/// Never refuses: JSON can write every text. JSON inside HTML needs [`json_in_html`] too.
pub fn json(value: &str) -> Result<String, Refused> {
    Ok(serde_json::Value::from(value).to_string())
}

/// A JSON text for a `<script type="application/json">` of an HTML page. It means the same, and has no character
/// that could end the element or begin a comment, and no control character.
pub fn json_in_html(json: &str) -> String {
    // In JSON, these characters occur only in strings.
    let marks = [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026")];
    marks
        .iter()
        .fold(terminal_safe_json(json).into_owned(), |text, (mark, escaped)| text.replace(*mark, escaped))
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_outcome;
    use super::*;

    #[test]
    fn strings() {
        #[track_caller]
        fn check(input: &str, expect: &str) {
            assert_outcome(input, json(input), Ok(expect));
        }

        check("", r#""""#);
        check(r#"a"b\"#, r#""a\"b\\""#);
        check("a\n\t\0", r#""a\n\t\u0000""#);
        check("é😀", r#""é😀""#);
    }

    #[test]
    fn json_of_a_page_ends_no_element() {
        let check = |input: &str, expect: &str| assert_eq!(json_in_html(input), expect);
        check(r#"["</script>"]"#, r#"["\u003c/script\u003e"]"#);
        check(r#"["<!--","]]>","&lt;"]"#, r#"["\u003c!--","]]\u003e","\u0026lt;"]"#);
        check("[\"\u{2028}\u{2029}\u{85}\"]", r#"["\u2028\u2029\u0085"]"#);
    }

    proptest::proptest! {
        #[test]
        fn json_of_a_page_means_the_same(value in "(?s).*") {
            let text = json_in_html(&json(&value).unwrap());
            proptest::prop_assert!(!text.contains(['<', '>', '&', '\u{2028}', '\u{2029}', '\n']), "{}", text);
            proptest::prop_assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
        }

        #[test]
        fn reads_back(value in "(?s).*") {
            proptest::prop_assert_eq!(serde_json::from_str::<String>(&json(&value).unwrap()).unwrap(), value);
        }
    }
}
