//! How errors and the output of others become a part of a message.

use std::error::Error;

/// The most characters of a server's message to show.
pub const SAID: usize = 300;

/// The characters, with everything escaped that a terminal or a log reader would act upon.
pub fn harmless(text: impl Iterator<Item = char>) -> String {
    let mut shown = String::new();
    for character in text {
        match character {
            // They are harmless, and familiar without a backslash.
            '\'' | '"' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
}

/// The output of a server or a program, as part of a line: at most `limit` characters, with whitespace
/// collapsed. Everything that a terminal would act upon is escaped. Quotes stay.
pub fn said(text: &str, limit: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let mut shown = harmless(line.chars().take(limit)).replace("\\\\", "\\");
    if line.chars().nth(limit).is_some() {
        shown.push('…');
    }
    shown
}

/// The error and its causes as one line, `what: why: why`. A cause that only repeats its parent is left out.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::said;

    #[test]
    fn what_a_server_says_is_one_line_that_does_nothing() {
        assert_eq!(said("it's\n\t\"so\"\r\n", 80), "it's \"so\"");
        assert_eq!(said("\u{1b}[31m\0", 80), r"\u{1b}[31m\0");
        assert_eq!(said("abcd", 3), "abc…");
    }
}
