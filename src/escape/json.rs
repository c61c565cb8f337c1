//! JSON strings.

use super::Refused;

/// A JSON string with its double quotes (RFC 8259, section 7).
///
/// Never refuses: JSON can write every text. Do not use it for JSON inside HTML, where `<` must be escaped
/// too.
pub fn json(value: &str) -> Result<String, Refused> {
    Ok(serde_json::Value::from(value).to_string())
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

    proptest::proptest! {
        #[test]
        fn reads_back(value in "(?s).*") {
            proptest::prop_assert_eq!(serde_json::from_str::<String>(&json(&value).unwrap()).unwrap(), value);
        }
    }
}
