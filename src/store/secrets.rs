//! URLs as they may be shown. A mistyped URL has its password as well, so what looks like a login is hidden in any text.

/// Schemes in which a name alone is no secret; elsewhere it is as often a token.
const NAMED: [&str; 6] = ["ssh", "git+ssh", "ssh+git", "git", "file", ""];

const HIDDEN: &str = "***";

/// The URL, path or `user@host:path` without password, token and query.
pub(super) fn without_secrets(text: &str) -> String {
    let (scheme, rest) = split_scheme(text);
    let is_url = !scheme.is_empty();
    let name = scheme.trim_end_matches(['/', ':']).to_ascii_lowercase();
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) if is_url && name != "file" => (rest, "?***"),
        _ => (rest, ""),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let shown = match authority.rsplit_once('@') {
        // `git@host:path@x`: what comes after the colon is a path.
        Some(_) if !is_url && authority.find('@') < authority.find(':') => rest.to_owned(),
        Some((login, host)) => match login.split_once(':') {
            Some((user, _)) => format!("{user}:{HIDDEN}@{host}{path}"),
            None if NAMED.contains(&name.as_str()) || login == "git" => rest.to_owned(),
            None => format!("{HIDDEN}@{host}{path}"),
        },
        None => match authority.split_once(':') {
            // A slash in the password, or the end of the URL cut off.
            Some((user, after)) if is_url && !authority.starts_with('[') && !is_port(after) => {
                match path.rsplit_once('@') {
                    Some((_, host)) => format!("{user}:{HIDDEN}@{host}"),
                    None => format!("{user}:{HIDDEN}{path}"),
                }
            }
            _ => rest.to_owned(),
        },
    };
    format!("{scheme}{shown}{query}")
}

/// A text of any kind with its URLs without secrets: the line of a configuration file that cannot be read, for example.
pub fn without_urls_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let is_end = |letter: char| letter.is_whitespace() || "\"'`<>,[]{}".contains(letter);
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(is_end).unwrap_or(rest.len());
        let (head, tail) = rest.split_at(word);
        match head.contains('@') || head.contains("//") {
            true => shown.push_str(&without_secrets(head)),
            false => shown.push_str(head),
        }
        let end = tail.chars().next().map_or(0, char::len_utf8);
        shown.push_str(&tail[..end]);
        rest = &tail[end..];
    }
    shown
}

/// The scheme with what follows it, also where a colon or a slash was left out.
fn split_scheme(text: &str) -> (&str, &str) {
    let word = text.find(|letter: char| !letter.is_ascii_alphanumeric() && !"+-.".contains(letter));
    let Some(word) = word else { return ("", text) };
    let end = ["://", "//", ":/"].iter().find(|end| text[word..].starts_with(**end));
    match end {
        Some(end) if word > 0 => text.split_at(word + end.len()),
        _ => ("", text),
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        for (text, shown) in [
            ("https://u:p@h/x@y", "https://u:***@h/x@y"),
            ("https://t0k3n@h/x", "https://***@h/x"),
            ("HTTPS://u:p@h/x", "HTTPS://u:***@h/x"),
            ("ssh://git@h/x", "ssh://git@h/x"),
            ("ssh://deploy@h/x", "ssh://deploy@h/x"),
            ("ssh://u:p@h/x", "ssh://u:***@h/x"),
            ("git@h:x", "git@h:x"),
            ("git@h:x@y", "git@h:x@y"),
            ("/srv/list.git", "/srv/list.git"),
            ("/srv/a:b@c/list", "/srv/a:b@c/list"),
            ("file:///srv/a?b", "file:///srv/a?b"),
            ("http://h:8080/x@y", "http://h:8080/x@y"),
            ("http://[::1]:8080/x@y", "http://[::1]:8080/x@y"),
            ("https://h/x?private_token=p", "https://h/x?***"),
            // Mistyped.
            ("htps://u:p@h/x", "htps://u:***@h/x"),
            ("htps://t0k3n@h/x", "htps://***@h/x"),
            ("https//u:p@h/x", "https//u:***@h/x"),
            ("https:/u:p@h/x", "https:/u:***@h/x"),
            ("https:u:p@h/x", "https:***@h/x"),
            ("u:p@h/x", "u:***@h/x"),
            ("u:p@w@h:x", "u:***@h:x"),
            ("https://u:p/w@h/x", "https://u:***@h/x"),
            ("https://u:p", "https://u:***"),
            ("https://u:p@", "https://u:***@"),
        ] {
            assert_eq!(without_secrets(text), shown);
        }
    }

    #[test]
    fn urls_are_found_in_a_text() {
        let text = "1 | store = \"https://u:p@h/x\n  |  ^ [a], b@c é//\n";
        assert_eq!(without_urls_secrets(text), text.replace(":p@", ":***@"));
    }
}
