//! Explains why a text is not valid handlebars. The parser only lists what it expected; for an unclosed block
//! it does so at the end of the file.

use handlebars::{TemplateError, TemplateErrorReason};

use crate::sanitize::excerpt;

/// The position of an error (line and column, from 1), and the error.
pub(super) fn explain(text: &str, error: &TemplateError) -> (usize, usize, String) {
    if let Some((at, reason)) = unbalanced(text) {
        let (line, column) = place(text, at);
        return (line, column, reason);
    }
    let (line, column) = error.pos().unwrap_or((1, 1));
    match error.reason() {
        TemplateErrorReason::InvalidSyntax(_) => {
            let at = tag_around(text, offset(text, line, column));
            let tag = &text[at..];
            let tag = tag.find("}}").map_or(tag, |end| &tag[..end + 2]);
            let (line, column) = place(text, at);
            (line, column, format!("`{}` is not handlebars", excerpt(tag)))
        }
        other => (line, column, other.to_string()),
    }
}

/// The start of the tag in which the parser stopped, or the position itself if it did not stop in a tag.
fn tag_around(text: &str, at: usize) -> usize {
    let end = text[at..].char_indices().nth(2).map_or(text.len(), |(length, _)| at + length);
    match text[..end].rfind("{{") {
        Some(start) if start >= at || !text[start..at].contains("}}") => start,
        _ => at,
    }
}

/// The byte offset of a line and column, both from 1.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = &text[before..];
    rest.char_indices().nth(column.saturating_sub(1)).map_or(text.len(), |(length, _)| before + length)
}

/// The first unclosed tag, or block tag without its counterpart: its byte offset and what is wrong.
fn unbalanced(text: &str) -> Option<(usize, String)> {
    let mut open: Vec<(usize, &str)> = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("{{") {
        let start = at + found;
        let tag = &text[start + 2..];
        if text[..start].ends_with('\\') {
            at = start + 2;
            continue;
        }
        let end = if tag.starts_with("!--") { "--}}" } else { "}}" };
        let Some(length) = tag.find(end) else { return Some((start, "`{{` is not closed".into())) };
        at = start + 2 + length + end.len();
        let content = tag[..length].trim_matches('~').trim();
        let name = |rest: &'_ str| -> usize {
            rest.find(|character: char| character.is_whitespace() || character == '~').unwrap_or(rest.len())
        };
        if let Some(rest) = content.strip_prefix('#') {
            let rest = rest.trim_start_matches(['>', '*']).trim_start();
            open.push((start, &rest[..name(rest)]));
        } else if let Some(rest) = content.strip_prefix('/') {
            let rest = rest.trim_start();
            let closed = &rest[..name(rest)];
            match open.pop() {
                None => {
                    return Some((start, format!("`{{{{/{}}}}}` does not close any block", excerpt(closed))));
                }
                Some((opened_at, opened)) if opened != closed => {
                    let line = place(text, opened_at).0;
                    let (opened, closed) = (excerpt(opened), excerpt(closed));
                    let reason =
                        format!("`{{{{/{closed}}}}}` does not match `{{{{#{opened}}}}}` of line {line}");
                    return Some((start, reason));
                }
                Some(_) => {}
            }
        }
    }
    let (start, name) = open.pop()?;
    Some((start, format!("`{{{{#{}}}}}` is not closed", excerpt(name))))
}

fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use handlebars::Template;

    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &str) {
        let error = Template::compile(text).expect_err("not handlebars");
        let (line, column, reason) = explain(text, &error);
        assert_eq!(format!("{line}:{column}: {reason}"), expect);
    }

    #[test]
    fn the_place_is_that_of_the_mistake() {
        check("a\nb {{#nodes}}\nc\n", "2:3: `{{#nodes}}` is not closed");
        check(
            "{{#if x}}\n{{#nodes part=\"a\"}}\n{{/if}}\n",
            "3:1: `{{/if}}` does not match `{{#nodes}}` of line 2",
        );
        check("é {{/if}}", "1:3: `{{/if}}` does not close any block");
        check("a\n {{x\nb", "2:2: `{{` is not closed");
        check("{{!-- {{#if}} --}}{{#> frame ~}}", "1:19: `{{#frame}}` is not closed");
        check("a\n  {{ }}\n", "2:3: `{{ }}` is not handlebars");
        check("{{#if}}\n{{x y=}}{{/if}}", "2:1: `{{x y=}}` is not handlebars");
    }
}
