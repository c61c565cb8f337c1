//! Reads records in the usual spelling several times faster than a full JSON parser.

use super::envelope::{SERIAL, SIGNATURE};

/// A name and its value.
pub(super) type Pair<'t> = (&'t str, &'t str);

/// How a record is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Byte for byte as this program writes these facts.
    Ours,
    /// In another way, or with something beside the facts.
    Other,
}

/// Finds the facts in a record as this program and the script of 2015 write it: `filetype`, then `value`,
/// whose values are all texts without escapes. `serial` and `signature` may stand between the two. Returns
/// them in the order of the names.
///
/// `None` for all other input, valid or not: the full parser judges that. It accepts everything that is
/// accepted here, with the same meaning.
pub(super) fn facts<'t>(text: &'t str, filetype: &str, facts: &mut Vec<Pair<'t>>) -> Option<Spelling> {
    facts.clear();
    read(text, filetype, facts)?;
    match is_ours(text, filetype, facts) {
        true => Some(Spelling::Ours),
        false => in_order(facts).then_some(Spelling::Other),
    }
}

/// Sorts by name. False if a name occurs twice.
fn in_order(facts: &mut [Pair<'_>]) -> bool {
    if !facts.is_sorted_by(|a, b| a.0 < b.0) {
        facts.sort_unstable_by(|a, b| a.0.cmp(b.0));
    }
    facts.windows(2).all(|pair| pair[0].0 != pair[1].0)
}

/// Whether the text is spelled exactly as this program writes these facts, which are in the order of the text.
/// Only what is between the names and values can differ.
fn is_ours(text: &str, filetype: &str, facts: &[Pair<'_>]) -> bool {
    let after_head = || {
        let rest = text.as_bytes().strip_prefix(b"{\n    \"filetype\": \"")?;
        rest.strip_prefix(filetype.as_bytes())?.strip_prefix(b"\",\n    \"value\": {\n        \"")
    };
    let Some(mut rest) = after_head() else { return false };
    let mut before = "";
    for (name, value) in facts {
        let after_value = || {
            let rest = rest.get(name.len()..)?.strip_prefix(b"\": \"")?;
            rest.get(value.len()..)
        };
        let Some(after) = after_value().filter(|_| before < *name) else { return false };
        match after.strip_prefix(b"\",\n        \"") {
            Some(next) => rest = next,
            None => return after == b"\"\n    }\n}\n",
        }
        before = name;
    }
    false
}

fn read<'t>(text: &'t str, filetype: &str, facts: &mut Vec<Pair<'t>>) -> Option<()> {
    let mut at = Cursor { text, at: 0 };
    at.token(b'{')?;
    let expected = at.string()? == "filetype" && at.token(b':').is_some() && at.string()? == filetype;
    expected.then_some(())?;
    at.token(b',')?;
    let mut key = at.string()?;
    at.token(b':')?;
    if key == SERIAL {
        at.number()?;
        key = at.next_key()?;
    }
    if key == SIGNATURE {
        at.string()?;
        key = at.next_key()?;
    }
    (key == "value").then_some(())?;
    at.token(b'{')?;
    loop {
        let name = at.string()?;
        at.token(b':')?;
        facts.push((name, at.string()?));
        match at.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    at.token(b'}')?;
    at.skip_space();
    (at.at == text.len()).then_some(())
}

struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Cursor<'t> {
    fn skip_space(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\t' | b'\r')).count();
    }

    /// The next byte that is not white space.
    fn next(&mut self) -> Option<u8> {
        self.skip_space();
        let byte = self.text.as_bytes().get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    fn token(&mut self, expected: u8) -> Option<()> {
        (self.next()? == expected).then_some(())
    }

    /// The key after a value.
    fn next_key(&mut self) -> Option<&'t str> {
        self.token(b',')?;
        let key = self.string()?;
        self.token(b':')?;
        Some(key)
    }

    /// A whole number in JSON's spelling.
    fn number(&mut self) -> Option<u64> {
        self.skip_space();
        let rest = &self.text[self.at..];
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        let digits = &rest[..length];
        (length == 1 || !digits.starts_with('0')).then_some(())?;
        let number = digits.parse().ok()?;
        self.at += length;
        Some(number)
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'t str> {
        self.token(b'"')?;
        let rest = &self.text.as_bytes()[self.at..];
        let length = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
        if rest[length] != b'"' {
            return None;
        }
        let string = self.text.get(self.at..self.at + length)?;
        self.at += length + 1;
        Some(string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::envelope::{SOUND, note};
    use crate::record::{FILETYPE, Facts};

    fn scanned(text: &str) -> Option<Facts> {
        let mut found = Vec::new();
        facts(text, FILETYPE, &mut found)
            .map(|_| found.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
    }

    /// What the full JSON parser reads.
    fn parsed(text: &str) -> Option<Facts> {
        let whole: serde_json::Value = serde_json::from_str(text).ok()?;
        (whole.get("filetype")? == FILETYPE).then_some(())?;
        (note(whole.as_object()?) == SOUND).then_some(())?;
        Some(whole.get("value")?.as_object()?.clone().into_iter().collect())
    }

    #[test]
    fn the_usual_spelling_is_taken() {
        let compact = r#"{"filetype":"nodepresence","value":{"b":"2","a":"ü"}}"#;
        let pretty =
            "{\n    \"filetype\": \"nodepresence\",\n    \"value\": {\n        \"a\": \"1\"\n    }\n}\n";
        let signed =
            r#"{"filetype":"nodepresence","serial":18446744073709551615,"signature":"x","value":{"a":"1"}}"#;
        let numbered = r#"{"filetype":"nodepresence", "serial": 0, "value":{"a":"1"}}"#;
        for text in [compact, pretty, signed, numbered] {
            assert_eq!(scanned(text), parsed(text), "{text}");
            assert!(scanned(text).is_some());
            let spelling = if text == pretty { Spelling::Ours } else { Spelling::Other };
            assert_eq!(facts(text, FILETYPE, &mut Vec::new()), Some(spelling), "{text}");
        }
    }

    #[test]
    fn everything_else_is_left_to_the_real_parser() {
        let around = |value: &str| format!(r#"{{"filetype":"nodepresence","value":{value}}}"#);
        for value in [
            "{}",
            r#"{"a":1}"#,
            r#"{"a":"\n"}"#,
            r#"{"a":"1","a":"2"}"#,
            r#"{"a":"1",}"#,
            r#"{"a" "1"}"#,
            "[]",
            "{\"a\":\"\n\"}",
            r#"{"a":"1""#,
            r#"{"a":"1"}}"#,
        ] {
            assert_eq!(scanned(&around(value)), None, "{value}");
        }
        for serial in ["-1", "01", "1.0", "1e3", "18446744073709551616", "\"1\"", "null", ""] {
            let text = format!(r#"{{"filetype":"nodepresence","serial":{serial},"value":{{"a":"1"}}}}"#);
            assert_eq!(scanned(&text), None, "{text}");
        }
        for text in ["", "{", r#"{"filetype":"nodepresence"}"#, "\u{feff}{}"] {
            assert_eq!(scanned(text), None, "{text}");
        }
    }

    proptest::proptest! {
        /// Input that is cut, overwritten or repeated anywhere: the full parser accepts everything that is
        /// accepted here, with the same meaning.
        #[test]
        fn never_takes_what_the_real_parser_refuses(at in 0usize..200, with in "\\PC{0,3}|[\"{}:,\\\\ \n\t]{1,3}", cut in 0usize..4, signed: bool) {
            let text = match signed {
                false => "{ \"filetype\":\"nodepresence\",\n\"value\":{\"instance-id\":\"i-1\", \"state\" : \"done\",\"a\":\"ü\"}}\n",
                true => "{\"filetype\":\"nodepresence\", \"serial\": 10,\"signature\":\"s\",\n\"value\":{\"instance-id\":\"i-1\",\"a\":\"ü\"}}\n",
            };
            let begin = text.char_indices().map(|(at, _)| at).rfind(|found| *found <= at).unwrap_or(0);
            let end = text.char_indices().map(|(at, _)| at).find(|found| *found >= begin + cut).unwrap_or(text.len());
            let changed = format!("{}{with}{}", &text[..begin], &text[end..]);
            if let Some(facts) = scanned(&changed) {
                proptest::prop_assert_eq!(Some(facts), parsed(&changed), "{}", changed);
            }
        }
    }
}
