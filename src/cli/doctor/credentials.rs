//! The files of keys and logins.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::findings::Findings;
use crate::config::Config;
use crate::errors::pasted;

/// Read by others, a key or login is no secret. Written by others, a host key proves nothing.
const READ_BY_ANYBODY_ELSE: u32 = 0o077;
const READ_BY_OTHERS: u32 = 0o007;
const WRITTEN_BY_ANYBODY_ELSE: u32 = 0o022;

pub(super) fn files(config: &Config, findings: &mut Findings) {
    for credential in &config.credentials {
        let files = [
            (
                "ssh-key",
                &credential.ssh_key,
                READ_BY_ANYBODY_ELSE,
                "ssh refuses a key that others may read",
                "600",
            ),
            ("known-hosts", &credential.known_hosts, WRITTEN_BY_ANYBODY_ELSE, "others may write it", "644"),
            ("token-file", &credential.token_file, READ_BY_OTHERS, "others may read it", "600"),
            ("login-file", &credential.login_file, READ_BY_OTHERS, "others may read it", "600"),
        ];
        for (key, path, too_wide, problem, mode) in files {
            if let Some(path) = path {
                file(key, path, (too_wide, problem, mode), findings);
            }
        }
    }
}

fn file(key: &str, path: &Path, (too_wide, problem, mode): (u32, &str, &str), findings: &mut Findings) {
    let text = format!("`{key}` `{}`", path.display());
    let found = File::open(path).and_then(|file| file.metadata());
    match found {
        Err(error) => findings.bad(
            "credential",
            format!("{text}: {error}"),
            "correct `[[credential]]` in presence.toml, or create the file".to_owned(),
        ),
        Ok(found) if !found.is_file() => {
            findings.bad("credential", format!("{text} is not a file"), None::<String>);
        }
        Ok(found) if found.mode() & too_wide != 0 => findings.bad(
            "credential",
            format!("{text} has mode {:04o}: {problem}", found.mode() & 0o7777),
            format!("run `chmod {mode} {}`", pasted(path)),
        ),
        Ok(_) => findings.good("credential", text),
    }
}
