//! The table `[[credential]]` as written, and how it is resolved.

use std::path::PathBuf;

use presence_git::Credential;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct CredentialTable {
    url: String,
    ssh_key: Option<PathBuf>,
    known_hosts: Option<PathBuf>,
    token_file: Option<PathBuf>,
    login_file: Option<PathBuf>,
}

impl CredentialTable {
    /// The resolved table, or what is wrong with it.
    pub(in crate::config) fn resolve(self) -> Result<Credential, String> {
        // The message has no part of the URL, which may contain a password.
        let mut credential = Credential::new(self.url.trim()).map_err(|error| format!("`url`: {error}"))?;
        let files = [
            ("ssh-key", &self.ssh_key),
            ("known-hosts", &self.known_hosts),
            ("token-file", &self.token_file),
            ("login-file", &self.login_file),
        ];
        for (key, path) in files {
            let Some(path) = path else { continue };
            let shown = crate::sanitize::shown(&path.to_string_lossy());
            if !path.is_absolute() {
                return Err(format!("`{key}` is not an absolute path: `{shown}`"));
            }
            // ssh gets the path as a quoted value of its configuration.
            if path
                .to_str()
                .is_none_or(|path| path.contains(|letter: char| letter == '"' || letter.is_control()))
            {
                return Err(format!("`{key}` contains a quote or a control character: `{shown}`"));
            }
        }
        let (for_ssh, for_http) = (
            self.ssh_key.is_some() || self.known_hosts.is_some(),
            self.token_file.is_some() || self.login_file.is_some(),
        );
        if !for_ssh && !for_http {
            return Err("`ssh-key`, `known-hosts`, `token-file` or `login-file` is required".into());
        }
        if for_ssh && !credential.is_ssh() {
            return Err("`ssh-key` and `known-hosts` are for ssh URLs".into());
        }
        if for_http && !credential.is_http() {
            return Err("`token-file` and `login-file` are for http and https URLs".into());
        }
        if self.token_file.is_some() && self.login_file.is_some() {
            return Err("either `token-file` or `login-file` can be used, not both".into());
        }
        credential.ssh_key = self.ssh_key;
        credential.known_hosts = self.known_hosts;
        credential.token_file = self.token_file;
        credential.login_file = self.login_file;
        Ok(credential)
    }
}
