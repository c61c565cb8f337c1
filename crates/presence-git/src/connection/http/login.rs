//! Chooses user and password: from the URL, else a credential of the configuration, else the token of the
//! environment, else git's credential helpers. All but the first are used only when the server asks, and each server
//! gets only what is meant for it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::address::{Address, Scheme, Secret};
use crate::configuration::configuration;
use crate::{Credential, Deadline, TransportError, credential};

/// With a token, most git hosts accept any user; GitHub's apps require this one.
const TOKEN_USER: &str = "x-access-token";

/// The origin of a login.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum LoginSource {
    Url,
    Credential,
    Token,
    Helper,
}

/// A name and a password.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Login {
    user: String,
    password: Secret,
    pub(super) source: LoginSource,
}

impl Login {
    /// The value of the `Authorization` header (RFC 7617).
    pub(super) fn header(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password.0)))
    }
}

/// What a login is for: a server, and the path of its credential. Another port is another server.
type Purpose = (Scheme, String, Option<u16>, Option<String>, Option<String>);

/// The logins of this process.
pub(super) struct Logins {
    token: Option<Secret>,
    credentials: Vec<Credential>,
    /// The longest run of a credential helper, which may ask an absent user.
    limit: Duration,
    /// Logins that servers have asked for.
    known: Mutex<HashMap<Purpose, Login>>,
}

impl Logins {
    pub(super) fn new(token: Option<Secret>, credentials: Vec<Credential>, limit: Duration) -> Logins {
        Logins { token, credentials, limit, known: Mutex::default() }
    }

    fn purpose(&self, address: &Address) -> Purpose {
        let path = credential::of(&self.credentials, address).map(|credential| credential.path().to_owned());
        (address.scheme, address.host.clone(), address.port, address.user.clone(), path)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Purpose, Login>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The login to send unasked: from the URL, or one that this server asked for before.
    pub(super) fn known(&self, address: &Address) -> Option<Login> {
        match (&address.user, &address.password) {
            (Some(user), Some(password)) => {
                Some(Login { user: user.clone(), password: password.clone(), source: LoginSource::Url })
            }
            _ => self.lock().get(&self.purpose(address)).cloned(),
        }
    }

    /// The login for a server that asks, and that rejected `refused`. `None` if there is no other. A credential
    /// that cannot be read is an error: another login could have other rights.
    pub(super) fn ask(
        &self,
        address: &Address,
        url: &str,
        refused: Option<&Login>,
        deadline: Deadline,
    ) -> Result<Option<Login>, TransportError> {
        if refused.is_some_and(|login| login.source != LoginSource::Helper) {
            return Ok(None);
        }
        // Held while a helper runs, so that all requests for the same login share one helper.
        let mut known = self.lock();
        let key = self.purpose(address);
        if let Some(login) = known.get(&key).filter(|login| Some(*login) != refused) {
            return Ok(Some(login.clone()));
        }
        let login = self.find(address, url, deadline)?.filter(|login| Some(login) != refused);
        if let Some(login) = &login {
            known.insert(key, login.clone());
        }
        Ok(login)
    }

    fn find(
        &self,
        address: &Address,
        url: &str,
        deadline: Deadline,
    ) -> Result<Option<Login>, TransportError> {
        if let Some(credential) = credential::of(&self.credentials, address)
            && is_unheard(address)
            && let Some((user, password)) = credential.login()?
        {
            let user = user.or_else(|| address.user.clone()).unwrap_or_else(|| TOKEN_USER.to_owned());
            return Ok(Some(Login { user, password, source: LoginSource::Credential }));
        }
        Ok(self.find_elsewhere(address, url, deadline))
    }

    fn find_elsewhere(&self, address: &Address, url: &str, deadline: Deadline) -> Option<Login> {
        if let Some(token) = &self.token
            && is_unheard(address)
        {
            let user = address.user.clone().unwrap_or_else(|| TOKEN_USER.to_owned());
            return Some(Login { user, password: token.clone(), source: LoginSource::Token });
        }
        if let Some((user, password)) = helped(url, address.user.as_deref(), deadline.at_most(self.limit)) {
            return Some(Login { user, password: Secret(password), source: LoginSource::Helper });
        }
        // `https://TOKEN@host`: a token as the user, without a password.
        let user = address.user.clone()?;
        Some(Login { user, password: Secret(String::new()), source: LoginSource::Url })
    }
}

/// Whether nobody on the way can read what is sent to that server. A password in a URL is sent there in any
/// case, but the token of the environment is not meant for a particular store.
pub(super) fn is_unheard(address: &Address) -> bool {
    let loopback = |host: &str| host.parse().is_ok_and(|host: IpAddr| host.is_loopback());
    address.scheme == Scheme::Https || address.host == "localhost" || loopback(&address.host)
}

/// Asks git's credential helpers (gitcredentials(7)) from the user's git configuration.
fn helped(url: &str, user: Option<&str>, limit: Duration) -> Option<(String, String)> {
    let (url, user) = (url.to_owned(), user.map(str::to_owned));
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let config = configuration();
        let found = config.ok().and_then(|config| {
            git2::CredentialHelper::new(&url).username(user.as_deref()).config(&config).execute()
        });
        // Fails if the caller has stopped waiting.
        let _ = sender.send(found);
    });
    receiver.recv_timeout(limit).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn far() -> Deadline {
        Deadline::new("publish", Duration::from_secs(600))
    }

    fn address(url: &str) -> Address {
        Address::parse(url).unwrap()
    }

    #[test]
    fn the_header_is_the_one_of_the_rfc() {
        let login = Login {
            user: "Aladdin".into(),
            password: Secret("open sesame".into()),
            source: LoginSource::Url,
        };
        assert_eq!(login.header(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(!format!("{login:?}").contains("sesame"));
    }

    #[test]
    fn the_url_comes_first_and_is_never_replaced() {
        let logins = Logins::new(Some(Secret("token".into())), Vec::new(), Duration::ZERO);
        let url = address("https://u:p@h/a");
        let known = logins.known(&url).unwrap();
        assert_eq!((known.user.as_str(), known.source), ("u", LoginSource::Url));
        assert_eq!(logins.ask(&url, "https://h/a", Some(&known), far()).unwrap(), None);
    }

    #[test]
    fn a_token_waits_until_it_is_asked_for() {
        let logins = Logins::new(Some(Secret("token".into())), Vec::new(), Duration::ZERO);
        let (here, there) = (address("https://h/a"), address("https://other/a"));
        assert_eq!(logins.known(&here), None);
        let asked = logins.ask(&here, "https://h/a", None, far()).unwrap().unwrap();
        assert_eq!((asked.user.as_str(), asked.source), (TOKEN_USER, LoginSource::Token));
        // From now on this server gets the login unasked, others still do not.
        assert_eq!(logins.known(&here), Some(asked.clone()));
        assert_eq!(logins.known(&there), None);
        assert_eq!(logins.known(&address("https://h:8443/a")), None);
        assert_eq!(logins.known(&address("http://h/a")), None);
        assert_eq!(logins.ask(&here, "https://h/a", Some(&asked), far()).unwrap(), None);
        let heard = logins.ask(&address("http://h/a"), "http://h/a", None, far()).unwrap();
        assert_eq!(heard, None, "not where others can listen");
        assert!(
            logins
                .ask(&address("http://127.0.0.1:80/a"), "http://127.0.0.1:80/a", None, far())
                .unwrap()
                .is_some()
        );
        let named = logins.ask(&address("https://deploy@h/a"), "https://h/a", None, far()).unwrap().unwrap();
        assert_eq!(named.user, "deploy");
    }

    #[test]
    fn a_credential_is_for_its_urls_and_comes_before_the_token() {
        let dir = tempfile::tempdir().unwrap();
        let (token, login) = (dir.path().join("token"), dir.path().join("login"));
        std::fs::write(&token, "team\n").unwrap();
        std::fs::write(&login, "deploy:sesame\n").unwrap();
        let credentials = vec![
            Credential { token_file: Some(token.clone()), ..Credential::new("https://h/team").unwrap() },
            Credential { login_file: Some(login), ..Credential::new("https://h/other").unwrap() },
        ];
        let logins = Logins::new(Some(Secret("token".into())), credentials, Duration::ZERO);
        let ask = |url: &str| logins.ask(&address(url), url, None, far());
        let found = |url: &str| {
            let login = ask(url).unwrap().unwrap();
            (login.user, login.password.0, login.source)
        };
        assert_eq!(found("https://h/team/a"), (TOKEN_USER.into(), "team".into(), LoginSource::Credential));
        assert_eq!(found("https://h/other/a"), ("deploy".into(), "sesame".into(), LoginSource::Credential));
        assert_eq!(found("https://h/a"), (TOKEN_USER.into(), "token".into(), LoginSource::Token));
        assert_eq!(found("https://me@h/team/a").0, "me");
        std::fs::remove_file(&token).unwrap();
        assert!(ask("https://h/team/a").unwrap().is_some(), "known already");
        let error = ask("https://you@h/team/a").unwrap_err();
        assert!(matches!(&error, TransportError::Credential { path, .. } if *path == token), "{error}");
    }
}
