//! Hides secrets in URLs. A mistyped URL contains its password too, so in doubt the text is hidden.

/// Schemes in which a lone user name is no secret. In others it is often a token.
const NAMED: [&str; 5] = ["ssh", "git+ssh", "ssh+git", "git", "file"];

/// Schemes that are recognised anywhere in a text, even with a slash missing.
const KNOWN: [&str; 8] = ["ssh", "git+ssh", "ssh+git", "git", "file", "http", "https", "ftp"];

const HIDDEN: &str = "***";

/// Separators between scheme and rest, including misspelled ones.
const SEPARATORS: [&str; 3] = ["://", "//", ":/"];

/// User names are not longer; tokens are.
const MAX_USER: usize = 20;

/// The URL, path or `user@host:path` without password, token, query and fragment.
pub fn without_secrets(text: &str) -> String {
    let starts = schemes(text);
    let Some(first) = starts.first() else { return without_scheme(text) };
    let mut shown = before_scheme(&text[..*first]).to_owned();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    for (start, end) in starts.iter().zip(ends) {
        shown.push_str(&url(&text[*start..end]));
    }
    shown
}

/// Hides the secrets of all URLs in any text, such as a line of an unreadable configuration file.
pub fn without_urls_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let is_end = |letter: char| letter.is_whitespace() || "\"'`".contains(letter);
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(is_end).unwrap_or(rest.len());
        let (head, tail) = rest.split_at(word);
        let is_query = head.contains('?') && head.contains('=');
        match is_query || head.contains('@') || SEPARATORS.iter().any(|separator| head.contains(separator)) {
            true => shown.push_str(&without_secrets(head)),
            false => shown.push_str(head),
        }
        let end = tail.chars().next().map_or(0, char::len_utf8);
        shown.push_str(&tail[..end]);
        rest = &tail[end..];
    }
    shown
}

/// The positions where URLs begin. The first one may follow any text, the others must be separated as in a
/// list of URLs.
fn schemes(text: &str) -> Vec<usize> {
    let mut starts: Vec<usize> = Vec::new();
    for separator in SEPARATORS {
        for (at, _) in text.match_indices(separator) {
            let start = text[..at]
                .rfind(|letter| !is_of_scheme(letter))
                .map_or(0, |before| before + text[before..].chars().next().map_or(0, char::len_utf8));
            let name = text[start..at].to_ascii_lowercase();
            let is_scheme = separator == "://" || start == 0 || KNOWN.contains(&name.as_str());
            if !name.is_empty() && is_scheme {
                starts.push(start);
            }
        }
    }
    starts.sort_unstable();
    starts.dedup();
    let is_apart =
        |start: &usize| text[..*start].ends_with(|before: char| !before.is_alphanumeric() && before != ':');
    let first = starts.first().copied();
    starts.retain(|start| Some(*start) == first || is_apart(start));
    starts
}

fn is_of_scheme(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "+-.".contains(letter)
}

/// The text before a URL: only a key and brackets may be shown.
fn before_scheme(text: &str) -> &str {
    let opens = |letter: char| letter.is_whitespace() || "<(\"'[{/=:-".contains(letter);
    let key = text.trim_end_matches(opens);
    let after = text[key.len()..].trim_start();
    let is_key = key.bytes().all(|byte| byte.is_ascii_alphabetic()) && after.starts_with(['=', ':']);
    if key.is_empty() || is_key { text } else { HIDDEN }
}

/// One URL, which begins with its scheme.
fn url(text: &str) -> String {
    let word = text.find(|letter| !is_of_scheme(letter)).unwrap_or(text.len());
    let separator = SEPARATORS.iter().find(|separator| text[word..].starts_with(**separator));
    let (scheme, rest) = text.split_at(word + separator.map_or(0, |separator| separator.len()));
    let name = text[..word].to_ascii_lowercase();
    if name == "file" && rest.starts_with('/') {
        return text.to_owned();
    }
    let (scheme, rest) = text.split_at(scheme.len() + rest.len() - rest.trim_start_matches('/').len());
    let (rest, tail) = split_tail(rest);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let shown = match (authority.rsplit_once('@'), authority.split_once(':')) {
        (Some((login, host)), _) => format!("{}@{host}{path}", shown_login(login, &name)),
        // The password contains a slash, `?`, `#` or `;`, or the URL is truncated.
        (None, Some((user, after)))
            if !authority.starts_with('[')
                && (!is_port(after) || tail.contains('@'))
                && !is_cluster(&name, authority, path) =>
        {
            match path.rsplit_once('@') {
                Some((_, host)) => format!("{user}:{HIDDEN}@{host}"),
                None => format!("{user}:{HIDDEN}{path}"),
            }
        }
        (None, None) if path.is_empty() && tail.contains('@') => HIDDEN.to_owned(),
        _ => rest.to_owned(),
    };
    format!("{scheme}{shown}{}", hidden_tail(tail))
}

fn shown_login(login: &str, scheme: &str) -> String {
    match login.split_once(':') {
        // A token in place of the user: <https://docs.github.com/en/rest/authentication>.
        Some((user, password)) if user.len() > MAX_USER || ["", "x", "x-oauth-basic"].contains(&password) => {
            format!("{HIDDEN}:{HIDDEN}")
        }
        Some((user, _)) => format!("{user}:{HIDDEN}"),
        None if login == "git" || (NAMED.contains(&scheme) && !login.contains('%')) => login.to_owned(),
        None => HIDDEN.to_owned(),
    }
}

/// A path, `user@host:path`, or a URL without its scheme.
fn without_scheme(text: &str) -> String {
    if text.starts_with(['/', '.', '~']) {
        return text.to_owned();
    }
    let (rest, tail) = split_tail(text);
    let first = text.split('/').next().unwrap_or_default();
    if !first.contains(['.', ':', '@']) && !tail.contains(['=', '@']) {
        return text.to_owned(); // It does not begin with a host.
    }
    let shown = match (rest.find(':'), rest.rfind('@')) {
        // `git@host:path@x`: the part after the colon is a path.
        (Some(colon), Some(at)) if rest.find('@').is_some_and(|first| colon < first) => {
            format!("{}:{HIDDEN}{}", &rest[..colon], &rest[at..])
        }
        (Some(colon), None) if tail.contains('@') => format!("{}:{HIDDEN}", &rest[..colon]),
        _ => rest.to_owned(),
    };
    format!("{shown}{}", hidden_tail(tail))
}

/// Splits the text before its query, fragment or parameters.
fn split_tail(text: &str) -> (&str, &str) {
    text.split_at(text.find(['?', '#', ';']).unwrap_or(text.len()))
}

fn hidden_tail(tail: &str) -> String {
    tail.chars().next().map_or_else(String::new, |mark| format!("{mark}{HIDDEN}"))
}

/// Whether a URL with this scheme names several hosts, each with or without a port.
fn is_cluster(scheme: &str, authority: &str, path: &str) -> bool {
    let is_member = |member: &str| member.rsplit_once(':').is_none_or(|(_, port)| is_port(port));
    ["etcd", "etcds"].contains(&scheme) && authority.split(',').all(is_member) && !path.contains('@')
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
            ("https:///u:p@h/x", "https:///u:***@h/x"),
            ("url=https://u:p@h/x", "url=https://u:***@h/x"),
            ("store = [\"https://u:p@h/x", "store = [\"https://u:***@h/x"),
            ("<https://u:p@h/x>", "<https://u:***@h/x>"),
            ("url=https:/u:p@h/x", "url=https:/u:***@h/x"),
            ("token=t0k3n https://h/x", "***https://h/x"),
            ("https://u:p@h/x,https://v:q@g/y", "https://u:***@h/x,https://v:***@g/y"),
            ("https://u:p,https://w@h/x", "https://u:***https://***@h/x"),
            ("https://u:1234#w@h/x", "https://u:***#***"),
            ("https://t0k#3n@h/x", "https://***#***"),
            ("https://u:a://b@h/x", "https://u:***@h/x"),
            ("u:p/w@h/x", "u:***@h/x"),
            ("u:p#w@h/x", "u:***#***"),
            // Secrets elsewhere.
            ("https://h/x#t0k3n", "https://h/x#***"),
            ("https://h/x;token=t", "https://h/x;***"),
            ("h/x?private_token=p", "h/x?***"),
            ("git.example.net/x#t0k3n", "git.example.net/x#***"),
            ("x;y", "x;y"),
            ("https://t0k3n:x-oauth-basic@h/x", "https://***:***@h/x"),
            ("https://t0k3n:@h/x", "https://***:***@h/x"),
            ("https://ghp_0123456789abcdef01234567:y@h/x", "https://***:***@h/x"),
            ("ssh://u%3Ap@h/x", "ssh://***@h/x"),
            ("file://u:p@h/x", "file://u:***@h/x"),
            ("etcd://a:2379,b:2379,[::1]:2379/x", "etcd://a:2379,b:2379,[::1]:2379/x"),
            ("etcds://a,b:1/x", "etcds://a,b:1/x"),
            ("etcd://u:p@a:1,b:1/x", "etcd://u:***@a:1,b:1/x"),
            ("etcd://u:1,p/w@a:1/x", "etcd://u:***@a:1/x"),
            ("etcd://u:p", "etcd://u:***"),
        ] {
            assert_eq!(without_secrets(text), shown);
        }
    }

    #[test]
    fn urls_are_found_in_a_text() {
        let text = "1 | store = \"https://u:p@h/x\n  |  ^ [a], b@c é//\n";
        assert_eq!(without_urls_secrets(text), text.replace(":p@", ":***@"));
        let text = "store = [https://u:p@h/x,https://v:p@h/y]\n";
        assert_eq!(without_urls_secrets(text), text.replace(":p@", ":***@"));
    }
}
