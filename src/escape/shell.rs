//! Values in files that a shell reads.

use super::{Refused, only};

/// One word in single quotes, for a file that a POSIX shell sources: `KEY='value'`.
///
/// Single quotes keep every character but the quote itself (POSIX.1-2017, Shell Command Language, section
/// 2.2.2). NUL is refused: no shell can hold it. Programs that read such files without a shell
/// (`EnvironmentFile=` of systemd, `--env-file` of docker) have other rules.
pub fn shell(value: &str) -> Result<String, Refused> {
    only(value, |character| character != '\0').map_err(|reason| reason.of("a word of a shell file"))?;
    Ok(format!("'{}'", value.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_outcome;
    use super::*;

    #[test]
    fn words() {
        #[track_caller]
        fn check(input: &str, expect: Result<&str, &str>) {
            assert_outcome(input, shell(input), expect);
        }

        check("", Ok("''"));
        check("a b", Ok("'a b'"));
        check("it's", Ok(r"'it'\''s'"));
        check("'; rm -rf /; '", Ok(r"''\''; rm -rf /; '\'''"));
        check("$(id)`id`$HOME\\", Ok("'$(id)`id`$HOME\\'"));
        check("a\nb\r", Ok("'a\nb\r'"));
        check("a\0b", Err(r"character 2 is `\0`, which is not allowed there"));
    }

    proptest::proptest! {
        #[test]
        fn reads_back(value in "(?s)[^\0]*") {
            proptest::prop_assert_eq!(shell_words::split(&shell(&value).unwrap()).unwrap(), [value]);
        }
    }
}
