//! Keys and logins that the configuration has for some URLs.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::TransportError;
use crate::address::{Address, AddressError, Scheme, Secret};

/// The largest file of a login, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// A key or a login for the repositories at and below a URL.
#[derive(Debug, Clone, PartialEq)]
pub struct Credential {
    /// The URL, without a password.
    pub(crate) prefix: Address,
    /// The private key for ssh.
    pub ssh_key: Option<PathBuf>,
    /// The host keys for ssh, in the format of known_hosts.
    pub known_hosts: Option<PathBuf>,
    /// A file with a token for http.
    pub token_file: Option<PathBuf>,
    /// A file with `USER:PASSWORD` for http.
    pub login_file: Option<PathBuf>,
}

impl Credential {
    /// A credential without files. The URL may end after its host.
    pub fn new(url: &str) -> Result<Credential, AddressError> {
        let ends_after_host = url.split_once("://").is_some_and(|(_, rest)| !rest.contains('/'));
        let prefix = match ends_after_host {
            true => Address::parse(&format!("{url}/"))?,
            false => Address::parse(url)?,
        };
        if prefix.password.is_some() {
            return Err(AddressError::wrong("password", "belongs into a file"));
        }
        Ok(Credential { prefix, ssh_key: None, known_hosts: None, token_file: None, login_file: None })
    }

    /// Whether the URL is one of ssh.
    pub fn is_ssh(&self) -> bool {
        self.prefix.scheme == Scheme::Ssh
    }

    /// Whether the URL is one of http or https.
    pub fn is_http(&self) -> bool {
        matches!(self.prefix.scheme, Scheme::Http | Scheme::Https)
    }

    /// Whether it is for that repository. Whole components are compared: a credential for `https://h/team` is not
    /// for `https://h/teams`, and one for `https://h` is not for `https://h.example.net`.
    fn covers(&self, address: &Address) -> bool {
        let prefix = &self.prefix;
        let path = address.path.trim_matches('/');
        prefix.scheme == address.scheme
            && prefix.host.eq_ignore_ascii_case(&address.host)
            && port(prefix) == port(address)
            && prefix.user.as_ref().is_none_or(|user| address.user.as_ref() == Some(user))
            && match self.path() {
                "" => true,
                below => {
                    path.strip_prefix(below).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                }
            }
    }

    /// The path of the URL, without slashes at its ends.
    pub(crate) fn path(&self) -> &str {
        self.prefix.path.trim_matches('/')
    }

    /// The user, if the file states one, and the password or token. `None` if the credential has neither file.
    pub(crate) fn login(&self) -> Result<Option<(Option<String>, Secret)>, TransportError> {
        if let Some(path) = &self.token_file {
            return Ok(Some((None, Secret(line(path)?))));
        }
        let Some(path) = &self.login_file else { return Ok(None) };
        match line(path)?.split_once(':') {
            Some((user, password)) if !user.is_empty() && !password.is_empty() => {
                Ok(Some((Some(user.to_owned()), Secret(password.to_owned()))))
            }
            _ => Err(unusable(path, io::Error::other("it is not of the form USER:PASSWORD"))),
        }
    }
}

/// The credential for that repository: the one with the longest path, and the first of these.
pub(crate) fn of<'a>(credentials: &'a [Credential], address: &Address) -> Option<&'a Credential> {
    let covering = credentials.iter().rev().filter(|credential| credential.covers(address));
    covering.max_by_key(|credential| (credential.path().len(), credential.prefix.user.is_some()))
}

fn port(address: &Address) -> u16 {
    let usual = match address.scheme {
        Scheme::Git => 9418,
        Scheme::Ssh => 22,
        Scheme::Http => 80,
        Scheme::Https => 443,
    };
    address.port.unwrap_or(usual)
}

fn unusable(path: &Path, source: io::Error) -> TransportError {
    TransportError::Credential { path: path.to_owned(), source }
}

/// The only line of a file. A message about it has nothing of its content.
fn line(path: &Path) -> Result<String, TransportError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
    read.map_err(|source| unusable(path, source))?;
    match text.trim() {
        "" => Err(unusable(path, io::Error::other("it is empty"))),
        line if line.contains(char::is_control) => {
            Err(unusable(path, io::Error::other("it has more than one line, or a control character")))
        }
        line => Ok(line.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_for(prefix: &str, url: &str) -> bool {
        let credentials = [Credential::new(prefix).unwrap()];
        of(&credentials, &Address::parse(url).unwrap()).is_some()
    }

    #[test]
    fn a_credential_is_for_whole_components_of_a_url() {
        let covered = [
            ("https://git.example.net", "https://git.example.net/a/list.git"),
            ("https://git.example.net/", "https://deploy@GIT.example.net:443/a"),
            ("https://git.example.net/team", "https://git.example.net/team/list.git"),
            ("https://git.example.net/team/", "https://git.example.net/team"),
            ("ssh://git@git.example.net", "git@git.example.net:list.git"),
            ("ssh://git.example.net:22/srv", "ssh://git@git.example.net/srv/list.git"),
            ("git@git.example.net:srv", "ssh://git@git.example.net/srv/list.git"),
        ];
        for (prefix, url) in covered {
            assert!(is_for(prefix, url), "{prefix} {url}");
        }
        let others = [
            ("https://git.example.net", "https://git.example.net.example.org/a"),
            ("https://git.example.net", "http://git.example.net/a"),
            ("https://git.example.net", "https://git.example.net:8443/a"),
            ("https://git.example.net/team", "https://git.example.net/teams/list.git"),
            ("https://git.example.net/team", "https://git.example.net/list.git"),
            ("https://deploy@git.example.net", "https://git.example.net/a"),
            ("https://deploy@git.example.net", "https://other@git.example.net/a"),
            ("ssh://git@git.example.net", "https://git@git.example.net/a"),
        ];
        for (prefix, url) in others {
            assert!(!is_for(prefix, url), "{prefix} {url}");
        }
    }

    #[test]
    fn the_longest_path_wins_and_then_the_first() {
        let credential = |url: &str, token: &str| Credential {
            token_file: Some(token.into()),
            ..Credential::new(url).unwrap()
        };
        let credentials = [
            credential("https://h", "host"),
            credential("https://h/team", "first"),
            credential("https://h/team", "second"),
        ];
        let token = |url: &str| of(&credentials, &Address::parse(url).unwrap()).unwrap().token_file.clone();
        assert_eq!(token("https://h/team/a"), Some("first".into()));
        assert_eq!(token("https://h/a"), Some("host".into()));
    }

    #[test]
    fn a_url_with_a_password_is_refused() {
        for url in ["https://u:secret@h/a", "file:///srv/a", "h", ""] {
            let error = Credential::new(url).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_file_has_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("login");
        let credential =
            Credential { login_file: Some(file.clone()), ..Credential::new("https://h").unwrap() };
        let check = |text: &str| {
            std::fs::write(&file, text).unwrap();
            credential
                .login()
                .map_err(|error| format!("{error}: {}", std::error::Error::source(&error).unwrap()))
        };
        let login = check("deploy:open:sesame\n").unwrap().unwrap();
        assert_eq!((login.0.as_deref(), login.1.0.as_str()), (Some("deploy"), "open:sesame"));
        for (text, reason) in [
            ("", "empty"),
            ("hunter22\n", "USER:PASSWORD"),
            (":hunter22", "USER:PASSWORD"),
            ("deploy:hunter22\nmore", "more than one line"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(reason) && !error.contains("hunter22"), "{error}");
        }
        std::fs::remove_file(&file).unwrap();
        assert!(credential.login().is_err());
    }
}
