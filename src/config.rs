//! The configuration: flags over environment over file over defaults, merged only here.

mod tables;
mod values;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use toml::Spanned;

use crate::endpoint::{Allowed, NetworkError};
use crate::errors::{AtPath, PathError, pasted};
use crate::facts::Nodeinfo;
use crate::folder;
use crate::limits;
use crate::output::limits::{DEFAULT_MAX_SHRINK, Limits};
use crate::roster::{Availability, States};
use crate::same_file::is_same_file;
use crate::store::{Folder, FolderError, Layout, LayoutError, embedded_url, without_urls_secrets};

pub use tables::{Agent, Check, Health, Notify, OnStop, PageFile, Render};
pub use values::{age, mode};

/// The configuration file, unless `--config` names another one. It may be missing.
pub const DEFAULT_FILE: &str = "/etc/presence/presence.toml";

/// The directory of an administrator's templates.
pub const TEMPLATE_DIR: &str = "/etc/presence/templates";

/// The folders of facts: the first that exists is used, otherwise the last.
const NODEINFO: [&str; 2] = ["/root/nodeinfo", "/etc/presence/nodeinfo"];

const FOLDER: &str = "it/presence/all";

/// The variable that can switch off the fast path of the template engine, to find out whether an error is in it.
pub const FAST_PATH: &str = "PRESENCE_FAST_PATH";

/// Enough for ten thousand nodes with one heartbeat a minute each.
const BEAT_SHARDS: u16 = 64;

/// The values from the command line and the environment; clap has already merged these two.
#[derive(Debug, Clone, Default)]
pub struct RawOptions {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--nodeinfo`.
    pub nodeinfo: Option<PathBuf>,
    /// Each `--store`.
    pub stores: Vec<String>,
    /// `--folder`.
    pub folder: Option<String>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// Each network of `--addresses`.
    pub addresses: Vec<String>,
    /// The variable [`FAST_PATH`].
    pub fast_path: Option<String>,
}

/// The configuration of this run.
#[derive(Debug, Clone)]
pub struct Config {
    /// The configuration file.
    pub file: PathBuf,
    /// Whether that file exists.
    pub file_found: bool,
    /// The folder of facts.
    pub nodeinfo: Nodeinfo,
    /// The stores, the most trusted first. Never empty.
    pub stores: Vec<String>,
    /// The folder of the records inside each store.
    pub folder: Folder,
    /// The path of a record in that folder.
    pub layout: Layout,
    /// The directory of copies, mirrors and memories.
    pub state_dir: PathBuf,
    /// The branch of git stores; `None` means the one that HEAD names.
    pub branch: Option<String>,
    /// Whether that branch may be created beside others: an option of `publish`, not of the file.
    pub create_branch: bool,
    /// The addresses that records may state.
    pub addresses: Allowed,
    /// The directories of templates, in order, before the built-in ones.
    pub template_dirs: Vec<PathBuf>,
    /// Variables for templates.
    pub vars: Map<String, Value>,
    /// Whether templates may be rendered by the fast path.
    pub fast_path: bool,
    /// The meanings of states.
    pub states: States,
    /// The safety limits.
    pub limits: Limits,
    /// Keys and logins of stores.
    pub credentials: Vec<presence_git::Credential>,
    /// The limits of what is read from stores.
    pub store_limits: limits::Limits,
    /// Time limits of the network.
    pub network: presence_git::Timeouts,
    /// The time limit of a change of the stores.
    pub publishing: Duration,
    /// The time limit of looking at the stores and reading them.
    pub reading: Duration,
    /// The time limit of looking back: fetching the history, and going along it.
    pub looking_back: Duration,
    /// How long a store behind a network need not be asked again about an unchanged record.
    pub recheck: Duration,
    /// The stores for heartbeats; if empty, those of the list.
    pub beat_stores: Vec<String>,
    /// The number of refs in a git store over which heartbeats are spread.
    pub beat_shards: u16,
    /// The time limit of a check or reload command.
    pub command_limit: Duration,
    /// `verbose`: the level of additional messages.
    pub verbose: u8,
    /// `quiet`: print only errors.
    pub quiet: bool,
    /// `color`: auto, always or never.
    pub color: Option<String>,
    /// The files to keep up to date.
    pub renders: Vec<Render>,
    /// The pages of the fleet to keep up to date.
    pub pages: Vec<PageFile>,
    /// The settings of the agent.
    pub agent: Agent,
    /// The checks of this node's own service.
    pub healths: Vec<Health>,
    /// The receivers of notifications.
    pub notifies: Vec<Notify>,
    /// Certificates and the user for stores in etcd.
    #[cfg(feature = "etcd")]
    pub etcd: crate::store::etcd::Settings,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The file was named and does not exist.
    #[error("there is no configuration `{}`", .0.display())]
    Missing(PathBuf),
    /// The file is not valid.
    #[error("`{}`: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line and column, and what is wrong there.
        reason: String,
    },
    /// `folder` is not a folder inside a store.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// `layout` is invalid.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// `addresses` has an entry that is not a network.
    #[error("`addresses`: {0}")]
    Addresses(#[from] NetworkError),
    /// The variable [`FAST_PATH`] has an unknown value.
    #[error("`{FAST_PATH}` is `{}`; use `on` or `off`", crate::sanitize::excerpt(.0))]
    FastPath(String),
    /// There is no home directory from which to derive the state directory.
    #[error("no state directory: neither XDG_STATE_HOME nor HOME is set")]
    NoStateDir,
}

impl ConfigError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            ConfigError::Io(error) => error.hint(),
            ConfigError::Missing(path) => {
                Some(format!("create one with `presence init --config {}`", pasted(path)))
            }
            ConfigError::Syntax { .. } => Some("`presence init` writes a file that shows every key".into()),
            ConfigError::Folder(_) => Some(format!("the default is `{FOLDER}`")),
            ConfigError::Layout(_) => {
                Some("for example layout = '{deployment}/{nodepart}/{instance-id}.json'".into())
            }
            ConfigError::Addresses(_) => {
                Some("without `addresses`, records may state all but special addresses".into())
            }
            ConfigError::FastPath(_) => Some(format!("without `{FAST_PATH}` the fast path is on")),
            ConfigError::NoStateDir => Some("name one with --state-dir or PRESENCE_STATE_DIR".into()),
        }
    }
}

/// The configuration file, before defaults are applied.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct ConfigFile {
    nodeinfo: Option<PathBuf>,
    store: OneOrMany,
    folder: Option<String>,
    layout: OneOrMany,
    beat_store: OneOrMany,
    beat_shards: Option<u16>,
    state_dir: Option<PathBuf>,
    branch: Option<String>,
    addresses: OneOrMany,
    template_dir: OneOrMany,
    verbose: u8,
    quiet: bool,
    color: Option<String>,
    vars: Map<String, Value>,
    states: BTreeMap<String, Availability>,
    limits: FileLimits,
    store_limits: limits::Limits,
    timeouts: Timeouts,
    render: Vec<Spanned<tables::RenderTable>>,
    page: Vec<Spanned<tables::PageTable>>,
    agent: tables::AgentTable,
    health: Vec<Spanned<tables::HealthTable>>,
    notify: Vec<Spanned<tables::NotifyTable>>,
    credential: Vec<Spanned<tables::CredentialTable>>,
    etcd: tables::EtcdTable,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> OneOrMany {
        OneOrMany::Many(Vec::new())
    }
}

impl From<OneOrMany> for Vec<String> {
    fn from(said: OneOrMany) -> Vec<String> {
        match said {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct FileLimits {
    min_nodes: Option<u64>,
    max_shrink: Option<u8>,
}

/// In seconds.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Timeouts {
    connect: u64,
    silence: u64,
    publish: u64,
    read: u64,
    history: u64,
    recheck: u64,
    command: u64,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        let network = presence_git::Timeouts::default();
        Timeouts {
            connect: network.connect.as_secs(),
            silence: network.silence.as_secs(),
            publish: 60,
            read: 30,
            history: 600,
            recheck: 60,
            command: 60,
        }
    }
}

impl Config {
    /// The command that accepts the list for a file, with the configuration of this run.
    pub fn to_accept(&self, file: &Path) -> String {
        let config = std::path::absolute(&self.file).unwrap_or_else(|_| self.file.clone());
        let config = match config == Path::new(DEFAULT_FILE) {
            true => String::new(),
            false => format!(" --config {}", pasted(&config)),
        };
        format!("presence accept {}{config}", pasted(file))
    }

    /// Reads the file, and overrides it with the given values.
    pub fn load(given: &RawOptions) -> Result<Config, ConfigError> {
        let path = given.config.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        let (file, text) = read(&path, given.config.is_some())?;
        let nodeinfo = given.nodeinfo.clone().or(file.nodeinfo);
        let state_dir = match given.state_dir.clone().or(file.state_dir) {
            Some(dir) => dir,
            None => default_state_dir().ok_or(ConfigError::NoStateDir)?,
        };
        // Relative paths would become keys of memories and copies, which must not depend on the current
        // directory.
        let state_dir = std::path::absolute(&state_dir).at("find", &state_dir)?;
        let mut stores: Vec<String> = match given.stores.is_empty() {
            true => file.store.into(),
            false => given.stores.clone(),
        };
        // A URL with a blank before it would be taken for a path, and shown with its password.
        stores.iter_mut().for_each(|url| *url = url.trim().to_owned());
        if stores.is_empty() {
            stores.push(embedded_url(&state_dir));
        }
        let addresses: Vec<String> = match given.addresses.is_empty() {
            true => file.addresses.into(),
            false => given.addresses.clone(),
        };
        let template_dir: Vec<String> = file.template_dir.into();
        let limits = Limits {
            min_nodes: file.limits.min_nodes,
            max_shrink: file.limits.max_shrink.unwrap_or(DEFAULT_MAX_SHRINK),
        };
        if let Some(name) = file.store_limits.zero() {
            let reason = format!("[store-limits]: `{name}` must be at least 1");
            return Err(ConfigError::Syntax { path, reason });
        }
        let command_limit = Duration::from_secs(file.timeouts.command.max(1));
        let place = ErrorContext { path: &path, text: text.as_deref().unwrap_or_default() };
        let renders = place.each("render", file.render, |table| table.resolve(limits, command_limit))?;
        let pages = place.each("page", file.page, |table| table.resolve(command_limit))?;
        if let Some((one, other)) = twice(&renders, &pages) {
            let tables = if pages.is_empty() { "[[render]] tables" } else { "tables" };
            let reason = match one == other {
                true => format!("two {tables} write `{}`", one.display()),
                false => format!("two {tables} write one file: `{}` is `{}`", other.display(), one.display()),
            };
            return Err(ConfigError::Syntax { path, reason });
        }
        Ok(Config {
            agent: file.agent.resolve(),
            #[cfg(feature = "etcd")]
            etcd: file.etcd.resolve(|name| env::var(name).ok().filter(|said| !said.is_empty())),
            healths: place.each("health", file.health, tables::HealthTable::resolve)?,
            notifies: place.each("notify", file.notify, tables::NotifyTable::resolve)?,
            credentials: place.each("credential", file.credential, tables::CredentialTable::resolve)?,
            renders,
            pages,
            file_found: text.is_some(),
            nodeinfo: Nodeinfo {
                is_named: nodeinfo.is_some(),
                dir: nodeinfo.unwrap_or_else(default_nodeinfo),
            },
            stores,
            folder: Folder::parse(given.folder.as_deref().or(file.folder.as_deref()).unwrap_or(FOLDER))?,
            layout: Layout::parse(&Vec::from(file.layout))?,
            state_dir,
            branch: file.branch,
            create_branch: false,
            addresses: Allowed::of(&addresses)?,
            template_dirs: template_dir.into_iter().map(PathBuf::from).chain([TEMPLATE_DIR.into()]).collect(),
            vars: file.vars,
            fast_path: match given.fast_path.as_deref() {
                None | Some("" | "on") => true,
                Some("off") => false,
                Some(other) => return Err(ConfigError::FastPath(other.to_owned())),
            },
            states: States::default().extended(file.states),
            limits,
            store_limits: file.store_limits,
            network: presence_git::Timeouts {
                connect: Duration::from_secs(file.timeouts.connect.max(1)),
                silence: Duration::from_secs(file.timeouts.silence.max(1)),
            },
            publishing: Duration::from_secs(file.timeouts.publish.max(1)),
            reading: Duration::from_secs(file.timeouts.read.max(1)),
            looking_back: Duration::from_secs(file.timeouts.history.max(1)),
            recheck: Duration::from_secs(file.timeouts.recheck),
            beat_stores: file.beat_store.into(),
            beat_shards: file.beat_shards.unwrap_or(BEAT_SHARDS).clamp(1, 4096),
            command_limit,
            verbose: file.verbose,
            quiet: file.quiet,
            color: file.color,
            file: path,
        })
    }
}

impl Config {
    /// Whether a file depends on when nodes were last seen.
    pub fn wants_beats(&self) -> bool {
        self.renders.iter().any(|render| render.max_age.is_some())
    }
}

/// The paths of two tables that would overwrite the same file again and again.
fn twice<'a>(renders: &'a [Render], pages: &'a [PageFile]) -> Option<(&'a Path, &'a Path)> {
    let paths = || {
        let pages = pages.iter().map(|page| page.target.path.as_path());
        renders.iter().map(|render| render.target.path.as_path()).chain(pages)
    };
    paths().enumerate().find_map(|(index, path)| {
        let mut others = paths().take(index);
        others.find(|other| is_same_file(other, path)).map(|other| (other, path))
    })
}

/// The file in which errors are reported.
struct ErrorContext<'a> {
    path: &'a Path,
    text: &'a str,
}

impl ErrorContext<'_> {
    /// The resolved tables, or the first error with the line of its table.
    fn each<T, U>(
        &self,
        name: &str,
        tables: Vec<Spanned<T>>,
        resolve: impl Fn(T) -> Result<U, String>,
    ) -> Result<Vec<U>, ConfigError> {
        let one = |table: Spanned<T>| {
            let start = table.span().start;
            resolve(table.into_inner()).map_err(|reason| {
                let line = self.text.get(..start).unwrap_or_default().matches('\n').count() + 1;
                ConfigError::Syntax {
                    path: self.path.to_owned(),
                    reason: format!("[[{name}]] at line {line}: {reason}"),
                }
            })
        };
        tables.into_iter().map(one).collect()
    }
}

/// The largest configuration file, in bytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// The file, and its text if the file exists.
fn read(path: &Path, named: bool) -> Result<(ConfigFile, Option<String>), ConfigError> {
    let text = match fs::File::open(path).and_then(|file| folder::read_within(file, MAX_BYTES)) {
        Ok(bytes) => String::from_utf8(bytes)
            .map_err(|_| std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8 text"))
            .at("read", path)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => {
            return Ok((ConfigFile::default(), None));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ConfigError::Missing(path.to_owned()));
        }
        Err(error) => return Err(error).at("read", path).map_err(Into::into),
    };
    // Editors on Windows write a byte order mark, which is not valid TOML.
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    let file = toml::from_str(&text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        // The message shows the line, which may contain a store's password.
        reason: without_urls_secrets(error.to_string().trim_end()),
    })?;
    Ok((file, Some(text)))
}

/// The folder of facts where none is configured.
pub(crate) fn default_nodeinfo() -> PathBuf {
    let found = NODEINFO.iter().find(|dir| Path::new(dir).is_dir());
    found.unwrap_or(&NODEINFO[NODEINFO.len() - 1]).into()
}

/// `/var/lib/presence` for root; for others the XDG state directory (XDG Base Directory Specification 0.8).
fn default_state_dir() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some("/var/lib/presence".into());
    }
    let xdg = env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    Some(xdg.or_else(home)?.join("presence"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, given: RawOptions) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("presence.toml");
        fs::write(&path, text).unwrap();
        Config::load(&RawOptions { config: Some(path), ..given })
    }

    #[test]
    fn what_is_given_outranks_the_file() {
        let text = "store = '/file'\nfolder = 'a/b'\nstate-dir = '/s'\n[limits]\nmax-shrink = 20\n[states]\nparked = 'down'";
        let config = load(text, RawOptions::default()).unwrap();
        assert_eq!((config.stores, config.folder.as_ref()), (vec!["/file".to_owned()], "a/b"));
        assert_eq!(config.limits.max_shrink, 20);
        assert!(config.states.knows("parked"));
        let given = RawOptions {
            stores: vec!["/a".into(), "/b".into()],
            folder: Some("c".into()),
            ..RawOptions::default()
        };
        let config = load(text, given).unwrap();
        assert_eq!((config.stores.len(), config.folder.as_ref()), (2, "c"));
    }

    #[test]
    fn the_fast_path_is_on_unless_it_is_switched_off() {
        for (value, expect) in [(None, true), (Some(""), true), (Some("on"), true), (Some("off"), false)] {
            let given = RawOptions { fast_path: value.map(str::to_owned), ..RawOptions::default() };
            assert_eq!(load("", given).unwrap().fast_path, expect, "{value:?}");
        }
    }

    #[test]
    fn the_embedded_store_is_the_default() {
        let config = load("state-dir = '/s'", RawOptions::default()).unwrap();
        assert_eq!(config.stores, ["/s/store.git"]);
    }

    #[test]
    fn the_limits_of_stores_are_configured_one_by_one() {
        let config = load("[store-limits]\nupdates-of-node = 7", RawOptions::default()).unwrap();
        assert_eq!(config.store_limits, limits::Limits { updates_of_node: 7, ..limits::Limits::default() });
    }

    #[test]
    fn a_health_check_is_damped_unless_that_is_switched_off() {
        let check = |line: &str, seconds: u64| {
            let config = load(&format!("[[health]]\ntcp = '80'\n{line}\n"), RawOptions::default()).unwrap();
            assert_eq!(config.healths[0].damp.as_secs(), seconds, "{line}");
        };
        check("", 15 * 60);
        check("damp = '2h'", 2 * 3600);
        check("damp = '0s'", 0);
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let check = |text: &str, expect: &str| {
            let error = load(text, RawOptions::default()).unwrap_err();
            assert!(error.to_string().contains(expect) && error.hint().is_some(), "{error}");
        };
        check("stores = []", "unknown field `stores`");
        check("folder = '../x'", "not a folder inside a store");
        check("[states]\nx = 'gone'", "line 2");
        check("[[render]]\nname = 'x'\noutput = '/x'\nmode = '9'", "line 4");
        check("[[render]]\nname = 'x'\noutput = '/x'\nchek = 'y'", "unknown field `chek`");
        check("[[render]]\nname = 'x'\noutput = '/x'\nmax-age = '3 parsecs'", "line 4");
        check(
            "[[render]]\nname = 'x'\noutput = 'x'",
            "[[render]] at line 1: `output` is not an absolute path: `x`",
        );
        check(
            "\n[[render]]\nname = 'x'\noutput = '/x'\napply = 'runtime'",
            "at line 2: `apply = \"runtime\"` needs `socket`",
        );
        let twice = "[[render]]\nname = 'x'\noutput = '/x'\n";
        check(&twice.repeat(2), "two [[render]] tables write `/x`");
        check(&format!("{twice}[[page]]\noutput = '/x'"), "two tables write `/x`");
        check("[[page]]\noutput = 'x'", "[[page]] at line 1: `output` is not an absolute path: `x`");
        check("[[page]]\noutput = '/x'\npart = '['", "[[page]] at line 1: `[` is not a glob pattern");
        check("[[health]]\nrise = 2", "[[health]] at line 1: exactly one of `command`, `tcp` and `http`");
        check("[[health]]\nhttp = 'http://example.net/'", "with a numeric address");
        check("[[health]]\ntcp = '80'\ndamp = 'often'", "line 3");
        check("[[notify]]\nurl = 'ftp://x'", "[[notify]] at line 1");
        check(
            "[[credential]]\nurl = 'ftp://h/x'\nssh-key = '/k'",
            "at line 1: `url`: its scheme is not supported",
        );
        check(
            "[[credential]]\nurl = 'ssh://h'",
            "at line 1: `ssh-key`, `known-hosts`, `token-file` or `login-file`",
        );
        check(
            "[[credential]]\nurl = 'ssh://h'\ntoken-file = '/t'",
            "`token-file` and `login-file` are for http",
        );
        check("[[credential]]\nurl = 'https://h'\nssh-key = '/k'", "`ssh-key` and `known-hosts` are for ssh");
        check(
            "[[credential]]\nurl = 'https://h'\ntoken-file = 't'",
            "`token-file` is not an absolute path: `t`",
        );
        check(
            "[[credential]]\nurl = 'https://h'\ntoken-file = '/t'\nlogin-file = '/l'",
            "either `token-file` or `login-file`",
        );
        check("[agent]\ninterval = -1", "line 2");
        check("[store-limits]\nupdates = 0", "[store-limits]: `updates` must be at least 1");
        check("[store-limits]\nswept = 0", "`swept` must be at least 1");
        check(
            "[agent]\ninterval = \"5 lightyears\"",
            "`5 lightyears` is not a duration; write it like 90s, 5m, 2h or 1d",
        );
        check("[store-limits]\nfiles = 1", "unknown field `files`");
        let fast_path = RawOptions { fast_path: Some("no".into()), ..RawOptions::default() };
        assert!(load("", fast_path).unwrap_err().to_string().contains("`PRESENCE_FAST_PATH` is `no`"));
        let missing = RawOptions { config: Some("/nowhere/presence.toml".into()), ..RawOptions::default() };
        assert!(Config::load(&missing).unwrap_err().to_string().contains("/nowhere"));
    }
}
