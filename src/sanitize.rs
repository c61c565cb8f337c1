//! How unverified text is shown in a message.

use std::borrow::Cow;

use presence_git::message::harmless;
pub(crate) use presence_git::message::said;

/// Enough characters to recognise a value; a hostile one may be megabytes long.
const SHOWN_CHARACTERS: usize = 40;

/// The beginning of `text`, with everything escaped that a terminal or a log reader would act upon.
pub(crate) fn excerpt(text: &str) -> String {
    let mut shown = harmless(text.chars().take(SHOWN_CHARACTERS));
    if text.chars().nth(SHOWN_CHARACTERS).is_some() {
        shown.push('…');
    }
    shown
}

/// The whole `text`, escaped like [`excerpt`].
pub(crate) fn shown(text: &str) -> String {
    harmless(text.chars())
}

/// Whether a terminal or log reader would act upon that character, or show nothing for it: control
/// characters, those that change the direction of text, and those without width.
fn is_active(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// A text for a terminal: newlines and tabs stay, and every other active character is escaped.
pub(crate) fn terminal_safe(text: &str) -> Cow<'_, str> {
    escaped(text, |character, harmless| harmless.extend(character.escape_default()))
}

/// The same for JSON, whose meaning stays the same.
pub(crate) fn terminal_safe_json(text: &str) -> Cow<'_, str> {
    escaped(text, |character, harmless| {
        let mut units = [0; 2];
        for unit in character.encode_utf16(&mut units) {
            harmless.push_str(&format!("\\u{unit:04x}"));
        }
    })
}

fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    let acts = |character: char| is_active(character) && character != '\n' && character != '\t';
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut harmless = String::with_capacity(text.len() + 64);
    for character in text.chars() {
        match acts(character) {
            true => escape(character, &mut harmless),
            false => harmless.push(character),
        }
    }
    Cow::Owned(harmless)
}

#[cfg(test)]
mod tests {
    use super::{excerpt, is_active, shown, terminal_safe, terminal_safe_json};

    #[test]
    fn what_goes_to_a_terminal_does_nothing_there() {
        assert_eq!(terminal_safe("größe\n\t| a"), "größe\n\t| a");
        assert_eq!(
            terminal_safe("a\u{1b}[31m\r\u{9b}2J\u{202e}x\u{200b}"),
            r"a\u{1b}[31m\r\u{9b}2J\u{202e}x\u{200b}"
        );
        let hostile: String = (0..=0x10_ffff).filter_map(char::from_u32).filter(|c| is_active(*c)).collect();
        assert!(!terminal_safe(&hostile.replace(['\n', '\t'], "")).contains(is_active));
        let json = serde_json::to_string(&hostile).unwrap();
        let safe = terminal_safe_json(&json);
        assert!(!safe.contains(is_active));
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), hostile);
        // Letters that consist of several characters stay.
        for text in ["e\u{301}", "नि", "日本", "🙂"] {
            assert_eq!(terminal_safe(text), text);
        }
    }

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
        // Right-to-left override: it would show the rest of the line backwards.
        check("\u{202e}moc", r"\u{202e}moc");
        check(&"x".repeat(40), &"x".repeat(40));
        check(&"x".repeat(41), &format!("{}…", "x".repeat(40)));
    }
}
