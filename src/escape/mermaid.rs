//! Labels of Mermaid.

use std::fmt::Write as _;

use super::{Refused, only};

/// A part of a label in double quotes (<https://mermaid.js.org/syntax/flowchart.html>).
///
/// Mermaid looks for comments, directives, styles and HTML before it reads quotes. So everything except
/// letters, digits, spaces and a few marks is written as `#NUMBER;`. Refuses control characters.
pub fn mermaid(value: &str) -> Result<String, Refused> {
    only(value, |character| !character.is_control()).map_err(|reason| reason.of("a label of Mermaid"))?;
    let mut text = String::with_capacity(value.len() + 16);
    for character in value.chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '_' | '.' | ',' => text.push(character),
            _ => {
                let _ = write!(text, "#{};", u32::from(character));
            }
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
            assert_outcome(input, mermaid(input), expect);
        }

        check("app1, db_1.x", Ok("app1, db_1.x"));
        check("\"]-->", Ok("#34;#93;#45;#45;#62;"));
        check("%%{init}%%", Ok("#37;#37;#123;init#125;#37;#37;"));
        check("ö", Ok("#246;"));
        check("a\nb", Err("character 2 is `\\n`, which is not allowed there"));
    }
}
