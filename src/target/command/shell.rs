//! What of a command line only a shell would understand.
//!
//! No shell runs the commands of the user, so such a line would hand `&&` to the program as a word, and most programs
//! ignore a word too many: the second command would never run, and nobody would hear of it.

/// Programs that take a script as an argument.
const SHELLS: [&str; 9] = ["ash", "bash", "busybox", "dash", "ksh", "sh", "ssh", "su", "zsh"];

/// The first thing in the line that only a shell understands; none if the line is plain words.
///
/// What stands in quotes or after a backslash is part of a word, so the script of `sh -c '…'` is not looked at. Only
/// `"$(…)"` would be run by a shell all the same, and is found unless a shell is started, which may be meant to. The operators are those of POSIX.1-2017, Shell Command Language, section 2.10.2; the expansions those of section 2.6.
pub(super) fn only_for_a_shell(line: &str) -> Option<String> {
    let line = line.trim();
    let mut characters = line.char_indices().peekable();
    let mut quote = None;
    // Where the word began; none between words.
    let mut word: Option<usize> = None;
    let mut first_word = true;
    while let Some((at, character)) = characters.next() {
        if let Some(mark) = quote {
            match character {
                '$' if mark == '"' && line[at..].starts_with("$(") && !starts_a_shell(line) => {
                    return Some(shown("$(…)"));
                }
                '`' if mark == '"' && !starts_a_shell(line) => return Some("a backquote".to_owned()),
                '\\' if mark == '"' => drop(characters.next()),
                _ if character == mark => quote = None,
                _ => {}
            }
            continue;
        }
        let begins = word.is_none();
        match character {
            '\n' => return Some("a second line".to_owned()),
            _ if character.is_whitespace() => {
                first_word &= word.is_none();
                word = None;
                continue;
            }
            '#' if begins => {
                // A comment lasts to the end of its line.
                while characters.next_if(|(_, next)| *next != '\n').is_some() {}
                continue;
            }
            '\\' => drop(characters.next()),
            '\'' | '"' => quote = Some(character),
            '&' | '|' | ';' | '<' | '>' | '(' | ')' => return Some(operator(line, at)),
            '`' => return Some("a backquote".to_owned()),
            '$' => {
                let expanded = expansion(&line[at..]);
                if expanded.is_some() {
                    return expanded;
                }
            }
            '*' | '?' | '[' if is_pattern(line, word.unwrap_or(at)) => {
                return Some(format!("the pattern {}", shown(whole_word(line, word.unwrap_or(at)))));
            }
            '~' if begins && matches!(characters.peek(), None | Some((_, '/' | ' '))) => {
                return Some(shown("~"));
            }
            '!' if begins && first_word && matches!(characters.peek(), Some((_, ' '))) => {
                return Some(shown("!"));
            }
            '=' if first_word && word.is_some_and(|begin| is_name(&line[begin..at])) => {
                return Some(format!("the assignment {}", shown(whole_word(line, word.unwrap_or(at)))));
            }
            _ => {}
        }
        word = word.or(Some(at));
    }
    None
}

/// Whether a word is the name of a program that runs a script for others.
fn starts_a_shell(line: &str) -> bool {
    let words = shell_words::split(line).unwrap_or_default();
    let name = |word: &String| word.rsplit('/').next().unwrap_or_default().to_owned();
    words.iter().map(name).any(|name| SHELLS.contains(&name.as_str()))
}

fn shown(text: &str) -> String {
    format!("`{text}`")
}

/// The whole operator at that place, with the number of the stream that it redirects.
fn operator(line: &str, at: usize) -> String {
    let is_digit = |character: char| character.is_ascii_digit();
    let before = line[..at].rsplit(char::is_whitespace).next().unwrap_or_default();
    let redirects = line[at..].starts_with(['<', '>']) && before.chars().all(is_digit);
    let begin = if redirects { at - before.len() } else { at };
    let rest = &line[at..];
    let operators = rest.len() - rest.trim_start_matches(['&', '|', ';', '<', '>', '(', ')']).len();
    let digits = rest[operators..].len() - rest[operators..].trim_start_matches(is_digit).len();
    let duplicates = rest[..operators].ends_with('&') && operators > 1 && redirects;
    let end = at + operators + if duplicates { digits } else { 0 };
    shown(&line[begin..end])
}

/// What `$` begins, if a shell would put something else there.
fn expansion(rest: &str) -> Option<String> {
    let next = rest[1..].chars().next()?;
    match next {
        '(' => Some(shown("$(…)")),
        '{' => Some(shown("${…}")),
        '@' | '*' | '#' | '?' | '$' | '!' => Some(shown(&rest[..2])),
        _ if next.is_ascii_alphanumeric() || next == '_' => {
            let end =
                rest[1..].find(|character: char| !character.is_ascii_alphanumeric() && character != '_');
            Some(shown(&rest[..end.map_or(rest.len(), |end| end + 1)]))
        }
        _ => None,
    }
}

/// Whether the word is a pattern of paths. One without a slash, `haproxy@*`, is more likely meant for the program.
fn is_pattern(line: &str, begin: usize) -> bool {
    let word = whole_word(line, begin);
    word.contains('/') && !word.contains("://")
}

fn whole_word(line: &str, begin: usize) -> &str {
    line[begin..].split(char::is_whitespace).next().unwrap_or_default()
}

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|character| character.is_ascii_alphanumeric() || character == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_shell_understands_is_found() {
        #[track_caller]
        fn check(line: &str, expect: &str) {
            assert_eq!(only_for_a_shell(line).as_deref(), Some(expect), "{line}");
        }

        check("true && false", "`&&`");
        check("true&&false", "`&&`");
        check("true || false", "`||`");
        check("true | false", "`|`");
        check("true |& cat", "`|&`");
        check("a; b", "`;`");
        check("a &", "`&`");
        check("echo hi > ran", "`>`");
        check("echo hi>ran", "`>`");
        check("echo hi >> ran", "`>>`");
        check("a < b", "`<`");
        check("a <<< b", "`<<<`");
        check("true 2>&1", "`2>&1`");
        check("true 2>/dev/null", "`2>`");
        check("true >&2", "`>&2`");
        check("true &> log", "`&>`");
        check("(a)", "`(`");
        check("true $(false)", "`$(…)`");
        check("true `false`", "a backquote");
        check("kill -USR2 \"$(cat pid)\"", "`$(…)`");
        check("kill -USR2 \"`cat pid`\"", "a backquote");
        check("a $HOME/b", "`$HOME`");
        check("a x${HOME}", "`${…}`");
        check("kill $$", "`$$`");
        check("rm /run/cache/*", "the pattern `/run/cache/*`");
        check("cat ~/x", "`~`");
        check("LANG=C sort {}", "the assignment `LANG=C`");
        check("! grep x {}", "`!`");
        check("true\nfalse", "a second line");
        check("sh -c 'a && b' && c", "`&&`");
        check("a 'x'|b", "`|`");
        check("true # a note\nfalse", "a second line");
    }

    #[test]
    fn words_are_left_alone() {
        for line in [
            "haproxy -dW -c -f {}",
            "sh -c 'a && b | c > d; $(e) `f` $G'",
            "sh -c \"a && b \\\" | $C\"",
            "/bin/sh -c \"kill -USR2 $(cat pid) `x`\"",
            "ssh host \"kill $(cat pid)\"",
            "kill '$(cat pid)'",
            "echo \"\\$(x)\"",
            "test -s {} ",
            " true\n",
            "systemctl reload haproxy@*",
            "curl http://127.0.0.1/x?y",
            "grep -q a\\&b {}",
            "grep -q 'x$' {}",
            "grep x$ {}",
            "true # a && b",
            "env LANG=C sort {}",
            "cp {} /a~",
            "awk '{print $1}' {}",
            "echo a#b 'c\nd'",
            "haproxy -c -f \\{\\}",
        ] {
            assert_eq!(only_for_a_shell(line), None, "{line}");
        }
    }
}
