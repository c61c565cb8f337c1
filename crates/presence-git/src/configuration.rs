//! git's configuration of user and system, for everything that does not belong to a repository.

use std::env;
use std::path::{Path, PathBuf};

use git2::{Config, ConfigLevel, Error, ErrorCode};

/// Reads the configuration from git's places. Respects `GIT_CONFIG_NOSYSTEM`, `GIT_CONFIG_SYSTEM` and
/// `GIT_CONFIG_GLOBAL` (git(1)), which libgit2 does not know.
pub fn configuration() -> Result<Config, Error> {
    let said = |name| env::var_os(name).map(PathBuf::from);
    let mut config = Config::new()?;
    let system = match said("GIT_CONFIG_NOSYSTEM") {
        Some(value) if Config::parse_bool(value.to_string_lossy().as_ref()).unwrap_or(true) => None,
        _ => said("GIT_CONFIG_SYSTEM").or_else(|| Config::find_system().ok()),
    };
    let global = said("GIT_CONFIG_GLOBAL");
    let xdg = match global {
        Some(_) => None,
        None => Config::find_xdg().ok(),
    };
    let global = global.or_else(|| Config::find_global().ok());
    for (path, level) in
        [(system, ConfigLevel::System), (xdg, ConfigLevel::XDG), (global, ConfigLevel::Global)]
    {
        let Some(path) = path.filter(|path| !path.as_os_str().is_empty() && path != Path::new("/dev/null"))
        else {
            continue;
        };
        match config.add_file(&path, level, false) {
            Err(error) if error.code() != ErrorCode::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(config)
}

/// The value of an http key for that URL: `http.<url>.<key>` with the best matching URL, else `http.<key>`
/// (git-config(1), `http.<url>.*`). The key is in lower case.
#[cfg(feature = "https")]
pub(crate) fn of_http(config: &Config, key: &str, url: &str) -> Result<Option<String>, Error> {
    let mut best: Option<(usize, String)> = None;
    let mut entries = config.entries(Some(&format!("^http\\..*{key}$")))?;
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let Ok(name) = entry.name() else { continue };
        let Some(middle) = name.strip_prefix("http.").and_then(|name| name.strip_suffix(key)) else {
            continue;
        };
        let length = match middle.strip_suffix('.') {
            None if middle.is_empty() => 0,
            None => continue,
            Some(prefix) if covers(prefix, url) => prefix.trim_end_matches('/').len(),
            Some(_) => continue,
        };
        // Of equal matches the last applies, as everywhere in git's configuration.
        if best.as_ref().is_none_or(|(known, _)| length >= *known) {
            best = Some((length, entry.value().unwrap_or_default().to_owned()));
        }
    }
    Ok(best.map(|(_, value)| value))
}

/// Whether the URL equals the configured one or is below it. Ignores a login in either.
#[cfg(feature = "https")]
fn covers(prefix: &str, url: &str) -> bool {
    let parts = |url: &str| {
        let (scheme, rest) = url.split_once("://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = authority.rsplit('@').next()?.to_ascii_lowercase();
        let default = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
        let host = host.strip_suffix(default).unwrap_or(&host).to_owned();
        Some((scheme.to_ascii_lowercase(), host, path.trim_end_matches('/').to_owned()))
    };
    let (Some((scheme, host, path)), Some(of)) = (parts(prefix), parts(url)) else { return false };
    let hosts = match host.strip_prefix("*.") {
        // A star stands for one label of the host name.
        Some(domain) => of.1.split_once('.').is_some_and(|(_, rest)| rest == domain),
        None => of.1 == host,
    };
    let below = of.2.strip_prefix(&path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    scheme == of.0 && hosts && below
}

#[cfg(all(test, feature = "https"))]
mod tests {
    use super::*;

    #[test]
    fn the_url_that_matches_best_counts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "[http]\n\tproxy = all\n[http \"https://h.example/team\"]\n\tproxy = team\n\
                    [http \"https://h.example\"]\n\tproxy = host\n[http \"https://*.wild.example\"]\n\tproxy = wild\n\
                    [http \"http://h.example:8080/\"]\n\tproxy = port\n\tproxyAuthMethod = basic\n";
        std::fs::write(file.path(), text).unwrap();
        let config = Config::open(file.path()).unwrap();
        for (url, expect) in [
            ("https://h.example/team/list.git", "team"),
            ("https://h.example/teams/list.git", "host"),
            ("https://H.example:443/list.git", "host"),
            ("https://a.wild.example/x", "wild"),
            ("https://a.b.wild.example/x", "all"),
            ("http://h.example/team/x", "all"),
            ("http://h.example:8080/x", "port"),
        ] {
            assert_eq!(of_http(&config, "proxy", url).unwrap().as_deref(), Some(expect), "{url}");
        }
        assert_eq!(of_http(&config, "sslcainfo", "https://h.example/").unwrap(), None);
    }
}
