//! How text that nobody has vouched for is shown in a message.

/// As many characters as help to recognise a value; a hostile one may be megabytes long.
const SHOWN_CHARACTERS: usize = 40;

/// The beginning of `text`, with everything escaped that a terminal or a log reader would act upon.
pub(crate) fn excerpt(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARACTERS).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARACTERS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::excerpt;

    #[test]
    fn shows_nothing_a_terminal_would_act_upon() {
        #[track_caller]
        fn check(input: &str, expect: &str) {
            assert_eq!(excerpt(input), expect);
        }

        check("", "");
        check("web-1", "web-1");
        check("größe", "größe");
        check("a\n\u{1b}[31m\0", r"a\n\u{1b}[31m\0");
        check("\u{9b}31m", r"\u{9b}31m");
        // Right-to-left override: would show the rest of the line backwards.
        check("\u{202e}moc", r"\u{202e}moc");
        check(&"x".repeat(40), &"x".repeat(40));
        check(&"x".repeat(41), &format!("{}…", "x".repeat(40)));
    }
}
