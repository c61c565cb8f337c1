//! What runs: the answers to `show servers state` and `show stat`, parsed by their headers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::config::{Server, State};
use super::step::ServerName;

/// The servers of a running HAProxy.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Running(BTreeMap<String, BTreeMap<String, RunningServer>>);

/// A running server.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunningServer {
    /// Its address and port; `None` for an unresolved host name.
    pub address: Option<SocketAddr>,
    /// Its id.
    pub id: u32,
    /// The port of its health check; 0 if it is the server's own.
    pub check_port: u16,
    /// Whether it is a backup server; `None` if that is unknown.
    pub backup: Option<bool>,
    /// `srv_op_state`: 0 is down, 1 starting, 2 running, 3 stopping.
    pub operational: u8,
    /// `srv_admin_state`, see [`RunningServer::state`].
    pub admin: u8,
    /// The weight in use.
    pub weight: u16,
    /// `srv_check_state`, see [`RunningServer::check`].
    pub check_state: u8,
    /// Seconds since its last change: up, down, into or out of a state.
    pub last_change_s: u64,
    /// The number of its current sessions.
    pub sessions: u64,
    /// The last verdict of its check, such as `L7OK`.
    pub check_status: String,
    /// How many more checks must fail (or pass) until it is down (or up); see [`RunningServer::is_judged`].
    pub check_health: u32,
    /// It is up from this health on.
    pub check_rise: u32,
    /// How many checks must fail until it is down.
    pub check_fall: u32,
    /// The cookie of its clients.
    pub cookie: String,
}

/// The state of a server's check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// It has none.
    None,
    /// It was never enabled, as for a server just added at run time.
    Off,
    /// Maintenance has paused it.
    Paused,
    /// It runs, also for a server in maintenance that was added at run time.
    On,
}

/// An answer that this module cannot parse.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("HAProxy's answer to `{command}` cannot be read: {reason}")]
pub struct SyntaxError {
    command: &'static str,
    reason: String,
}

impl SyntaxError {
    pub(super) fn new(command: &'static str, reason: String) -> SyntaxError {
        SyntaxError { command, reason }
    }
}

/// `enum srv_admin` of HAProxy: forced, inherited and resolution maintenance. The mark that it came from the
/// file (4) stays set when the server is ready again, and means nothing.
const ADMIN_MAINT: u8 = 0x01 | 0x02 | 0x20;
/// Forced and inherited drain.
const ADMIN_DRAIN: u8 = 0x08 | 0x10;

/// `CHK_ST_*` of HAProxy.
const CHECK_CONFIGURED: u8 = 0x02;
const CHECK_ENABLED: u8 = 0x04;
const CHECK_PAUSED: u8 = 0x08;

/// Good verdicts. `L7OKC` (conditionally passed) is not good: such a server is about to stop.
const GOOD: [&str; 4] = ["L4OK", "L6OK", "L7OK", "PROCOK"];

impl Running {
    /// Parses the answers to `show servers state` and `show stat`.
    pub fn parse(states: &str, stat: &str) -> Result<Running, SyntaxError> {
        let mut running = Running::default();
        for (name, seen) in read_states(states)? {
            running.0.entry(name.backend).or_default().insert(name.server, seen);
        }
        running.add_stat(stat)?;
        Ok(running)
    }

    /// These servers run.
    pub fn of(servers: impl IntoIterator<Item = (ServerName, RunningServer)>) -> Running {
        let mut running = Running::default();
        for (name, seen) in servers {
            running.0.entry(name.backend).or_default().insert(name.server, seen);
        }
        running
    }

    /// The servers of a backend, by name; `None` if there is no such backend, or it has none.
    pub fn servers(&self, backend: &str) -> Option<&BTreeMap<String, RunningServer>> {
        self.0.get(backend)
    }

    /// The names of the servers that their own checks do not find down, in any backend. Servers in
    /// maintenance are not among them, nor servers without a check: nothing tells whether those are up.
    pub fn up(&self) -> impl Iterator<Item = &str> {
        self.0.values().flatten().filter(|(_, seen)| seen.is_up()).map(|(name, _)| name.as_str())
    }

    fn add_stat(&mut self, stat: &str) -> Result<(), SyntaxError> {
        let broken = |reason: String| SyntaxError { command: "show stat", reason };
        let mut lines = stat.lines().filter(|line| !line.is_empty());
        let header = lines.next().and_then(|line| line.strip_prefix("# "));
        let header = fields(header.ok_or_else(|| broken("it has no header".to_owned()))?);
        let column = |name: &str| {
            let found = header.iter().position(|column| column == name);
            found.ok_or_else(|| broken(format!("it has no column `{name}`")))
        };
        let [backend, server, sessions] = [column("pxname")?, column("svname")?, column("scur")?];
        let [status, health] = [column("check_status")?, column("check_health")?];
        let [rise, fall, cookie] = [column("check_rise")?, column("check_fall")?, column("cookie")?];
        let backup = column("bck").ok();
        for line in lines {
            let fields = fields(line);
            let field = |index: usize| fields.get(index).map_or("", Cow::as_ref);
            let Some(servers) = self.0.get_mut(field(backend)) else { continue };
            let Some(seen) = servers.get_mut(field(server)) else { continue };
            // A field of a server without a check is empty.
            let number = |index: usize| field(index).parse().unwrap_or_default();
            let sessions = field(sessions).parse();
            seen.sessions = sessions.map_err(|_| broken(format!("`{line}` has no `scur`")))?;
            // `* ` marks a running check; the verdict after it is the previous one.
            seen.check_status = field(status).trim_start_matches("* ").to_owned();
            seen.check_health = number(health);
            seen.check_rise = number(rise);
            seen.check_fall = number(fall);
            seen.cookie = field(cookie).to_owned();
            seen.backup = backup.map(|backup| field(backup) == "1");
        }
        Ok(())
    }
}

impl RunningServer {
    /// Whether it is that server of a config, as far as the socket shows.
    pub(super) fn is(&self, server: &Server) -> bool {
        self.address == Some(server.address)
            && server.id.is_none_or(|id| id == self.id)
            && server.check_port.unwrap_or(0) == self.check_port
            && self.backup.is_none_or(|backup| backup == server.backup)
    }

    /// Whether it gets requests, as configured or commanded; a check's verdict is not included.
    pub fn state(&self) -> State {
        if self.admin & ADMIN_MAINT != 0 {
            State::Down
        } else if self.admin & ADMIN_DRAIN != 0 || self.weight == 0 {
            State::Drain
        } else {
            State::Ready(self.weight)
        }
    }

    /// Whether it serves requests.
    pub fn serves(&self) -> bool {
        matches!(self.state(), State::Ready(_)) && self.operational != 0
    }

    /// Whether its last change is less than the patience ago, so that it is worth waiting for.
    pub fn is_fresh(&self, patience: Duration) -> bool {
        // Whole seconds of HAProxy's clock: 1 may be a moment ago.
        Duration::from_secs(self.last_change_s.saturating_sub(1)) < patience
    }

    /// The state of its check.
    pub fn check(&self) -> Check {
        match self.check_state {
            state if state & CHECK_CONFIGURED == 0 => Check::None,
            state if state & CHECK_ENABLED == 0 => Check::Off,
            state if state & CHECK_PAUSED != 0 => Check::Paused,
            _ => Check::On,
        }
    }

    /// Whether it has a running check that does not find it down.
    pub fn is_up(&self) -> bool {
        self.state() != State::Down && self.operational != 0 && self.check() == Check::On
    }

    /// Whether its last check was good.
    pub fn is_good(&self) -> bool {
        GOOD.contains(&self.check_status.as_str())
    }

    /// Whether a check has judged it since it left maintenance.
    ///
    /// It leaves maintenance with a health of exactly `rise`: up, but down after one bad check. The status
    /// still has the verdict from before. With `fall 1` this is also full health, and looks like a good
    /// verdict.
    pub fn is_judged(&self) -> bool {
        self.operational == 0 || self.check_health > self.check_rise || self.check_fall <= 1
    }
}

/// Parses the answer to `show servers state`, in version 1 (HAProxy 2.6 management guide, section 9.3).
pub(super) fn read_states(text: &str) -> Result<Vec<(ServerName, RunningServer)>, SyntaxError> {
    let broken = |reason: String| SyntaxError { command: "show servers state", reason };
    let mut lines = text.lines().filter(|line| !line.is_empty());
    let version = lines.next();
    if version != Some("1") {
        return Err(broken(format!("its version is `{}` and not 1", version.unwrap_or_default())));
    }
    let Some(header) = lines.next() else { return Ok(Vec::new()) };
    let header: Vec<&str> = header.trim_start_matches("# ").split(' ').collect();
    let column = |name: &str| {
        let found = header.iter().position(|column| *column == name);
        found.ok_or_else(|| broken(format!("it has no column `{name}`")))
    };
    let [backend, server] = [column("be_name")?, column("srv_name")?];
    let [id, address, port] = [column("srv_id")?, column("srv_addr")?, column("srv_port")?];
    let [operational, admin] = [column("srv_op_state")?, column("srv_admin_state")?];
    let [weight, last_change] = [column("srv_uweight")?, column("srv_time_since_last_change")?];
    let [check_state, check_port] = [column("srv_check_state")?, column("srv_check_port")?];
    let mut read = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split(' ').collect();
        let field = |index: usize| fields.get(index).copied().unwrap_or_default();
        let number = |index: usize| {
            let number = field(index).parse::<u32>();
            number.map_err(|_| broken(format!("`{line}` has no number in `{}`", header[index])))
        };
        let small = |index: usize| number(index).map(|number| u8::try_from(number).unwrap_or(u8::MAX));
        let port_of = |index: usize| number(index).map(|number| u16::try_from(number).unwrap_or_default());
        // HAProxy subtracts the moment of the change from a clock of its own that may be a second behind.
        let seconds = |index: usize| match field(index).parse::<i64>() {
            Ok(seconds) => Ok(u64::try_from(seconds).unwrap_or_default()),
            Err(_) => Err(broken(format!("`{line}` has no number in `{}`", header[index]))),
        };
        let listens = port_of(port)?;
        let seen = RunningServer {
            address: field(address).parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, listens)),
            id: number(id)?,
            check_port: port_of(check_port)?,
            operational: small(operational)?,
            admin: small(admin)?,
            weight: port_of(weight)?,
            check_state: small(check_state)?,
            last_change_s: seconds(last_change)?,
            // A server that is missing in `show stat` is treated as busy rather than idle.
            sessions: 1,
            ..RunningServer::default()
        };
        let name = ServerName { backend: field(backend).to_owned(), server: field(server).to_owned() };
        read.push((name, seen));
    }
    Ok(read)
}

/// The fields of a CSV line. A field with a comma or quote in it is quoted (RFC 4180).
fn fields(line: &str) -> Vec<Cow<'_, str>> {
    if !line.contains('"') {
        return line.split(',').map(Cow::Borrowed).collect();
    }
    let mut fields = Vec::new();
    let mut field = String::new();
    let (mut quoted, mut last) = (false, ',');
    for character in line.chars() {
        match character {
            ',' if !quoted => fields.push(Cow::Owned(std::mem::take(&mut field))),
            '"' => {
                // A quote right after a closing one is a literal quote.
                if last == '"' && !quoted {
                    field.push('"');
                }
                quoted = !quoted;
            }
            other => field.push(other),
        }
        last = character;
    }
    fields.push(Cow::Owned(field));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n\
        5 app 11 a 127.0.0.1 2 0 1 1 8 15 3 4 6 0 1 1 - 9001 - 0 0 - - 0\n\
        5 app 12 d ::1 0 5 1 1 -1 1 0 0 14 0 1 1 - 9003 - 0 81 - - 0\n\
        5 app 13 f - 0 32 1 1 9 1 0 0 0 0 1 1 f.example 80 - 0 0 - - 0\n\n";

    const STAT: &str = "# pxname,svname,scur,last_chk,check_status,check_rise,check_fall,check_health,cookie,bck,\n\
        app,a,3,\"a \"\"b\"\", c\",* L7OK,2,3,4,x,0,\n\
        app,d,0,,,,,,,1,\n\
        other,d,0,,,,,,,0,\n\n";

    #[test]
    fn both_answers_make_one_picture() {
        let running = Running::parse(STATES, STAT).unwrap();
        let app = running.servers("app").unwrap();
        let [a, d, f] = ["a", "d", "f"].map(|name| &app[name]);
        assert_eq!((a.address, a.id), (Some("127.0.0.1:9001".parse().unwrap()), 11));
        assert_eq!((a.sessions, a.is_good(), a.is_judged(), a.cookie.as_str()), (3, true, true, "x"));
        assert_eq!((a.state(), a.serves(), a.check()), (State::Ready(1), true, Check::On));
        assert_eq!((d.address, d.check_port), (Some("[::1]:9003".parse().unwrap()), 81));
        assert_eq!((d.state(), d.check(), d.sessions), (State::Down, Check::Paused, 0));
        assert_eq!([a, d, f].map(|seen| seen.backup), [Some(false), Some(true), None]);
        assert_eq!((f.address, f.state(), f.sessions), (None, State::Down, 1));
        assert_eq!([a.last_change_s, d.last_change_s], [8, 0], "a change in HAProxy's future is one now");
        assert!(running.servers("other").is_none());
    }

    #[test]
    fn an_answer_of_another_kind_is_an_error() {
        let check = |states: &str, stat: &str, expect: &str| {
            let error = Running::parse(states, stat).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check("Permission denied\n", STAT, "version is `Permission denied`");
        check(&STATES.replace("srv_check_port", "other"), STAT, "no column `srv_check_port`");
        check(&STATES.replace(" 9001 ", " x "), STAT, "no number in `srv_port`");
        check(STATES, "Permission denied\n", "no header");
        check(STATES, &STAT.replace("scur", "x"), "no column `scur`");
        check(STATES, &STAT.replace("app,a,3", "app,a,"), "has no `scur`");
    }

    #[test]
    fn states_follow_the_bits() {
        let check = |admin: u8, weight: u16, expect: State| {
            assert_eq!(
                RunningServer { admin, weight, ..RunningServer::default() }.state(),
                expect,
                "for {admin} {weight}"
            );
        };
        check(0x00, 7, State::Ready(7));
        check(0x04, 1, State::Ready(1));
        check(0x01, 1, State::Down);
        check(0x09, 1, State::Down);
        check(0x20, 1, State::Down);
        check(0x08, 1, State::Drain);
        check(0x0c, 1, State::Drain);
        check(0x00, 0, State::Drain);
    }
}
