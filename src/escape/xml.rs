//! Text in XML and SVG.

use super::{Refused, only};

/// Text of an XML element, or of an attribute in double quotes (XML 1.0, section 2.4).
///
/// Refuses control characters and U+FFFE and U+FFFF, which XML cannot write.
pub fn xml(value: &str) -> Result<String, Refused> {
    let allowed = |character: char| !character.is_control() && !matches!(character, '\u{fffe}' | '\u{ffff}');
    only(value, allowed).map_err(|reason| reason.of("XML text"))?;
    let mut text = String::with_capacity(value.len() + 16);
    for character in value.chars() {
        match character {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            '\'' => text.push_str("&#39;"),
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
    fn text() {
        #[track_caller]
        fn check(input: &str, expect: Result<&str, &str>) {
            assert_outcome(input, xml(input), expect);
        }

        check("größe ]]> --", Ok("größe ]]&gt; --"));
        check("<script>&'\"", Ok("&lt;script&gt;&amp;&#39;&quot;"));
        check("a\nb", Err("character 2 is `\\n`, which is not allowed there"));
        check("\u{ffff}", Err("character 1 is `\\u{ffff}`, which is not allowed there"));
    }
}
