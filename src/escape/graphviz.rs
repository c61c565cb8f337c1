//! Labels of Graphviz.

use super::{Refused, only};

/// A part of a label in double quotes (<https://graphviz.org/doc/info/lang.html>).
///
/// Graphviz acts upon a backslash and, as in HTML, upon `&`. Refuses control characters.
pub fn graphviz(value: &str) -> Result<String, Refused> {
    only(value, |character| !character.is_control()).map_err(|reason| reason.of("a label of Graphviz"))?;
    let mut text = String::with_capacity(value.len() + 16);
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '&' => text.push_str("&amp;"),
            _ => text.push(character),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_outcome;
    use super::*;

    #[test]
    fn labels() {
        #[track_caller]
        fn check(input: &str, expect: Result<&str, &str>) {
            assert_outcome(input, graphviz(input), expect);
        }

        check("app1", Ok("app1"));
        check(r#"<b>"a"\"#, Ok(r#"<b>\"a\"\\"#));
        check(r"\N&lt;]--", Ok(r"\\N&amp;lt;]--"));
        check("a\nb", Err("character 2 is `\\n`, which is not allowed there"));
    }
}
