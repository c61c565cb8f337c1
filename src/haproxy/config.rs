//! The servers in a haproxy.cfg, separated from all the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::options::{Options, Unread, is_plain};

/// A file in two parts: the servers that can be changed at run time, and all the rest.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// Every line except those of the servers below, without comments. A change in it needs a reload.
    pub skeleton: Vec<String>,
    /// The sections with servers (`backend`, `listen`), by name.
    pub backends: BTreeMap<String, Backend>,
}

/// One `backend` or `listen` section.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Backend {
    /// The servers that this module manages, by name.
    pub servers: BTreeMap<String, Server>,
    /// Servers that it does not understand well enough. They belong to the skeleton, and are left alone.
    pub left_alone: BTreeSet<String>,
    /// Whether there may be servers without a line (`server-template`).
    pub has_template: bool,
    /// Why HAProxy takes no new servers here at run time; `None` if it does.
    pub fixed: Option<&'static str>,
    /// Whether a new server needs a dynamic cookie.
    pub dynamic_cookie: bool,
}

/// One server.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Its address and port.
    pub address: SocketAddr,
    /// Its id, if the file states one.
    pub id: Option<u32>,
    /// Whether it gets requests.
    pub state: State,
    /// The port of its health check, if it is a different one.
    pub check_port: Option<u16>,
    /// Whether it gets requests only while no other server can.
    pub backup: bool,
    /// All its other options, including those of `default-server`.
    pub options: Options,
}

/// Whether a server gets requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It gets its share, by this weight.
    Ready(u16),
    /// It only finishes its sessions (`weight 0`).
    Drain,
    /// It gets none (`disabled`).
    Down,
}

/// The keywords that begin a section (HAProxy 2.6 manual, and those of later versions).
const SECTIONS: [&str; 19] = [
    "acme",
    "backend",
    "cache",
    "crt-store",
    "defaults",
    "fcgi-app",
    "frontend",
    "global",
    "http-errors",
    "listen",
    "log-forward",
    "log-profile",
    "mailers",
    "peers",
    "program",
    "resolvers",
    "ring",
    "traces",
    "userlist",
];

/// The hash algorithms. With `hash-type map-based`, HAProxy builds the map once, when it reads the file.
const HASHES: [&str; 6] = ["hash", "hdr", "rdp-cookie", "source", "uri", "url_param"];

/// The settings that a section inherits from its `defaults`.
#[derive(Debug, Clone, Default)]
struct DefaultSettings {
    default_server: Options,
    /// Whether a `default-server` line was not understood. Then no later server is understood either.
    unread: bool,
    algorithm: String,
    consistent: bool,
    dynamic_cookie: bool,
}

/// The section that the reader is in.
enum Section {
    Defaults(String),
    Backend(String, Backend),
    Other,
}

#[derive(Default)]
struct Reader {
    config: Config,
    defaults: BTreeMap<String, DefaultSettings>,
    /// The name of the last `defaults` section.
    last_defaults: Option<String>,
    settings: DefaultSettings,
}

impl Config {
    /// Parses a file. There are no errors: anything not understood belongs to the skeleton.
    pub fn parse(text: &str) -> Config {
        let mut reader = Reader::default();
        let mut section = Section::Other;
        // Only HAProxy can evaluate `.if … .endif`, so every line of such a file belongs to the skeleton.
        let conditional = text.lines().any(|line| line.trim_start().starts_with('.'));
        for line in text.lines() {
            let words = words(line);
            if words.is_empty() {
                continue;
            }
            if SECTIONS.contains(&words[0]) {
                reader.close(section);
                section = if conditional { Section::Other } else { reader.open(&words) };
            } else if reader.read(&mut section, &words) {
                continue;
            }
            reader.config.skeleton.push(plain(line, &words));
        }
        reader.close(section);
        reader.config
    }

    /// Parses two files to find out whether the step from one to the other needs a reload. If only servers of one
    /// section differ, the result has these servers alone: a change of one node is one line of thousands.
    pub fn parse_both(old: &str, new: &str) -> (Config, Config) {
        differing(old, new).unwrap_or_else(|| (Config::parse(old), Config::parse(new)))
    }
}

/// The servers that differ, in their section. `None` if anything else differs or may differ.
fn differing(old: &str, new: &str) -> Option<(Config, Config)> {
    let lines = |text| str::split_inclusive(text, '\n');
    let begin = common(lines(old), lines(new));
    let (old, new_rest) = (&old[begin..], &new[begin..]);
    let end = common(lines(old).rev(), lines(new_rest).rev());
    let (before, gone) = (&new[..begin], &old[..old.len() - end]);
    let (come, after) = new_rest.split_at(new_rest.len() - end);
    if gone.lines().chain(come.lines()).any(|line| !is_server(line)) {
        return None;
    }
    let names: BTreeSet<&str> = gone.lines().chain(come.lines()).filter_map(server_name).collect();
    let mut context = Context { reader: Reader::default(), section: Section::Other, backends: Vec::new() };
    context.follow(before, &names)?;
    let Section::Backend(name, _) = &context.section else { return None };
    let name = name.clone();
    let read = |line: &str| {
        let words = words(line);
        Some(((*words.get(1)?).to_owned(), context.reader.server(&words).ok()?))
    };
    let servers = |text: &str| text.lines().map(read).collect::<Option<BTreeMap<String, Server>>>();
    let servers = [servers(gone)?, servers(come)?];
    context.follow(after, &names)?;
    context.reader.close(context.section);
    // Of two sections with one name, the last applies.
    if context.backends.iter().filter(|backend| **backend == name).count() > 1 {
        return None;
    }
    let backend = context.reader.config.backends.remove(&name)?;
    let [old, new] = servers.map(|servers| Config {
        skeleton: Vec::new(),
        backends: BTreeMap::from([(name.clone(), Backend { servers, ..backend.clone() })]),
    });
    Some((old, new))
}

/// The length of the lines that both have at first.
fn common<'t>(one: impl Iterator<Item = &'t str>, other: impl Iterator<Item = &'t str>) -> usize {
    one.zip(other).take_while(|(one, other)| one == other).map(|(line, _)| line.len()).sum()
}

fn is_server(line: &str) -> bool {
    line.split_whitespace().next() == Some("server")
}

fn server_name(line: &str) -> Option<&str> {
    line.split_whitespace().nth(1)
}

/// What the lines of a file so far mean for the servers that follow.
struct Context {
    reader: Reader,
    section: Section,
    /// The name of each section with servers.
    backends: Vec<String>,
}

impl Context {
    /// Reads all lines but those of servers. `None` if a server has one of these names, or if the lines are
    /// conditional.
    fn follow(&mut self, text: &str, names: &BTreeSet<&str>) -> Option<()> {
        for line in text.lines() {
            if is_server(line) {
                if server_name(line).is_some_and(|name| names.contains(name)) {
                    return None;
                }
                continue;
            }
            let words = words(line);
            match words.first() {
                None => {}
                Some(first) if first.starts_with('.') => return None,
                Some(first) if SECTIONS.contains(first) => {
                    self.reader.close(std::mem::replace(&mut self.section, Section::Other));
                    self.section = self.reader.open(&words);
                    if let Section::Backend(name, _) = &self.section {
                        self.backends.push(name.clone());
                    }
                }
                Some(_) => {
                    self.reader.read(&mut self.section, &words);
                }
            }
        }
        Some(())
    }
}

impl Reader {
    fn open(&mut self, words: &[&str]) -> Section {
        let name = words.get(1).copied().unwrap_or_default();
        let from = match words.iter().position(|word| *word == "from") {
            Some(index) => words.get(index + 1).map(|from| (*from).to_owned()),
            None if words[0] == "defaults" => None,
            None => self.last_defaults.clone(),
        };
        self.settings = from.and_then(|from| self.defaults.get(&from)).cloned().unwrap_or_default();
        match words[0] {
            "defaults" => Section::Defaults(name.to_owned()),
            "backend" | "listen" if is_plain(name) => Section::Backend(name.to_owned(), Backend::default()),
            _ => Section::Other,
        }
    }

    /// Reads a line. True if it is a server that need not be in the skeleton.
    fn read(&mut self, section: &mut Section, words: &[&str]) -> bool {
        if matches!(section, Section::Other) {
            return false;
        }
        match words[0] {
            "default-server" => match self.settings.default_server.with(&words[1..]) {
                Ok(options) => self.settings.default_server = options,
                Err(Unread) => self.settings.unread = true,
            },
            "balance" => {
                let algorithm = words.get(1).copied().unwrap_or_default();
                self.settings.algorithm = algorithm.split('(').next().unwrap_or_default().to_owned();
            }
            "hash-type" => self.settings.consistent = words.get(1) == Some(&"consistent"),
            "cookie" => self.settings.dynamic_cookie = words.contains(&"dynamic"),
            "server" | "server-template" => {
                let Section::Backend(_, backend) = section else { return false };
                backend.has_template |= words[0] == "server-template";
                let name = words.get(1).copied().unwrap_or_default();
                match self.server(words) {
                    Ok(server) => {
                        backend.servers.insert(name.to_owned(), server);
                        return true;
                    }
                    Err(Unread) => backend.left_alone.insert(name.to_owned()),
                };
            }
            _ => {}
        }
        false
    }

    fn server(&self, words: &[&str]) -> Result<Server, Unread> {
        let ["server", name, address, rest @ ..] = words else { return Err(Unread) };
        if self.settings.unread || !is_plain(name) || !is_plain(address) {
            return Err(Unread);
        }
        // Host names, prefixes such as `unix@`, relative ports and missing ports do not parse as socket
        // addresses.
        let address: SocketAddr = address.parse().map_err(|_| Unread)?;
        let mut options = self.settings.default_server.with(rest)?;
        let id = options.take_number("id")?;
        let weight = options.take_number("weight")?.unwrap_or(1);
        let state = match (options.take_flag("disabled"), u16::try_from(weight).map_err(|_| Unread)?) {
            (true, _) => State::Down,
            (false, 0) => State::Drain,
            (false, weight) => State::Ready(weight),
        };
        let check_port = options.take_number("port")?.map(u16::try_from);
        let check_port = check_port.transpose().map_err(|_| Unread)?;
        let backup = options.take_flag("backup");
        Ok(Server { address, id, state, check_port, backup, options })
    }

    fn close(&mut self, section: Section) {
        let settings = &self.settings;
        match section {
            Section::Defaults(name) => {
                self.defaults.insert(name.clone(), settings.clone());
                self.last_defaults = Some(name);
            }
            Section::Backend(name, mut backend) => {
                // "Backend must use a dynamic load balancing to support dynamic servers."
                backend.fixed = match settings.algorithm.as_str() {
                    "static-rr" => Some("`balance static-rr` takes no new servers at run time"),
                    hash if HASHES.contains(&hash) && !settings.consistent => {
                        Some("a hash without `hash-type consistent` takes no new servers at run time")
                    }
                    _ => None,
                };
                backend.dynamic_cookie = settings.dynamic_cookie;
                self.config.backends.insert(name, backend);
            }
            Section::Other => {}
        }
    }
}

/// Whether a line of the skeleton begins a section.
pub(super) fn is_section(line: &str) -> bool {
    line.split_whitespace().next().is_some_and(|first| SECTIONS.contains(&first))
}

/// Whether only HAProxy can tell where words and comments begin in the line.
fn is_quoted(line: &str) -> bool {
    line.contains(['"', '\'', '\\'])
}

/// The words of a line without its comment.
fn words(line: &str) -> Vec<&str> {
    let line = line.trim();
    let end = if is_quoted(line) && !line.starts_with('#') { None } else { line.find('#') };
    line[..end.unwrap_or(line.len())].split_whitespace().collect()
}

/// A line with these words, without its comment and superfluous spaces. A line with quotes or escapes is kept
/// unchanged.
fn plain(line: &str, words: &[&str]) -> String {
    if is_quoted(line) { line.trim().to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SKELETON: &str = "global\n maxconn 9 # so\n\ndefaults\n mode http\n balance leastconn\n \
        default-server inter 2s fall 3\nbackend b\n option httpchk\n";

    /// The servers of backend `b` in short form.
    fn told(config: &Config) -> String {
        let Some(backend) = config.backends.get("b") else { return "no backend".to_owned() };
        let told = backend.servers.iter().map(|(name, server)| {
            let port = server.check_port.map_or(String::new(), |port| format!(" port {port}"));
            let port = if server.backup { format!("{port} backup") } else { port };
            let id = server.id.map_or(String::new(), |id| format!(" id {id}"));
            let options =
                server.options.at_run_time(None).replace(" pool-max-conn -1 pool-purge-delay 5s", "");
            format!("{name} {}{id} {:?}{port}{options}", server.address, server.state)
        });
        told.chain(backend.left_alone.iter().map(|name| format!("left {name}")))
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[track_caller]
    fn check(lines: &str, expect: &str) {
        assert_eq!(told(&Config::parse(&format!("{SKELETON}{lines}"))), expect, "for {lines}");
    }

    #[test]
    fn servers_are_read_with_what_they_inherit() {
        check("", "");
        check(
            "server a 10.0.0.1:80 id 7 check port 81\nserver z [2001:db8::1]:80 weight 0\n",
            "a 10.0.0.1:80 id 7 Ready(1) port 81 check fall 3 inter 2s; z [2001:db8::1]:80 Drain fall 3 inter 2s",
        );
        check(
            " default-server fall 1 disabled\n\tserver a 10.0.0.1:80\n server b 10.0.0.2:80 enabled weight 9 # x\n",
            "a 10.0.0.1:80 Down fall 1 inter 2s; b 10.0.0.2:80 Ready(9) fall 1 inter 2s",
        );
        check(
            "default-server backup\nserver a 10.0.0.1:80\nserver b 10.0.0.2:80 no-backup\n",
            "a 10.0.0.1:80 Ready(1) backup fall 3 inter 2s; b 10.0.0.2:80 Ready(1) fall 3 inter 2s",
        );
        check("server a 10.0.0.1:80 weight 0 disabled\n", "a 10.0.0.1:80 Down fall 3 inter 2s");
        check("\nlisten c from other\n server a 10.0.0.1:80\n", "");
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        for address in
            ["app.example:80", "10.0.0.1", "10.0.0.1:+80", "unix@/run/a", "2001:db8::1:80", "$A:80"]
        {
            check(&format!("server a {address} check\n"), "left a");
        }
        for options in ["bogus", "track b/z", "agent-check", "source 10.0.0.9", "cookie \"x\"", "id x"] {
            check(&format!("server a 10.0.0.1:80 {options}\n"), "left a");
        }
        // On the socket, `;` would end the command and `<<` begin a payload.
        for name in ["a;b", "a<<", "a$b"] {
            check(&format!("server {name} 10.0.0.1:80\n"), &format!("left {name}"));
        }
        check("default-server bogus\nserver a 10.0.0.1:80\n", "left a");
        let config = Config::parse(&format!("{SKELETON} server-template t 3 10.0.0.1:80\n"));
        assert!(config.backends["b"].has_template);
        check(".if defined(X)\nserver a 10.0.0.1:80\n.endif\n", "no backend");
        // In other sections, `server` has another meaning.
        check("peers p\n server a 10.0.0.1:80\nring r\n server a 10.0.0.1:80\n", "");
    }

    #[test]
    fn the_skeleton_is_the_rest_without_comments() {
        let parse = |lines: &str| Config::parse(&format!("{SKELETON}{lines}")).skeleton;
        let bare = parse("");
        assert_eq!(bare[..3], ["global", "maxconn 9", "defaults"]);
        assert_eq!(parse("# hello\n\n\tserver a 10.0.0.1:80  # x\r\n"), bare);
        assert_ne!(parse("server a app.example:80\n"), bare);
        assert_ne!(
            parse("http-request deny if { path '/a  b' }"),
            parse("http-request deny if { path '/a b' }")
        );
        assert_ne!(
            parse("http-request deny if { path '/#a' }"),
            parse("http-request deny if { path '/#b' }")
        );
    }

    #[test]
    fn a_backend_says_whether_it_takes_new_servers() {
        let check = |lines: &str, takes: bool, cookie: bool| {
            let config = Config::parse(lines);
            let backend = &config.backends["b"];
            assert_eq!((backend.fixed.is_none(), backend.dynamic_cookie), (takes, cookie), "for {lines}");
        };
        check("backend b\n", true, false);
        check("backend b\n balance static-rr\n", false, false);
        check("backend b\n balance uri\n hash-type consistent\n", true, false);
        check("defaults\n balance hdr(host)\nbackend b\n", false, false);
        check("defaults x\n balance uri\n hash-type consistent\ndefaults y\nbackend b from x\n", true, false);
        check("backend b\n balance random(2)\n cookie S insert dynamic\n", true, true);
        check("backend b\n balance roundrobin\n cookie S insert\n", true, false);
    }

    /// The lines of the built-in template are all understood.
    #[test]
    fn the_built_in_template_is_understood() {
        let line = "server app-1 10.0.0.1:8081 id 1156667027 check port 9 weight 0 backup";
        let config = Config::parse(&format!("{SKELETON}{line}\n"));
        assert!(config.backends["b"].left_alone.is_empty());
        let template = include_str!("../../templates/common/haproxy.cfg.hbs");
        let default = template.lines().find(|line| line.trim().starts_with("default-server")).unwrap();
        assert!(Options::default().with(&words(default)[1..]).is_ok());
    }
}
