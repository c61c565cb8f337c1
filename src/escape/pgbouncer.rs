//! Values of a connection string in the `[databases]` section of `pgbouncer.ini`.

use super::{Refused, not_empty, only};

/// The value of one `key='value'` pair with its single quotes; `''` inside is a quote.
///
/// See section `[databases]` of pgbouncer(5). The file is read line by line and cannot escape a line end, so
/// that is refused, and so is NUL, which ends a C string. An empty value is refused because most keys give it
/// another meaning than a missing key. The key must come from the template, never from a record.
pub fn pgbouncer(value: &str) -> Result<String, Refused> {
    not_empty(value)
        .and_then(|()| only(value, |character| !matches!(character, '\n' | '\r' | '\0')))
        .map_err(|reason| reason.of("a value in pgbouncer.ini"))?;
    Ok(format!("'{}'", value.replace('\'', "''")))
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_outcome;
    use super::*;

    #[test]
    fn values() {
        #[track_caller]
        fn check(input: &str, expect: Result<&str, &str>) {
            assert_outcome(input, pgbouncer(input), expect);
        }

        check("a", Ok("'a'"));
        check("2001:db8::1", Ok("'2001:db8::1'"));
        check("it's", Ok("'it''s'"));
        check("a' host='evil", Ok("'a'' host=''evil'"));
        check("'", Ok("''''"));
        check(r"a\", Ok(r"'a\'"));
        check("; # %include x", Ok("'; # %include x'"));
        check("", Err("the value is empty"));
        check("a\n[databases]", Err(r"character 2 is `\n`, which is not allowed there"));
        check("a\rb", Err(r"character 2 is `\r`, which is not allowed there"));
        check("a\0b", Err(r"character 2 is `\0`, which is not allowed there"));
    }
}
