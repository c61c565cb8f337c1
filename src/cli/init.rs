use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::console;
use super::error::CliError;
use crate::config::{self, RawOptions};
use crate::endpoint::Port;
use crate::errors::{AtPath, PathError};
use crate::facts;
use crate::name::Name;
use crate::record::Facts;
use crate::store::shown_url;

/// Write a commented presence.toml and the nodeinfo folder
///
/// Asks nothing, and changes no existing file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  presence init --part app1 --stacktype lad1 --deployment fed1
  presence init --config ./presence.toml --nodeinfo ./nodeinfo
  presence init --service api --port 9090")]
pub(super) struct Args {
    /// Set this node's part
    #[arg(long)]
    part: Option<String>,
    /// Set this node's stacktype
    #[arg(long)]
    stacktype: Option<String>,
    /// Set this node's deployment
    #[arg(long)]
    deployment: Option<String>,
    /// Make the folder of a service that this node offers besides its part
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Set the port of the service or, without --service, of this node
    #[arg(long)]
    port: Option<String>,
}

pub(super) fn run(args: &Args, given: &RawOptions) -> Result<(), CliError> {
    let nodeinfo = given.nodeinfo.clone().unwrap_or_else(config::default_nodeinfo);
    let file = given.config.clone().unwrap_or_else(|| config::DEFAULT_FILE.into());
    let mut facts: Vec<(&str, String)> = Vec::new();
    for (fact, value) in
        [("nodepart", &args.part), ("stacktype", &args.stacktype), ("deployment", &args.deployment)]
    {
        if let Some(value) = value {
            let name =
                Name::parse(value).map_err(|error| CliError::usage(format!("unusable {fact}: {error}")))?;
            facts.push((fact, name.to_string()));
        }
    }
    let port = args.port.as_deref().map(Port::parse);
    let port = port.transpose().map_err(|error| CliError::usage(format!("unusable port: {error}")))?;
    let service = args.service.as_deref().map(Name::parse);
    let service =
        service.transpose().map_err(|error| CliError::usage(format!("unusable service: {error}")))?;
    if let (None, Some(port)) = (&service, port) {
        facts.push(("port", port.to_string()));
    }
    let mut machine = Facts::new();
    facts::complete(&mut machine);
    if !machine.contains_key("instance-id") {
        // A container, or an image before its first start, gets a permanent name of its own.
        facts.push(("instance-id", format!("i-{:016x}", fastrand::u64(..))));
    }
    let text = written(&absolute(&nodeinfo)?, given);
    // The URL of a store may contain a password.
    let is_new = create(&file, text.as_bytes(), 0o600)?;
    report(&file, is_new)?;
    fs::create_dir_all(&nodeinfo).at("make", &nodeinfo)?;
    for (fact, value) in facts {
        let path = nodeinfo.join(format!("{fact}.txt"));
        report(&path, create(&path, format!("{value}\n").as_bytes(), 0o644)?)?;
    }
    if let Some(service) = service {
        let folder = facts::service(&nodeinfo, service.as_str());
        fs::create_dir_all(&folder).at("make", &folder)?;
        let path = folder.join("port.txt");
        match port {
            Some(port) => report(&path, create(&path, format!("{port}\n").as_bytes(), 0o644)?)?,
            // A folder without a fact is no service.
            None => console::note(&format!("next: write the port of the service into `{}`", path.display())),
        }
    }
    for fact in ["nodepart", "stacktype"] {
        let path = nodeinfo.join(format!("{fact}.txt"));
        if !path.exists() {
            console::note(&format!("next: write this node's {fact} into `{}`", path.display()));
        }
    }
    let options = options(given, is_new);
    console::note(&format!(
        "next: `presence emit{options}` shows this node's record, `presence publish{options}` puts it on the list"
    ));
    Ok(())
}

/// The given options for the next command, each after a space. Leaves out a store whose URL has a secret if
/// the file has it.
fn options(given: &RawOptions, in_file: bool) -> String {
    let path = |path: &PathBuf| path.display().to_string();
    let options =
        [("--config", given.config.as_ref().map(path)), ("--nodeinfo", given.nodeinfo.as_ref().map(path))];
    let shown = |store: &String| {
        let shown = shown_url(store);
        (shown == *store || !in_file).then_some(shown)
    };
    let stores = given.stores.iter().map(|store| ("--store", shown(store)));
    let addresses = Some(given.addresses.join(",")).filter(|networks| !networks.is_empty());
    let rest = [
        ("--folder", given.folder.clone()),
        ("--state-dir", given.state_dir.as_ref().map(path)),
        ("--addresses", addresses),
    ];
    let all = options.into_iter().chain(stores).chain(rest);
    let given = all.filter_map(|(option, value)| Some((option, value?)));
    given.map(|(option, value)| format!(" {option} {}", shell_words::quote(&value))).collect()
}

/// The store's location as an absolute path, if it is a path, so that it is found from any directory.
fn lasting(store: &str) -> String {
    match std::path::absolute(store) {
        Ok(path) if !store.contains(':') => path.display().to_string(),
        _ => store.to_owned(),
    }
}

/// The text of presence.toml, with the given values in place of the defaults.
fn written(nodeinfo: &Path, given: &RawOptions) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let path = |path: &Path| quoted(&path.display().to_string());
    let mut text = CONFIG.replace("\"{nodeinfo}\"", &path(nodeinfo));
    let mut set = |key: &str, value: String| {
        let line = text.lines().find(|line| line.starts_with(&format!("# {key} = "))).map(str::to_owned);
        if let Some(line) = line {
            text = text.replacen(&line, &format!("{key} = {value}"), 1);
        }
    };
    if !given.stores.is_empty() {
        let stores: Vec<String> = given.stores.iter().map(|store| quoted(&lasting(store))).collect();
        set("store", format!("[{}]", stores.join(", ")));
    }
    if let Some(folder) = &given.folder {
        set("folder", quoted(folder));
    }
    if !given.addresses.is_empty() {
        let networks: Vec<String> = given.addresses.iter().map(|network| quoted(network)).collect();
        set("addresses", format!("[{}]", networks.join(", ")));
    }
    if let Some(dir) = &given.state_dir {
        set("state-dir", path(&std::path::absolute(dir).unwrap_or_else(|_| dir.clone())));
    }
    text
}

fn absolute(path: &Path) -> Result<PathBuf, PathError> {
    std::path::absolute(path).at("find", path)
}

/// Creates the file if it is missing. True if it was created.
pub(super) fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<bool, PathError> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::create_dir_all(dir).at("make", dir)?;
    }
    match fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
        Ok(mut file) => file.write_all(bytes).at("write", path).map(|()| true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => match fs::metadata(path) {
            Ok(found) if found.is_file() => Ok(false),
            _ => Err(std::io::Error::other("it exists and is not a file")).at("make", path),
        },
        Err(error) => Err(error).at("make", path),
    }
}

fn report(path: &Path, made: bool) -> Result<(), CliError> {
    let said = if made { "written" } else { "left as it is" };
    console::report(&format!("{}: {said}\n", path.display()))
}

/// Every key with its default, commented out.
const CONFIG: &str = "\
# The configuration of presence. Every key has a default; flags and PRESENCE_… variables outrank this file.

# Where this node's facts are: one NAME.txt per fact.
nodeinfo = \"{nodeinfo}\"

# Where the list is. presence writes to all stores; any one of them is enough to read.
# store = [\"ssh://git@git.example.net/srv/list.git\", \"/mnt/shared/list\"]

# The folder of the records, inside the store.
# folder = \"it/presence/all\"

# Where in the folder records are written. {hash} is two hex digits: with more than some thousand nodes, 256 small
# folders are faster than a big one. Readers take any layout.
# layout = \"{hash}/{instance-id}.json\"

# The branch of git stores. Default: the one that HEAD of the repository names.
# branch = \"main\"

# Where copies, mirrors and memories are kept.
# state-dir = \"/var/lib/presence\"

# Which addresses records may state. Default: all that other machines can reach, and not this machine's own in records of
# other nodes. For nodes on one machine, name the loopback or the machine's own address.
# addresses = [\"10.0.0.0/8\", \"2001:db8::/32\"]

# Where templates are looked for, before /etc/presence/templates and the built-in ones.
# template-dir = [\"/srv/presence/templates\"]

# Where heartbeats go, if not into the stores of the records: one URL or several.
# beat-store = \"ssh://git@git.example.net/srv/beats.git\"

# The number of refs of a git store for heartbeats; 256 for more than 10,000 nodes.
# beat-shards = 64

# quiet = false
# verbose = 0
# color = \"auto\"

# Variables for templates; `presence render NAME --set KEY=VALUE` outranks them.
[vars]
# frontend_port = 80
# check_path = \"/healthz\"
# user = \"haproxy\"
# group = \"haproxy\"
# stats_socket = \"/run/haproxy/admin.sock\"

# States of your own, and what they mean: active, draining, down or absent.
[states]
# parked = \"down\"

# Changes that a rendered file may not make in one step.
[limits]
# min-nodes = 1
# max-shrink = 50

# The most that is read from a store; docs/stores.md lists all limits.
[store-limits]
# entries = 1000000
# answer-bytes = 2147483648

# In seconds.
[timeouts]
# connect = 10
# silence = 30
# publish = 60
# read = 30
# history = 600
# recheck = 60
# command = 60

# Certificates and the user for stores in etcd. PRESENCE_ETCD_USER and PRESENCE_ETCD_PASSWORD outrank this table.
[etcd]
# ca = \"/etc/presence/etcd-ca.pem\"
# certificate = \"/etc/presence/etcd.pem\"
# key = \"/etc/presence/etcd-key.pem\"
# user = \"presence\"
# password-file = \"/etc/presence/etcd-password\"

# Settings of `presence agent`. Write times as 500ms, 90s, 5m, 2h or 1d; a bare number means seconds.
[agent]
# interval = \"60s\"            # between two beats; the instance-id fixes the moment
# splay = \"60s\"               # the part of the interval over which a fleet spreads
# poll = \"60s\"                # between two looks at the stores; \"1s\" for a load balancer
# quiet-min = \"200ms\"         # after a change, files are rendered when no other came for this long,
# quiet-max = \"5s\"            # or after this long at most
# reloads-per-minute = 6
# on-stop = \"nothing\"         # or \"draining\", or \"withdraw\"
# metrics = \"/var/lib/prometheus/node-exporter/presence.prom\"

# Files to keep up to date, for `presence beat` and `presence agent`: one table each, with the options of `presence render`.
# If `apply` is \"runtime\", HAProxy gets new servers and loses old ones while it runs; other changes reload it.
# [[render]]
# name = \"haproxy\"
# output = \"/etc/haproxy/haproxy.cfg\"
# check = \"haproxy -dW -c -f {}\"
# reload = \"systemctl reload-or-restart haproxy\"
# owner = \"root:root\"
# mode = \"0644\"
# in-place = false             # true for a file that is a mount point: it is written over, not replaced
# part = \"lb1\"                # stand in for another part, stacktype or deployment
# stacktype = \"lad1\"
# deployment = \"fed1\"
# template-dir = \"/srv/presence/templates\"
# min-nodes = 1
# max-shrink = 50
# max-age = \"5m\"
# awake = false                # true, or the parts that must accept a connection to be used: \"db*\"
# wait-for-nodes = \"db*\"       # make no file before an active node of these parts is in scope
# apply = \"runtime\"            # or \"reload\", the default
# socket = \"/run/haproxy/admin.sock\"
# state-file = \"/var/lib/haproxy/server-state\"
# patience = \"5s\"              # how long a beat waits for checks and sessions; the next beat continues
# [render.vars]
# frontend_port = 8080

# Pages of the fleet to keep up to date, for browsers: one table each, with the options of `presence page`.
# [[page]]
# output = \"/var/www/fleet/index.html\"
# owner = \"root:www-data\"
# mode = \"0640\"
# part = \"*\"                  # show only these nodes
# stacktype = \"*\"
# deployment = \"fed*\"
# max-age = \"5m\"             # nodes without a heartbeat for longer are shown as silent
# events = 10000              # show this many changes
# reload = \"30s\"             # how often an open page looks for a newer one

# Checks of this node's own service: while one fails, an active node publishes `wedged`, and `done` when all pass
# again. One of command, tcp, http.
# [[health]]
# name = \"web\"
# service = \"api\"            # only this service of the node becomes `wedged`, not the node
# http = \"http://127.0.0.1:8080/healthz\"
# rise = 2
# fall = 3
# timeout = \"5s\"
# interval = \"10s\"
# damp = \"15m\"                # a node that fails repeatedly must pass for up to this long before it is `done` again
# [[health]]
# tcp = \"8080\"
# [[health]]
# command = \"/usr/local/bin/check-app\"

# Keys and logins of stores, for the repositories at and below a URL. All commands use them.
# [[credential]]
# url = \"ssh://git@git.example.net\"
# ssh-key = \"/etc/presence/credentials/ssh-key\"
# known-hosts = \"/etc/presence/credentials/known-hosts\"
# [[credential]]
# url = \"https://git.example.net/team\"
# token-file = \"/etc/presence/credentials/token\"
# [[credential]]
# url = \"https://git.example.org\"
# login-file = \"/etc/presence/credentials/login\" # USER:PASSWORD

# Receivers of changes on the list. Configure this on one machine: every machine that has it sends messages.
# [[notify]]
# url = \"https://chat.example.net/hooks/fleet\"
# on = \"all\"                   # or \"critical\"
# timeout = \"10s\"
# [[notify]]
# command = \"/usr/local/bin/page-somebody {}\"
# on = \"critical\"
";

#[cfg(test)]
mod tests {
    #[test]
    fn what_was_given_is_in_the_file_and_in_the_next_step() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("a \"b\".toml");
        let given = crate::config::RawOptions {
            config: Some(config.clone()),
            nodeinfo: Some(dir.path().join("it's")),
            stores: vec!["/a".into(), "/b \\c".into()],
            folder: Some("x/y".into()),
            state_dir: Some("/s".into()),
            addresses: vec!["10.0.0.0/8".into()],
            fast_path: None,
        };
        std::fs::write(&config, super::written(given.nodeinfo.as_ref().unwrap(), &given)).unwrap();
        let only_file = crate::config::RawOptions { config: given.config.clone(), ..Default::default() };
        let read = crate::config::Config::load(&only_file).unwrap();
        assert_eq!((read.stores, Some(read.nodeinfo.dir)), (given.stores.clone(), given.nodeinfo.clone()));
        assert_eq!((read.folder.as_ref(), read.state_dir.to_str()), ("x/y", Some("/s")));
        let words = shell_words::split(&super::options(&given, true)).unwrap();
        let expect = [
            "--store",
            "/a",
            "--store",
            "/b \\c",
            "--folder",
            "x/y",
            "--state-dir",
            "/s",
            "--addresses",
            "10.0.0.0/8",
        ];
        assert_eq!(
            (words[1].as_str(), &words[4..]),
            (config.to_str().unwrap(), &expect.map(str::to_owned)[..])
        );
        assert_eq!(super::options(&crate::config::RawOptions::default(), true), "");
    }

    #[test]
    fn every_key_of_the_file_is_understood() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("presence.toml");
        let keys: String = super::CONFIG
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest.contains(" = ") || rest.starts_with('[') => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        std::fs::write(&path, keys).unwrap();
        let given = crate::config::RawOptions { config: Some(path), ..Default::default() };
        if !cfg!(feature = "https") {
            let text = std::fs::read_to_string(given.config.as_ref().unwrap()).unwrap();
            std::fs::write(given.config.as_ref().unwrap(), text.replace("url = ", "command = ")).unwrap();
        }
        let config = crate::config::Config::load(&given).unwrap();
        assert_eq!(config.stores.len(), 2);
        assert_eq!(config.vars.len(), 5);
        assert_eq!((config.healths.len(), config.notifies.len()), (3, 2));
        assert_eq!((config.renders.len(), config.pages.len()), (1, 1));
    }
}
