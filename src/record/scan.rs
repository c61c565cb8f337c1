//! Reads records in the usual spelling several times faster than a full JSON parser.

/// A name and its value.
pub(super) type Pair<'t> = (&'t str, &'t str);

/// Finds the facts in a record as this program and the script of 2015 write it: `filetype`, then `value`,
/// whose values are all texts without escapes. Returns them in the order of the names.
///
/// False for all other input, valid or not: the full parser judges that. It accepts everything that is
/// accepted here, with the same meaning.
pub(super) fn facts<'t>(text: &'t str, filetype: &str, facts: &mut Vec<Pair<'t>>) -> bool {
    facts.clear();
    read(text, filetype, facts).is_some() && in_order(facts)
}

/// Sorts by name. False if a name occurs twice.
fn in_order(facts: &mut [Pair<'_>]) -> bool {
    if !facts.is_sorted_by(|a, b| a.0 < b.0) {
        facts.sort_unstable_by(|a, b| a.0.cmp(b.0));
    }
    facts.windows(2).all(|pair| pair[0].0 != pair[1].0)
}

fn read<'t>(text: &'t str, filetype: &str, facts: &mut Vec<Pair<'t>>) -> Option<()> {
    let mut at = Cursor { text, at: 0 };
    at.token(b'{')?;
    let expected = at.string()? == "filetype" && at.token(b':').is_some() && at.string()? == filetype;
    expected.then_some(())?;
    at.token(b',')?;
    (at.string()? == "value").then_some(())?;
    at.token(b':')?;
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
    use crate::record::{FILETYPE, Facts};

    fn scanned(text: &str) -> Option<Facts> {
        let mut found = Vec::new();
        facts(text, FILETYPE, &mut found)
            .then(|| found.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
    }

    /// What the full JSON parser reads.
    fn parsed(text: &str) -> Option<Facts> {
        let whole: serde_json::Value = serde_json::from_str(text).ok()?;
        (whole.get("filetype")? == FILETYPE).then_some(())?;
        Some(whole.get("value")?.as_object()?.clone().into_iter().collect())
    }

    #[test]
    fn the_usual_spelling_is_taken() {
        let compact = r#"{"filetype":"nodepresence","value":{"b":"2","a":"ü"}}"#;
        let pretty =
            "{\n    \"filetype\": \"nodepresence\",\n    \"value\": {\n        \"a\": \"1\"\n    }\n}\n";
        for text in [compact, pretty] {
            assert_eq!(scanned(text), parsed(text), "{text}");
            assert!(scanned(text).is_some());
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
        for text in ["", "{", r#"{"filetype":"nodepresence"}"#, "\u{feff}{}"] {
            assert_eq!(scanned(text), None, "{text}");
        }
    }

    proptest::proptest! {
        /// Input that is cut, overwritten or repeated anywhere: the full parser accepts everything that is
        /// accepted here, with the same meaning.
        #[test]
        fn never_takes_what_the_real_parser_refuses(at in 0usize..200, with in "\\PC{0,3}|[\"{}:,\\\\ \n\t]{1,3}", cut in 0usize..4) {
            let text = "{ \"filetype\":\"nodepresence\",\n\"value\":{\"instance-id\":\"i-1\", \"state\" : \"done\",\"a\":\"ü\"}}\n";
            let begin = text.char_indices().map(|(at, _)| at).rfind(|found| *found <= at).unwrap_or(0);
            let end = text.char_indices().map(|(at, _)| at).find(|found| *found >= begin + cut).unwrap_or(text.len());
            let changed = format!("{}{with}{}", &text[..begin], &text[end..]);
            if let Some(facts) = scanned(&changed) {
                proptest::prop_assert_eq!(Some(facts), parsed(&changed), "{}", changed);
            }
        }
    }
}
