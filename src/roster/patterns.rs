//! Several glob patterns in one text: `app*,web` and `{app,web}*`.

use glob::{Pattern, PatternError};

use crate::sanitize::excerpt;

/// The most patterns in one text.
const MAX: usize = 256;

/// The most braces in one pattern.
const MAX_BRACES: usize = 16;

/// Glob patterns, of which one must match.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    all: Vec<Pattern>,
    text: String,
}

/// A text that is not a list of patterns.
#[derive(Debug, thiserror::Error)]
pub enum PatternsError {
    /// A brace without its counterpart.
    #[error("a `{{` in `{0}` is not closed")]
    Open(String),
    /// More than [`MAX`] patterns, or too many braces.
    #[error("`{0}` stands for more than {MAX} patterns, or has more than {MAX_BRACES} braces")]
    TooMany(String),
    /// One of the patterns is malformed.
    #[error("`{pattern}` is not a glob pattern")]
    Malformed {
        /// The pattern.
        pattern: String,
        /// The position of the error.
        #[source]
        source: PatternError,
    },
}

impl Patterns {
    /// Parses patterns that are separated by commas. `{a,b}` in a pattern stands for `a` and for `b`.
    pub fn parse(text: &str) -> Result<Patterns, PatternsError> {
        let pieces = pieces(text);
        let alone = pieces.len() == 1;
        let pieces: Vec<&str> =
            pieces.into_iter().map(|piece| if alone { piece } else { piece.trim() }).collect();
        let mut found = Vec::new();
        for piece in &pieces {
            expand(piece, MAX_BRACES, &mut found)?;
        }
        let compile = |pattern: String| {
            Pattern::new(&pattern)
                .map_err(|source| PatternsError::Malformed { pattern: excerpt(&pattern), source })
        };
        let all = found.into_iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Patterns { all, text: pieces.join(",") })
    }

    /// The text, without spaces around its commas.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The patterns.
    pub fn iter(&self) -> impl Iterator<Item = &Pattern> {
        self.all.iter()
    }

    /// Whether a pattern matches.
    pub fn matches(&self, text: &str) -> bool {
        self.all.iter().any(|pattern| pattern.matches(text))
    }

    /// The patterns that match exactly one text, which is their own.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        self.all.iter().filter(|pattern| is_literal(pattern)).map(Pattern::as_str)
    }

    /// Whether all patterns are literals.
    pub fn are_literals(&self) -> bool {
        self.all.iter().all(is_literal)
    }
}

fn is_literal(pattern: &Pattern) -> bool {
    !pattern.as_str().contains(['*', '?', '['])
}

/// Adds the patterns that a text without outer commas stands for.
fn expand(text: &str, braces: usize, found: &mut Vec<String>) -> Result<(), PatternsError> {
    let Some((begin, _)) = outside(text).find(|(_, character)| *character == '{') else {
        if found.len() == MAX {
            return Err(PatternsError::TooMany(excerpt(text)));
        }
        found.push(text.to_owned());
        return Ok(());
    };
    let Some(braces) = braces.checked_sub(1) else { return Err(PatternsError::TooMany(excerpt(text))) };
    let mut depth = 0;
    let end = outside(&text[begin..]).find(|(_, character)| {
        depth += i32::from(*character == '{') - i32::from(*character == '}');
        depth == 0
    });
    let end = begin + end.ok_or_else(|| PatternsError::Open(excerpt(text)))?.0;
    for choice in pieces(&text[begin + 1..end]) {
        expand(&format!("{}{choice}{}", &text[..begin], &text[end + 1..]), braces, found)?;
    }
    Ok(())
}

/// The pieces between commas that are in no braces.
fn pieces(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let mut begin = 0;
    let mut pieces = Vec::new();
    for (at, character) in outside(text) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                pieces.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    pieces.push(&text[begin..]);
    pieces
}

/// The characters with their places, without those in brackets: `[,{]` means these characters themselves.
fn outside(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut behind = 0;
    text.char_indices().filter(move |&(at, character)| {
        if at < behind {
            return false;
        }
        if character == '[' {
            // A `]` right after the opening bracket, or after its `!`, is one of the characters.
            let rest = &text[at + 1..];
            let skipped = usize::from(rest.starts_with('!'));
            let own = rest[skipped..].chars().next().map_or(0, char::len_utf8);
            if let Some(end) = rest[skipped + own..].find(']') {
                behind = at + 1 + skipped + own + end + 1;
            }
        }
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &[&str]) {
        let patterns = Patterns::parse(text).unwrap();
        assert_eq!(patterns.iter().map(Pattern::as_str).collect::<Vec<_>>(), expect, "{text}");
    }

    #[test]
    fn commas_and_braces_are_alternatives() {
        check("app*", &["app*"]);
        check("app*,web", &["app*", "web"]);
        check("app*, web ", &["app*", "web"]);
        check("{app,web}*", &["app*", "web*"]);
        check("{a,b{1,2}}x,c", &["ax", "b1x", "b2x", "c"]);
        check("a{,1}", &["a", "a1"]);
        check("{a,b}{1,2}", &["a1", "a2", "b1", "b2"]);
        check(" a b ", &[" a b "]);
        check("", &[""]);
        check("a}", &["a}"]);
        check("[,{]x,[!]},]y,[]},]", &["[,{]x", "[!]},]y", "[]},]"]);
        assert_eq!(Patterns::parse("app*, web").unwrap().text(), "app*,web");
    }

    #[test]
    fn one_alternative_is_enough() {
        let patterns = Patterns::parse("{app,web}*,db1").unwrap();
        for (part, expect) in
            [("app1", true), ("web", true), ("db1", true), ("db", false), ("{app,web}1", false)]
        {
            assert_eq!(patterns.matches(part), expect, "{part}");
        }
        assert_eq!(patterns.literals().collect::<Vec<_>>(), ["db1"]);
        assert!(!patterns.are_literals() && Patterns::parse("a,{b,c}").unwrap().are_literals());
    }

    #[test]
    fn what_is_no_list_of_patterns_says_why() {
        let check = |text: &str, expect: &str| {
            assert_eq!(Patterns::parse(text).unwrap_err().to_string(), expect);
        };
        check("a{b", "a `{` in `a{b` is not closed");
        check("a,{b,{c}", "a `{` in `{b,{c}` is not closed");
        check("a,[", "`[` is not a glob pattern");
        let many = "{0,1}".repeat(9);
        assert!(Patterns::parse(&many).unwrap_err().to_string().contains("more than 256 patterns"));
        assert!(Patterns::parse(&"{0,1}".repeat(10_000)).is_err());
    }
}
