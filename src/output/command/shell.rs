//! Finds syntax in a command line that only a shell understands.
//!
//! No shell runs the commands of the user, so `&&` would reach the program as a word. Most programs ignore a
//! superfluous word: the second command would never run, and nobody would notice.

/// Programs that take a script as an argument.
const SHELLS: [&str; 11] =
    ["ash", "bash", "busybox", "dash", "flock", "ksh", "runuser", "sh", "ssh", "su", "zsh"];

/// The placeholder for the file in a command's words.
pub(super) const FILE: &str = "{}";

/// The words with the file's name for `{}`. In a script, the name is quoted so that the shell sees one word.
pub(super) fn fill(words: &[String], file: &str) -> Vec<String> {
    let scripts = scripts(words);
    let fill = |(place, word): (usize, &String)| match scripts.contains(&place) {
        true => fill_script(word, file),
        false => word.replace(FILE, file),
    };
    words.iter().enumerate().map(fill).collect()
}

/// Which of the words a shell will read as a script: the word after `-c`, and all words for the shell of
/// another machine.
fn scripts(words: &[String]) -> Vec<usize> {
    let name = |word: &String| word.rsplit('/').next().unwrap_or_default().to_owned();
    let Some(shell) = words.iter().position(|word| SHELLS.contains(&name(word).as_str())) else {
        return Vec::new();
    };
    if name(&words[shell]) == "ssh" {
        return (shell + 1..words.len()).collect();
    }
    let begins = |word: &String| {
        word == "--command" || word.starts_with('-') && !word.starts_with("--") && word.contains('c')
    };
    let option = words[shell..].iter().position(begins);
    option.map(|option| shell + option + 1).into_iter().collect()
}

/// Puts the file's name into a script, quoted for its place (POSIX.1-2017, Shell Command Language, section
/// 2.2).
fn fill_script(script: &str, file: &str) -> String {
    let mut filled = String::new();
    // The open quotes, and the open commands in `$(…)`, in which quoting starts anew.
    let mut open: Vec<char> = Vec::new();
    let mut rest = script;
    while let Some(character) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix(FILE) {
            match open.last() {
                Some('\'') => filled.push_str(&file.replace('\'', "'\\''")),
                Some('"') => file.chars().for_each(|character| {
                    filled.extend("\"\\$`".contains(character).then_some('\\'));
                    filled.push(character);
                }),
                _ => filled.push_str(&shell_words::quote(file)),
            }
            rest = after;
            continue;
        }
        let mut length = character.len_utf8();
        match (open.last(), character) {
            (Some(quote @ ('\'' | '"')), _) if character == *quote => drop(open.pop()),
            (Some('\''), _) => {}
            (_, '\\') => length += rest[length..].chars().next().map_or(0, char::len_utf8),
            (_, '$') if rest.starts_with("$(") => {
                open.push('(');
                length += 1;
            }
            (Some('"'), _) => {}
            (_, '\'' | '"') => open.push(character),
            (Some('('), '(') => open.push('('),
            (Some('('), ')') => drop(open.pop()),
            (_, '#') if filled.is_empty() || filled.ends_with([' ', '\t', '\n', ';', '(']) => {
                length = rest.find('\n').unwrap_or(rest.len());
            }
            _ => {}
        }
        filled.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    filled
}

/// The first thing in the line that only a shell understands; `None` if the line is plain words.
///
/// Quoted or escaped text is part of a word, so the script of `sh -c '…'` is not examined. Only `"$(…)"`
/// would be run by a shell even in quotes. It is found unless the command starts a shell, for which it may be
/// meant. The operators are those of POSIX.1-2017, Shell Command Language, section 2.10.2; the expansions
/// those of section 2.6.
pub(super) fn only_for_a_shell(line: &str) -> Option<String> {
    let line = line.trim();
    let mut characters = line.char_indices().peekable();
    let mut quote = None;
    // Where the word began; `None` between words.
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
                // A comment extends to the end of its line.
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
            '*' | '?' | '[' if is_pattern(line, word.unwrap_or(at), at) => {
                return Some(format!("the pattern {}", shown(whole_word(line, word.unwrap_or(at)))));
            }
            '~' if begins => {
                let word = whole_word(line, at);
                return Some(shown(word.split('/').next().unwrap_or(word)));
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

/// The whole operator at that position, with the number of the stream that it redirects.
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

/// The expansion that begins with this `$`, if a shell would replace it.
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

/// Whether this character makes the word a pattern of paths. `haproxy@*` is a pattern of systemd, and a URL
/// is not one.
fn is_pattern(line: &str, begin: usize, at: usize) -> bool {
    let word = whole_word(line, begin);
    // `[` alone is a program.
    let closes = || whole_word(line, at).find(']').is_some_and(|end| end > 1);
    let is_meant = !word.contains("://") && (word.contains('/') || !word.contains('@'));
    is_meant && (!line[at..].starts_with('[') || closes())
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
        check("rm *.bak", "the pattern `*.bak`");
        check("rm x?", "the pattern `x?`");
        check("grep -q [0-9] {}", "the pattern `[0-9]`");
        check("cat ~/x", "`~`");
        check("cat ~root/x", "`~root`");
        check("cat ~root", "`~root`");
        check("cat ~", "`~`");
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
            "[ -s {} ]",
            "test x[ = {}",
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
