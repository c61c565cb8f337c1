//! Makes the running HAProxy follow a file: look, plan, send, look again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::config::Config;
use super::overrides::{self, Look, Overrides, Remember};
use super::plan::{Plan, plan};
use super::port::Port;
use super::reload::serving;
use super::socket::SocketError;
use super::step::{Action, ServerName, Step, Waiting, Why};
use crate::errors::PathError;
use crate::sanitize::said;

/// The least time between two looks at what runs.
const PAUSE: Duration = Duration::from_millis(20);

/// How often a step is tried that succeeds without an effect. More than once, since HAProxy may have been
/// reloaded meanwhile.
const MAX_TRIES: u8 = 3;

/// The most characters of a refusal that are repeated.
const MAX_SAID: usize = 300;

/// What should run, and where.
#[derive(Clone)]
pub struct ApplyRequest<'a> {
    /// The stats socket, with `level admin`.
    pub socket: &'a dyn Port,
    /// The file before: HAProxy has loaded it, except for servers. Equal to `new` if only unfinished work is
    /// left.
    pub old: &'a str,
    /// The file that is in place now.
    pub new: &'a str,
    /// What is known of servers that somebody else has set.
    pub overrides: &'a dyn Remember,
    /// How long to wait for verdicts of checks and the end of sessions. Anything slower is pending, and left
    /// to the next call.
    pub patience: Duration,
}

/// What was done, and what is left.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// The steps that were taken, in this order.
    pub done: Vec<Step>,
    /// Overrides since the last call, which are left in place, one sentence each.
    pub left: Vec<String>,
    /// What a later call will finish. If this is empty and no reload is needed, what runs is what the file
    /// says.
    pub pending: Vec<Waiting>,
    /// Why a reload is necessary. The steps before do no harm: the reload replaces them.
    pub reload_needed: Option<String>,
}

/// The work at run time cannot begin, or not continue.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// HAProxy does not answer.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The next steps cannot be recorded.
    #[error(transparent)]
    Memory(#[from] PathError),
}

impl ApplyError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            ApplyError::Socket(error) => error.hint(),
            ApplyError::Memory(error) => error.hint(),
        }
    }

    /// Whether a reload may help.
    pub fn may_pass(&self) -> bool {
        match self {
            ApplyError::Socket(error) => error.may_pass(),
            ApplyError::Memory(_) => false,
        }
    }
}

impl Outcome {
    /// Whether what runs is what the file says.
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty() && self.reload_needed.is_none()
    }
}

/// Makes the running HAProxy follow the file, as far as that is possible at run time and within the patience.
///
/// If it is killed at any point, or the patience ends, the next call continues from what runs then.
pub fn apply(request: &ApplyRequest<'_>) -> Result<Outcome, ApplyError> {
    let mut kept = request.overrides.recall();
    let mut known = kept.clone();
    let outcome = bring(request, &mut known, &mut kept)?;
    if let Some(known) = known.filter(|known| kept.as_ref() != Some(known)) {
        request.overrides.keep(&known)?;
    }
    Ok(outcome)
}

/// Whether that socket shows what runs, and permits changes.
pub fn can_follow(socket: &dyn Port) -> Result<(), ApplyError> {
    socket.may_change()?;
    socket.running()?;
    Ok(())
}

/// The work of [`apply`]. `known` is the final state of the overrides, and `kept` is what was saved of it:
/// enough if the process is killed.
fn bring(
    request: &ApplyRequest<'_>,
    known: &mut Option<Overrides>,
    kept: &mut Option<Overrides>,
) -> Result<Outcome, ApplyError> {
    let (old, new) = (Config::parse(request.old), Config::parse(request.new));
    let socket = request.socket;
    socket.may_change()?;
    let deadline = socket.now() + request.patience;
    let mut tries = BTreeMap::new();
    let mut outcome = Outcome::default();
    loop {
        let looked = socket.now();
        let running = socket.running()?;
        let worker = serving(socket);
        let look = Look { old: (request.old, &old), new: (request.new, &new), running: &running, worker };
        let overrides = overrides::judge(known.as_ref(), &look);
        outcome.left.extend(overrides.news(known.as_ref()));
        if !kept.as_ref().is_some_and(|kept| kept.covers(&overrides)) {
            request.overrides.keep(&overrides)?;
            *kept = Some(overrides.clone());
        }
        let overrides = known.insert(overrides);
        let round = match plan(&old, &new, &running, overrides, request.patience) {
            Plan::Nothing => return Ok(outcome),
            Plan::Reload(reason) => return Ok(Outcome { reload_needed: Some(reason), ..outcome }),
            Plan::Runtime(round) => round,
        };
        let Sent { done, busy, refused } = send(socket, &round.steps, &mut tries)?;
        let moved = !done.is_empty();
        outcome.done.extend(done.into_iter().filter(Step::is_news));
        if refused.is_some() {
            return Ok(Outcome { reload_needed: refused, ..outcome });
        }
        if moved {
            continue;
        }
        let busy = busy.into_iter().map(|server| {
            let seen = running.servers(&server.backend).and_then(|servers| servers.get(&server.server));
            let fresh = seen.is_some_and(|seen| seen.is_fresh(request.patience));
            Waiting { server, why: Why::Connections, fresh }
        });
        let pending: Vec<Waiting> = round.waiting.into_iter().chain(busy).collect();
        if socket.now() >= deadline || !pending.iter().any(|waiting| waiting.fresh) {
            return Ok(Outcome { pending, ..outcome });
        }
        // While HAProxy answers, it does nothing else, and ten thousand servers take a while.
        socket.pause(PAUSE.max((socket.now() - looked) * 2));
    }
}

/// The results of the steps of one round.
struct Sent {
    done: Vec<Step>,
    /// Servers that cannot be deleted yet.
    busy: Vec<ServerName>,
    refused: Option<String>,
}

fn send(socket: &dyn Port, steps: &[Step], tries: &mut BTreeMap<Step, u8>) -> Result<Sent, SocketError> {
    let mut sent = Sent { done: Vec::new(), busy: Vec::new(), refused: None };
    if steps.is_empty() {
        return Ok(sent);
    }
    let commands: Vec<String> = steps.iter().map(Step::command).collect();
    let answers = socket.tell(&commands)?;
    for ((step, command), answer) in steps.iter().zip(&commands).zip(answers) {
        let tries = tries.entry(step.clone()).or_default();
        *tries += 1;
        match step.action.judge(&answer) {
            Response::Done if *tries > MAX_TRIES => {
                sent.refused.get_or_insert(format!("`{command}` has no effect"));
            }
            Response::Done => sent.done.push(step.clone()),
            // Only the end of the patience stops further attempts.
            Response::Busy => {
                *tries = 0;
                sent.busy.push(step.server.clone());
            }
            Response::Refused => {
                let answer = said(&answer, MAX_SAID);
                sent.refused.get_or_insert(format!("`{command}` was refused: {answer}"));
            }
        }
    }
    Ok(sent)
}

/// The meaning of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Response {
    Done,
    Busy,
    Refused,
}

impl Action {
    fn judge(&self, answer: &str) -> Response {
        match self {
            // Warnings may come before it.
            Action::Add(_) if answer.ends_with("New server registered.") => Response::Done,
            Action::Delete if answer.ends_with("Server deleted.") => Response::Done,
            // It has idle connections. HAProxy closes them when the server goes into maintenance. A
            // connection that becomes idle at that moment waits for `pool-purge-delay`, which takes half a
            // minute.
            Action::Delete if answer.contains("still has connections") => Response::Busy,
            Action::Add(_) | Action::Delete => Response::Refused,
            _ if answer.is_empty() => Response::Done,
            _ => Response::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::socket::Socket;
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;

    const CONFIG: &str = "backend b\n server a 10.0.0.1:80\n";
    const STAT: &str =
        "# pxname,svname,scur,check_status,check_rise,check_fall,check_health,cookie\nb,a,0,,,,,\n";
    const STATES: &str = "1\n# be_name srv_name srv_id srv_addr srv_port srv_op_state srv_admin_state srv_uweight srv_time_since_last_change srv_check_state srv_check_port\n";

    /// A HAProxy that never changes, and gives every command the same answer.
    fn stubborn(server: &'static str, answer: &'static str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                for line in BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok) {
                    let last = line.starts_with("show");
                    let answer = match line.as_str() {
                        "show servers state" => format!("{STATES}{server}\n"),
                        "prompt" => "\n> ".to_owned(),
                        _ if last => format!("{STAT}\n"),
                        _ => format!("{answer}\n> "),
                    };
                    stream.write_all(answer.as_bytes()).unwrap();
                    if last {
                        break;
                    }
                }
            }
        });
        (dir, path)
    }

    #[track_caller]
    fn check(server: &'static str, answer: &'static str, expect: &str) {
        let (_dir, socket) = stubborn(server, answer);
        let request = ApplyRequest {
            socket: &Socket::new(&socket),
            old: CONFIG,
            new: CONFIG,
            overrides: &(),
            patience: Duration::from_millis(50),
        };
        let outcome = apply(&request).unwrap();
        let pending: Vec<String> = outcome.pending.iter().map(Waiting::to_string).collect();
        assert_eq!(outcome.reload_needed.unwrap_or_else(|| pending.join("; ")), expect);
    }

    #[test]
    fn what_is_refused_or_has_no_effect_needs_a_reload() {
        const READY: &str = "b a 1 10.0.0.1 80 2 0 1 9 0 0\n";
        const MAINT: &str = "b a 1 10.0.0.1 80 0 1 1 9 0 0\n";
        check(READY, "", "");
        check(MAINT, "", "`set server b/a state ready` has no effect");
        check(
            "",
            "No such backend.",
            "`add server b/a 10.0.0.1:80 pool-max-conn -1 pool-purge-delay 5s` was refused: No such backend.",
        );
    }

    #[test]
    fn a_server_that_cannot_go_yet_is_pending() {
        let (_dir, socket) = stubborn(
            "b a 1 10.0.0.1 80 0 1 1 9 0 0\n",
            "Server still has connections attached to it, cannot remove it.",
        );
        let config = "backend b\n";
        let request = ApplyRequest {
            socket: &Socket::new(&socket),
            old: config,
            new: config,
            overrides: &(),
            patience: Duration::from_millis(50),
        };
        let outcome = apply(&request).unwrap();
        assert_eq!((outcome.pending.len(), outcome.reload_needed), (1, None));
        assert_eq!(outcome.pending[0].to_string(), "b/a waits for its idle connections to be closed");
    }
}
