//! Settings of the connection: certificates, and the user.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use super::error::EtcdError;
use crate::folder;

/// The largest file of certificates, a key or a password, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The certificates of the authorities; `None` means the system's.
    pub ca: Option<PathBuf>,
    /// The certificate of this client.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// The user; without one there is no login.
    pub user: Option<String>,
    /// The file with the user's password.
    pub password_file: Option<PathBuf>,
    /// The password, from the environment.
    pub password: Option<Secret>,
}

impl Settings {
    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password. A file is read at each login, so that it may change.
    pub(super) fn password(&self) -> Result<Cow<'_, str>, EtcdError> {
        match (&self.password, &self.password_file) {
            (Some(Secret(password)), _) => Ok(password.into()),
            (None, Some(path)) => {
                let unusable = |reason: &str| unusable("the password", path, reason);
                let text = String::from_utf8(read("the password", path)?);
                let text = text.map_err(|_| unusable("it is not UTF-8 text"))?;
                match text.trim_end_matches(['\r', '\n']) {
                    "" => Err(unusable("it is empty")),
                    password => Ok(password.to_owned().into()),
                }
            }
            (None, None) => Err(EtcdError::Settings("there is a user and no password")),
        }
    }

    /// How connections are encrypted.
    pub(super) fn tls(&self, secure: bool) -> Result<TlsConfig, EtcdError> {
        let builder = TlsConfig::builder();
        if !secure {
            return Ok(builder.build());
        }
        let roots = match &self.ca {
            None => RootCerts::PlatformVerifier,
            Some(path) => RootCerts::Specific(Arc::new(certificates("the authorities", path)?)),
        };
        let own = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let chain = certificates("the client's certificate", certificate)?;
                Some(ClientCert::new_with_certs(&chain, private_key(key)?))
            }
            (None, None) => None,
            _ => return Err(EtcdError::Settings("`certificate` and `key` belong together")),
        };
        Ok(builder.root_certs(roots).client_cert(own).build())
    }
}

fn unusable(what: &'static str, path: &Path, reason: &str) -> EtcdError {
    EtcdError::File { what, path: path.to_owned(), reason: reason.to_owned() }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, EtcdError> {
    let file = std::fs::File::open(path).and_then(|file| folder::read_within(file, MAX_BYTES));
    file.map_err(|error| unusable(what, path, &error.to_string()))
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<Certificate<'static>>, EtcdError> {
    let pem = read(what, path)?;
    let of_item = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    let found: Vec<_> = parse_pem(&pem).filter_map(of_item).collect();
    match found.is_empty() {
        true => Err(unusable(what, path, "it contains no certificate")),
        false => Ok(found),
    }
}

fn private_key(path: &Path) -> Result<PrivateKey<'static>, EtcdError> {
    let what = "the client's key";
    let pem = read(what, path)?;
    let of_item = |item| match item {
        Ok(PemItem::PrivateKey(key)) => Some(key),
        _ => None,
    };
    parse_pem(&pem).find_map(of_item).ok_or_else(|| unusable(what, path, "it contains no private key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_read_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "se cret\n").unwrap();
        let of_file = Settings { password_file: Some(path.clone()), ..Settings::default() };
        assert_eq!(of_file.password().unwrap(), "se cret");
        let given = Settings { password: Some(Secret("other".into())), ..of_file.clone() };
        assert_eq!(given.password().unwrap(), "other");
        assert!(!format!("{given:?}").contains("other"));
        std::fs::write(&path, "\n").unwrap();
        assert!(of_file.password().unwrap_err().to_string().contains("it is empty"));
        assert!(Settings::default().password().is_err());
    }

    #[test]
    fn files_that_are_no_certificates_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pem");
        std::fs::write(&path, "nothing").unwrap();
        let ca = Settings { ca: Some(path.clone()), ..Settings::default() };
        assert!(ca.tls(false).is_ok());
        let error = ca.tls(true).unwrap_err().to_string();
        assert!(error.contains("x.pem`, the authorities of `[etcd]`: it contains no certificate"), "{error}");
        let half = Settings { key: Some(path), ..Settings::default() };
        assert!(half.tls(true).unwrap_err().to_string().contains("belong together"));
    }
}
