//! Parses the address of a repository: `scheme://user@host:port/path`, or scp's `user@host:path`.
//!
//! Host, user and path become words of a command line (of ssh and of the server's shell) and lines of a
//! protocol. Anything that could be taken for an option or end a line is refused here, for all transports.

use std::fmt;
use std::net::Ipv6Addr;

/// The protocol of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `git://`
    Git,
    /// `ssh://`, or scp's form.
    Ssh,
    /// `http://`
    Http,
    /// `https://`
    Https,
}

/// A text that must never be shown, above all not in logs and messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The address of a repository.
#[derive(Debug, Clone, PartialEq)]
pub struct Address {
    /// The protocol.
    pub scheme: Scheme,
    /// The user who logs in.
    pub user: Option<String>,
    /// The user's password or token.
    pub password: Option<Secret>,
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The port, if it is not the usual one.
    pub port: Option<u16>,
    /// In the form for the server; for http, as in a request.
    pub path: String,
}

/// Why a URL is refused.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("its {part} {problem}")]
pub struct AddressError {
    part: &'static str,
    problem: &'static str,
}

/// The error of a scheme for which there is no connection.
pub(crate) const UNKNOWN_SCHEME: AddressError = AddressError { part: "scheme", problem: "is not supported" };

impl AddressError {
    /// The error that `part` of the URL has that problem.
    pub(crate) fn wrong(part: &'static str, problem: &'static str) -> AddressError {
        AddressError { part, problem }
    }
}

fn wrong<T>(part: &'static str, problem: &'static str) -> Result<T, AddressError> {
    Err(AddressError::wrong(part, problem))
}

impl Address {
    /// Parses a URL, and refuses what no transport should see.
    pub fn parse(url: &str) -> Result<Address, AddressError> {
        let address = match url.split_once("://") {
            Some((scheme, rest)) => {
                let scheme = match scheme.to_ascii_lowercase().as_str() {
                    "git" => Scheme::Git,
                    "ssh" | "ssh+git" | "git+ssh" => Scheme::Ssh,
                    "http" => Scheme::Http,
                    "https" => Scheme::Https,
                    _ => return Err(UNKNOWN_SCHEME),
                };
                Address::of_url(scheme, rest)?
            }
            None => Address::of_scp(url)?,
        };
        address.check()
    }

    fn of_url(scheme: Scheme, rest: &str) -> Result<Address, AddressError> {
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (userinfo, host) = match authority.rsplit_once('@') {
            Some((userinfo, host)) => (Some(userinfo), host),
            None => (None, authority),
        };
        let (user, password) = match userinfo.map(|info| info.split_once(':').unwrap_or((info, ""))) {
            Some((user, "")) => (Some(decode(user)?), None),
            Some((user, password)) => (Some(decode(user)?), Some(Secret(decode(password)?))),
            None => (None, None),
        };
        if scheme == Scheme::Ssh && password.is_some() {
            return wrong("password", "cannot be used with ssh, which logs in with a key");
        }
        let (host, port) = split_port(host)?;
        let path = match scheme {
            Scheme::Http | Scheme::Https if path.contains(['?', '#']) => {
                return wrong("path", "contains a `?` or `#`");
            }
            Scheme::Http | Scheme::Https => encode(path.trim_end_matches('/')),
            // As in git, `/~user/list.git` is below that user's home directory on the server.
            Scheme::Git | Scheme::Ssh => {
                let path = decode(path)?;
                path.strip_prefix('/').filter(|path| path.starts_with('~')).unwrap_or(&path).to_owned()
            }
        };
        Ok(Address { scheme, user, password, host: decode(&host)?, port, path })
    }

    fn of_scp(text: &str) -> Result<Address, AddressError> {
        let (user, rest) = match text.split_once('@') {
            Some((user, rest)) if !user.contains([':', '[']) => (Some(user.to_owned()), rest),
            _ => (None, text),
        };
        let Some((host, path)) = (match rest.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once("]:"),
            None => rest.split_once(':'),
        }) else {
            return wrong("host", "is not followed by `:` and a path");
        };
        let (host, path) = (host.to_owned(), path.to_owned());
        Ok(Address { scheme: Scheme::Ssh, user, password: None, host, port: None, path })
    }

    fn check(self) -> Result<Address, AddressError> {
        let fields =
            [("user", self.user.as_deref()), ("host", Some(&*self.host)), ("path", Some(&*self.path))];
        for (part, text) in fields {
            let Some(text) = text else { continue };
            if text.starts_with('-') {
                return wrong(part, "starts with `-`, which a program could take for an option");
            }
            if text.contains(char::is_control) {
                return wrong(part, "contains a control character");
            }
            if text.is_empty() && !(part == "path" && matches!(self.scheme, Scheme::Http | Scheme::Https)) {
                return wrong(part, "is empty");
            }
        }
        let name =
            |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if !name(&self.host) && !is_ipv6(&self.host) {
            return wrong("host", "is neither a name in ASCII nor an address");
        }
        // ssh inserts the user into commands of its configuration, which run in a shell (CVE-2023-51385).
        let hostile =
            |user: &str| user.contains(|letter| "\"'`$\\;&<>|(){}".contains(letter) || letter == ' ');
        if self.scheme == Scheme::Ssh && self.user.as_deref().is_some_and(hostile) {
            return wrong("user", "contains a character that a shell would interpret");
        }
        Ok(self)
    }

    /// The host as in a URL: IPv6 in brackets.
    pub fn url_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    /// `host` or `host:port`, for messages and for the request of git's own protocol.
    pub fn peer(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.url_host()),
            None => self.url_host(),
        }
    }
}

/// Whether this is an IPv6 address, or a link-local one with the name of its interface (`fe80::1%eth0`).
fn is_ipv6(host: &str) -> bool {
    let (address, zone) = host.split_once('%').unwrap_or((host, "0"));
    let interface =
        |zone: &str| zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && interface(zone)
}

fn split_port(authority: &str) -> Result<(String, Option<u16>), AddressError> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or("?"))),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    // `parse` alone would accept a `+`.
    let number = |port: &str| match port.bytes().all(|byte| byte.is_ascii_digit()) {
        true => port.parse().ok().filter(|port| *port > 0),
        false => None,
    };
    match port {
        None | Some("") => Ok((host.to_owned(), None)),
        Some(port) => match number(port) {
            Some(port) => Ok((host.to_owned(), Some(port))),
            None => wrong("port", "is not a number from 1 to 65535"),
        },
    }
}

/// Percent-decodes.
fn decode(text: &str) -> Result<String, AddressError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    let mut byte;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let code = digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        // As in git, a `%` without two hex digits is literal.
        (byte, rest) = match (first, code) {
            (b'%', Some(code)) => (code, &after[2..]),
            (other, _) => (other, after),
        };
        bytes.push(byte);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => wrong("text", "is not UTF-8 once its %-codes are decoded"),
    }
}

/// Percent-encodes characters that are invalid in a request. Existing codes stay.
fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b' ' | 0x80.. => {
                encoded.push_str(&format!("%{byte:02X}"));
            }
            _ => encoded.push(char::from(byte)),
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
