//! Strings in `nginx.conf`.

use super::{Refused, only};

/// A string argument with its double quotes.
///
/// In quotes, nginx ends the string at the same quote and decodes `\"`, `\'`, `\\`, `\t`, `\r` and `\n`
/// (`ngx_conf_read_token` in `src/core/ngx_conf_file.c`), so a backslash is doubled. `$` starts a variable in
/// most arguments, even in quotes, and cannot be escaped, so it is refused. Control characters are refused
/// too.
pub fn nginx(value: &str) -> Result<String, Refused> {
    only(value, |character| !character.is_control() && character != '$')
        .map_err(|reason| reason.of("a string in nginx.conf"))?;
    Ok(format!("\"{}\"", value.replace('\\', r"\\").replace('"', r#"\""#)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_outcome;
    use super::*;

    #[test]
    fn strings() {
        #[track_caller]
        fn check(input: &str, expect: Result<&str, &str>) {
            assert_outcome(input, nginx(input), expect);
        }

        check("", Ok(r#""""#));
        check("a b;{}#'", Ok(r#""a b;{}#'""#));
        check(r#""; evil "#, Ok(r#""\"; evil ""#));
        check(r"\", Ok(r#""\\""#));
        check(r#"\""#, Ok(r#""\\\"""#));
        check(r"a\nb", Ok(r#""a\\nb""#));
        check("größe", Ok(r#""größe""#));
        check("a$host", Err("character 2 is `$`, which is not allowed there"));
        check("${host}", Err("character 1 is `$`, which is not allowed there"));
        check("a\nb", Err(r"character 2 is `\n`, which is not allowed there"));
        check("a\0b", Err(r"character 2 is `\0`, which is not allowed there"));
        check("a\u{85}b", Err(r"character 2 is `\u{85}`, which is not allowed there"));
    }
}
