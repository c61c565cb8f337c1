//! Builds the command line of ssh.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use nix::unistd::{Uid, User};
use tempfile::NamedTempFile;

use super::Settings;
use crate::address::Address;
use crate::configuration::configuration;
use crate::connection::Service;
use crate::{Credential, Timeouts, TransportError};

/// ssh's default keys, in its order of preference.
const KEYS: [&str; 5] = ["id_ed25519", "id_ed25519_sk", "id_ecdsa", "id_ecdsa_sk", "id_rsa"];

/// The words of the command that starts `service` on the server.
pub(super) fn words(
    address: &Address,
    service: Service,
    timeouts: &Timeouts,
    settings: &Settings,
    config: Option<&Path>,
    credential: Option<&Credential>,
) -> Result<Vec<OsString>, TransportError> {
    let mut words = program(settings)?;
    if !settings.simple {
        let own_config = words.iter().any(|word| word.as_encoded_bytes().starts_with(b"-F"));
        if let Some(config) = config.filter(|_| !own_config) {
            words.extend(["-F".into(), config.into()]);
        }
        for option in options(timeouts).into_iter().chain(credential.into_iter().flat_map(own_files)) {
            words.extend(["-o".into(), option.into()]);
        }
        if let Some(port) = address.port {
            words.extend(["-p".into(), port.to_string().into()]);
        }
    }
    words.push(match &address.user {
        Some(user) => format!("{user}@{}", address.host).into(),
        None => address.host.clone().into(),
    });
    words.push(format!("{} {}", service.program(), quoted(&address.path)).into());
    Ok(words)
}

/// The ssh command in git's order of precedence: the variable with a command line, the configuration, the
/// variable with a program.
fn program(settings: &Settings) -> Result<Vec<OsString>, TransportError> {
    let configured = || match configuration().and_then(|config| config.get_string("core.sshCommand")) {
        Ok(line) => Ok(Some(line)),
        Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
        Err(error) => {
            let source = std::io::Error::other(error.message().to_owned());
            Err(TransportError::Program { program: "core.sshCommand".to_owned(), source })
        }
    };
    let command = match &settings.command {
        Some(line) => Some(line.clone()),
        None => configured()?,
    };
    let Some(line) = command else {
        return Ok(vec![settings.program.clone().unwrap_or_else(|| "ssh".into())]);
    };
    let words = shell_words::split(&line).unwrap_or_default();
    if words.is_empty() {
        let source = std::io::Error::other("it is not a command: it is empty, or a quote is not closed");
        return Err(TransportError::Program { program: line, source });
    }
    Ok(words.into_iter().map(OsString::from).collect())
}

/// Options against questions to a user, and against endless waits. The rest is the user's own configuration.
fn options(timeouts: &Timeouts) -> [String; 4] {
    let seconds = |limit: Duration| limit.as_secs().max(1);
    [
        "BatchMode=yes".into(),
        format!("ConnectTimeout={}", seconds(timeouts.connect)),
        // Three unanswered messages end the connection, at about the same time as the limit for silence.
        format!("ServerAliveInterval={}", seconds(timeouts.silence / 3)),
        "ServerAliveCountMax=3".into(),
    ]
}

/// Options that make ssh use a credential, and nothing else of its kind. ssh takes the first value it finds, and
/// the command line comes before its configuration.
fn own_files(credential: &Credential) -> Vec<String> {
    let key = credential.ssh_key.iter().flat_map(|key| {
        [format!("IdentityFile={}", in_config(key)), "IdentitiesOnly=yes".into(), "IdentityAgent=none".into()]
    });
    let hosts = credential.known_hosts.iter().flat_map(|hosts| {
        [
            format!("UserKnownHostsFile={}", in_config(hosts)),
            "GlobalKnownHostsFile=none".into(),
            "StrictHostKeyChecking=yes".into(),
        ]
    });
    key.chain(hosts).collect()
}

/// A path as a value of ssh's configuration, which expands `%` (ssh_config(5)).
fn in_config(path: &Path) -> String {
    format!("\"{}\"", path.to_string_lossy().replace('%', "%%"))
}

/// One word for the server's shell, quoted as git does: some servers have no shell and understand only this.
fn quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', r"'\''").replace('!', r"'\!'"))
}

/// A configuration that makes ssh use `$HOME`. ssh takes the home directory from the password database, so a
/// service with its own home, or a test, would use somebody else's keys.
///
/// `None` if both directories are the same, or if `$HOME` has no `.ssh`.
pub(super) fn home_config(home: Option<&Path>) -> Option<NamedTempFile> {
    let home = home?;
    let passwd = User::from_uid(Uid::current()).ok()??.dir;
    if home == passwd || !home.join(".ssh").is_dir() {
        return None;
    }
    let text = config_of(home)?;
    let mut file = tempfile::Builder::new().prefix("presence-ssh-").tempfile().ok()?;
    file.write_all(text.as_bytes()).ok()?;
    Some(file)
}

/// The text of that configuration. ssh uses the first value it finds: the user's, then these, then the
/// system's. `None` for a path that cannot be quoted in it.
fn config_of(home: &Path) -> Option<String> {
    let ssh = home.join(".ssh");
    let plain =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@ ".contains(&byte));
    let dir = ssh.to_str().filter(|text| plain(text))?;
    let mut text = format!(
        "Include \"{dir}/config\"\nUserKnownHostsFile \"{dir}/known_hosts\" \"{dir}/known_hosts2\"\n"
    );
    for key in KEYS.iter().filter(|key| ssh.join(OsStr::new(key)).exists()) {
        text.push_str(&format!("IdentityFile \"{dir}/{key}\"\n"));
    }
    text.push_str("Include /etc/ssh/ssh_config\n");
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(url: &str, settings: &Settings) -> String {
        let address = Address::parse(url).unwrap();
        let timeouts = Timeouts { connect: Duration::from_secs(10), silence: Duration::from_secs(30) };
        let words = words(&address, Service::UploadPack, &timeouts, settings, None, None).unwrap();
        words.join(OsStr::new("|")).into_string().unwrap()
    }

    const OPTIONS: &str =
        "-o|BatchMode=yes|-o|ConnectTimeout=10|-o|ServerAliveInterval=10|-o|ServerAliveCountMax=3";

    #[test]
    fn the_command_is_the_one_of_git() {
        let settings = Settings { program: Some("ssh".into()), ..Settings::default() };
        let check = |url: &str, rest: &str| assert_eq!(line(url, &settings), format!("ssh|{OPTIONS}|{rest}"));
        check("ssh://git@h:2222/srv/a.git", "-p|2222|git@h|git-upload-pack '/srv/a.git'");
        check("h:it's!.git", r"h|git-upload-pack 'it'\''s'\!'.git'");
        check("ssh://[::1]/~git/a", "::1|git-upload-pack '~git/a'");
    }

    #[test]
    fn the_user_names_the_program() {
        let command = |command: &str| Settings { command: Some(command.into()), ..Settings::default() };
        assert!(line("h:p", &command("ssh -i '/a b/key'")).starts_with("ssh|-i|/a b/key|-o|"));
        let program = Settings { program: Some("/opt/my ssh".into()), simple: true, ..Settings::default() };
        assert_eq!(line("ssh://h:22/p", &program), "/opt/my ssh|h|git-upload-pack '/p'");
        let address = Address::parse("h:p").unwrap();
        for bad in ["'", " "] {
            assert!(
                words(&address, Service::UploadPack, &Timeouts::default(), &command(bad), None, None)
                    .is_err()
            );
        }
    }

    #[test]
    fn a_credential_replaces_keys_and_hosts_of_the_user() {
        let credential = Credential {
            ssh_key: Some("/etc/presence/a b%".into()),
            known_hosts: Some("/etc/presence/hosts".into()),
            ..Credential::new("ssh://h").unwrap()
        };
        let expected = [
            "IdentityFile=\"/etc/presence/a b%%\"",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "UserKnownHostsFile=\"/etc/presence/hosts\"",
            "GlobalKnownHostsFile=none",
            "StrictHostKeyChecking=yes",
        ];
        assert_eq!(own_files(&credential), expected);
        assert_eq!(own_files(&Credential::new("ssh://h").unwrap()), [""; 0]);
    }

    #[test]
    fn the_home_of_the_environment_counts() {
        assert!(home_config(None).is_none());
        let home = tempfile::tempdir().unwrap();
        assert!(home_config(Some(home.path())).is_none());
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        std::fs::write(home.path().join(".ssh/id_rsa"), "").unwrap();
        let config = std::fs::read_to_string(home_config(Some(home.path())).unwrap()).unwrap();
        let dir = home.path().join(".ssh").display().to_string();
        assert!(config.contains(&format!("IdentityFile \"{dir}/id_rsa\"\n")), "{config}");
        assert!(!config.contains("id_ed25519"), "{config}");
        assert_eq!(config_of(Path::new("/home/\"\nProxyCommand x")), None);
    }
}
