//! The tables as written, and how they are resolved.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use glob::Pattern;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::OneOrMany;
use super::super::values::{CheckLine, Line, Mode, Ownership, Time};
use super::{Agent, Check, Health, Notify, OnStop, PageFile, Render};
use crate::name::Name;
use crate::output::limits::Limits;
use crate::output::{Runtime, Target};
use crate::probe::Question;
use crate::roster::Selector;
#[cfg(feature = "etcd")]
use crate::store::etcd;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct RenderTable {
    name: String,
    output: PathBuf,
    check: Option<CheckLine>,
    reload: Option<Line>,
    owner: Option<Ownership>,
    mode: Option<Mode>,
    #[serde(default)]
    in_place: bool,
    part: Option<String>,
    stacktype: Option<String>,
    deployment: Option<String>,
    #[serde(default)]
    template_dir: OneOrMany,
    #[serde(default)]
    vars: Map<String, Value>,
    min_nodes: Option<u64>,
    max_shrink: Option<u8>,
    max_age: Option<Time>,
    #[serde(default)]
    awake: Awake,
    wait_for_nodes: Option<String>,
    #[serde(default)]
    apply: Apply,
    socket: Option<PathBuf>,
    state_file: Option<PathBuf>,
    patience: Option<Time>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Apply {
    #[default]
    Reload,
    Runtime,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "true, false, or the parts to check, for example \"db*\"")]
enum Awake {
    All(bool),
    Parts(String),
}

impl Default for Awake {
    fn default() -> Awake {
        Awake::All(false)
    }
}

/// How long one beat waits for changes at run time. A check needs some seconds for its verdict.
const PATIENCE: Duration = Duration::from_secs(5);

impl RenderTable {
    /// The resolved table, or what is wrong with it.
    pub(in crate::config) fn resolve(
        self,
        general: Limits,
        command_limit: Duration,
    ) -> Result<Render, String> {
        if !self.output.is_absolute() {
            return Err(format!("`output` is not an absolute path: `{}`", self.output.display()));
        }
        let mut vars = self.vars;
        let socket = self.socket.clone();
        let runtime = match (self.apply, self.socket) {
            (Apply::Reload, _) if self.state_file.is_some() || self.patience.is_some() => {
                return Err("`state-file` and `patience` need `apply = \"runtime\"`".into());
            }
            (Apply::Reload, _) => None,
            (Apply::Runtime, None) => return Err("`apply = \"runtime\"` needs `socket`".into()),
            (Apply::Runtime, Some(_)) if self.reload.is_none() => {
                return Err(
                    "`apply = \"runtime\"` needs `reload` for what cannot be changed at run time".into()
                );
            }
            (Apply::Runtime, Some(socket)) => {
                // The file must name what this program uses; the user states it once.
                imply(&mut vars, "stats_socket", &socket);
                if let Some(file) = &self.state_file {
                    imply(&mut vars, "server_state_file", file);
                }
                let patience = self.patience.map_or(PATIENCE, Time::wait);
                Some(Runtime { socket, state_file: self.state_file, patience })
            }
        };
        if self.max_shrink.is_some_and(|percent| percent > 100) {
            return Err("`max-shrink` is a percentage, 100 at most".into());
        }
        let reachable = match self.awake {
            Awake::All(false) => None,
            Awake::All(true) => Some("*".to_owned()),
            Awake::Parts(glob) => Some(glob),
        };
        let reachable = reachable.map(|glob| Pattern::new(&glob)).transpose();
        let reachable = reachable.map_err(|error| format!("`awake` is not a glob pattern: {error}"))?;
        let wait_for = self.wait_for_nodes.map(|glob| Pattern::new(&glob)).transpose();
        let wait_for =
            wait_for.map_err(|error| format!("`wait-for-nodes` is not a glob pattern: {error}"))?;
        let template_dirs: Vec<String> = self.template_dir.into();
        Ok(Render {
            reachable,
            wait_for,
            name: self.name,
            target: Target {
                path: self.output,
                mode: self.mode.map(|mode| mode.0),
                owner: self.owner.map(|owner| owner.0),
                in_place: self.in_place,
                check: self.check.map(|line| line.0),
                reload: self.reload.map(|line| line.0),
                socket,
                runtime,
                hold_reload: false,
                command_limit,
            },
            part: self.part,
            stacktype: self.stacktype,
            deployment: self.deployment,
            template_dirs: template_dirs.into_iter().map(PathBuf::from).collect(),
            vars,
            limits: Limits {
                min_nodes: self.min_nodes.or(general.min_nodes),
                max_shrink: self.max_shrink.unwrap_or(general.max_shrink),
            },
            max_age: self.max_age.map(|age| age.0),
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct PageTable {
    output: PathBuf,
    owner: Option<Ownership>,
    mode: Option<Mode>,
    part: Option<String>,
    stacktype: Option<String>,
    deployment: Option<String>,
    max_age: Option<Time>,
    events: Option<usize>,
    reload: Option<Time>,
}

/// How often an open page looks for a newer one.
const RELOAD: Duration = Duration::from_secs(30);

impl PageTable {
    /// The resolved table, or what is wrong with it.
    pub(in crate::config) fn resolve(self, command_limit: Duration) -> Result<PageFile, String> {
        if !self.output.is_absolute() {
            return Err(format!("`output` is not an absolute path: `{}`", self.output.display()));
        }
        let mut selector = Selector::default();
        let conditions =
            [("nodepart", self.part), ("stacktype", self.stacktype), ("deployment", self.deployment)];
        for (fact, glob) in conditions {
            if let Some(glob) = glob {
                selector = selector.fact(fact, &glob).map_err(|error| error.to_string())?;
            }
        }
        let mut target = Target::plain(self.output, command_limit);
        target.mode = self.mode.map(|mode| mode.0);
        target.owner = self.owner.map(|owner| owner.0);
        Ok(PageFile {
            target,
            selector,
            max_age: self.max_age.map(|age| age.0),
            events: self.events,
            reload: self.reload.map_or(RELOAD, Time::wait).as_secs().max(1),
        })
    }
}

fn imply(vars: &mut Map<String, Value>, name: &str, path: &Path) {
    if !vars.contains_key(name) {
        vars.insert(name.to_owned(), path.to_string_lossy().into());
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct AgentTable {
    interval: Option<Time>,
    splay: Option<Time>,
    poll: Option<Time>,
    quiet_min: Option<Time>,
    quiet_max: Option<Time>,
    reloads_per_minute: Option<u32>,
    on_stop: OnStop,
    metrics: Option<PathBuf>,
}

impl AgentTable {
    pub(in crate::config) fn resolve(self) -> Agent {
        let or = |said: Option<Time>, default: Duration| said.map_or(default, Time::wait);
        // More frequent looks have no benefit, and an interval of zero would never release the processor.
        let least = Duration::from_millis(100);
        let interval = or(self.interval, Duration::from_secs(60)).max(least);
        let quiet_min = or(self.quiet_min, Duration::from_millis(200));
        Agent {
            interval,
            splay: or(self.splay, interval).min(interval),
            poll: or(self.poll, interval).max(least).min(interval),
            quiet_min,
            quiet_max: or(self.quiet_max, Duration::from_secs(5)).max(quiet_min),
            reloads_per_minute: self.reloads_per_minute.unwrap_or(6).max(1),
            on_stop: self.on_stop,
            metrics: self.metrics,
        }
    }
}

/// A build without etcd reads the table and uses nothing of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct EtcdTable {
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    user: Option<String>,
    password_file: Option<PathBuf>,
}

#[cfg(feature = "etcd")]
impl EtcdTable {
    /// The settings. Variables outrank the table.
    pub(in crate::config) fn resolve(self, said: impl Fn(&str) -> Option<String>) -> etcd::Settings {
        etcd::Settings {
            ca: self.ca,
            certificate: self.certificate,
            key: self.key,
            user: said("PRESENCE_ETCD_USER").or(self.user),
            password_file: self.password_file,
            password: said("PRESENCE_ETCD_PASSWORD").map(etcd::Secret),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct HealthTable {
    name: Option<String>,
    service: Option<String>,
    command: Option<Line>,
    tcp: Option<String>,
    http: Option<String>,
    rise: Option<u32>,
    fall: Option<u32>,
    timeout: Option<Time>,
    interval: Option<Time>,
    damp: Option<Time>,
}

impl HealthTable {
    /// The resolved table, or what is wrong with it.
    pub(in crate::config) fn resolve(self) -> Result<Health, String> {
        let (shown, check) = match (self.command, self.tcp, self.http) {
            (Some(line), None, None) => (line.0.to_string(), Check::Command(line.0)),
            (None, Some(place), None) => {
                let address = local(&place).ok_or_else(|| {
                    format!("`tcp` is neither a port nor ADDRESS:PORT: `{}`", crate::sanitize::shown(&place))
                })?;
                (format!("tcp {place}"), Check::Answers(address, Question::Connect))
            }
            (None, None, Some(url)) => {
                let bad = || {
                    format!(
                        "`http` must be http://ADDRESS:PORT/PATH with a numeric address: `{}`",
                        crate::sanitize::shown(&url)
                    )
                };
                let rest = url.strip_prefix("http://").ok_or_else(bad)?;
                let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let place = place.replace("localhost", "127.0.0.1");
                let address = local(&place).ok_or_else(bad)?;
                let question = Question::http(path).map_err(|reason| format!("`http` {reason}"))?;
                (url.clone(), Check::Answers(address, question))
            }
            _ => return Err("exactly one of `command`, `tcp` and `http` is required".into()),
        };
        let service = self.service.as_deref().map(Name::parse).transpose();
        let service = service.map_err(|error| format!("`service`: {error}"))?;
        Ok(Health {
            name: self.name.unwrap_or(shown),
            service,
            check,
            rise: self.rise.unwrap_or(2).max(1),
            fall: self.fall.unwrap_or(3).max(1),
            timeout: self.timeout.map_or(Duration::from_secs(5), Time::wait).max(Duration::from_millis(1)),
            interval: self
                .interval
                .map_or(Duration::from_secs(10), Time::wait)
                .max(Duration::from_millis(100)),
            damp: self.damp.map_or(Duration::from_secs(15 * 60), Time::wait),
        })
    }
}

/// A port of this machine, or an address with its port.
fn local(place: &str) -> Option<SocketAddr> {
    match place.parse::<u16>() {
        Ok(port) => Some(SocketAddr::from(([127, 0, 0, 1], port))),
        Err(_) => place.parse().ok().or_else(|| format!("{place}:80").parse().ok()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(in crate::config) struct NotifyTable {
    url: Option<String>,
    command: Option<Line>,
    #[serde(default)]
    on: On,
    timeout: Option<Time>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum On {
    #[default]
    All,
    Critical,
}

impl NotifyTable {
    /// The resolved table, or what is wrong with it.
    pub(in crate::config) fn resolve(self) -> Result<Notify, String> {
        if self.url.is_none() && self.command.is_none() {
            return Err("`url` or `command` is required".into());
        }
        if let Some(url) = &self.url {
            if !cfg!(feature = "https") {
                return Err("`url` needs a build with the feature `https`".into());
            }
            if !url.starts_with("https://") && !url.starts_with("http://") {
                return Err("`url` is not an http:// or https:// URL".into());
            }
        }
        Ok(Notify {
            url: self.url,
            command: self.command.map(|line| line.0),
            critical_only: self.on == On::Critical,
            timeout: self.timeout.map_or(Duration::from_secs(10), Time::wait).max(Duration::from_millis(10)),
        })
    }
}
