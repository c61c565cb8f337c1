//! How text that nobody has vouched for is shown in a message.

/// As many characters as help to recognise a value; a hostile one may be megabytes long.
const SHOWN_CHARACTERS: usize = 40;

/// The beginning of `text`, with everything escaped that a terminal or a log reader would act upon.
pub(crate) fn excerpt(text: &str) -> String {
    let mut shown = harmless(text.chars().take(SHOWN_CHARACTERS));
    if text.chars().nth(SHOWN_CHARACTERS).is_some() {
        shown.push('…');
    }
    shown
}

/// The whole of `text`, as [`excerpt`] shows its beginning.
pub(crate) fn shown(text: &str) -> String {
    harmless(text.chars())
}

fn harmless(text: impl Iterator<Item = char>) -> String {
    let mut shown = String::new();
    for character in text {
        match character {
            // Nobody acts upon them, and people know them without a backslash.
            '\'' | '"' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
}

/// What a server or a program said, as part of a line: no more than `limit` characters, whitespace run together, and
/// with everything escaped that a terminal would act upon. Quotes stay as they are.
pub(crate) fn said(text: &str, limit: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let mut shown = harmless(line.chars().take(limit)).replace("\\\\", "\\");
    if line.chars().nth(limit).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::{excerpt, said, shown};

    #[test]
    fn shows_nothing_a_terminal_would_act_upon() {
        #[track_caller]
        fn check(input: &str, expect: &str) {
            assert_eq!(excerpt(input), expect);
        }

        check("", "");
        check("web-1", "web-1");
        check("größe", "größe");
        check("it's \"so\"", "it's \"so\"");
        assert_eq!(shown("\"\\\n\""), "\"\\\\\\n\"");
        check("a\n\u{1b}[31m\0", r"a\n\u{1b}[31m\0");
        check("\u{9b}31m", r"\u{9b}31m");
        // Right-to-left override: would show the rest of the line backwards.
        check("\u{202e}moc", r"\u{202e}moc");
        check(&"x".repeat(40), &"x".repeat(40));
        check(&"x".repeat(41), &format!("{}…", "x".repeat(40)));
    }

    #[test]
    fn what_a_server_says_is_one_line_that_does_nothing() {
        assert_eq!(said("it's\n\t\"so\"\r\n", 80), "it's \"so\"");
        assert_eq!(said("\u{1b}[31m\0", 80), r"\u{1b}[31m\0");
        assert_eq!(said("abcd", 3), "abc…");
    }
}
