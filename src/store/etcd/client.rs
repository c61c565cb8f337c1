//! Requests to the members of a cluster: one after the other until one answers, within the deadline.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::debug;
use ureq::http::{self, Response, header};
use ureq::{Agent, Body, BodyReader};

use super::address::Address;
use super::error::{EtcdError, Refusal};
use super::settings::Settings;
use super::wire::{AuthRequest, AuthResponse, Streamed, WatchResponse};
use crate::deadline::Deadline;
use crate::limits;
use crate::sanitize::said;
use crate::schedule::back_off;

/// How long a member may take to begin its answer if another one can be asked instead.
const QUICK: Duration = Duration::from_secs(3);

/// The same for the last resort. etcd itself gives up after 7 seconds without a quorum.
const PATIENT: Duration = Duration::from_secs(10);

/// The waits between two rounds.
const BASE: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// The most bytes of headers, of an error, and of one message of a watch.
const MAX_HEADERS: usize = 64 * 1024;
const MAX_ERROR: u64 = 64 * 1024;
const MAX_MESSAGE: u64 = 16 * 1024 * 1024;

/// The most characters of an error that are repeated.
const MAX_SAID: usize = 200;

/// What a request does, and so how long it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Read,
    Write,
}

impl Act {
    fn verb(self) -> &'static str {
        match self {
            Act::Read => "read",
            Act::Write => "write",
        }
    }
}

/// Why a member did not do what it was asked for.
enum Failure {
    /// It does not answer.
    Silent(String),
    /// It answers that it cannot serve now.
    Unable(String),
    /// Its token is not valid.
    Token(String),
    /// Every member would answer the same.
    Final(EtcdError),
}

/// The client of one cluster. It lives as long as the program, and keeps connections and the login.
pub(super) struct Client {
    address: Address,
    settings: Settings,
    timeouts: presence_git::Timeouts,
    agent: OnceLock<Agent>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The member that answered last.
    preferred: usize,
    token: Option<String>,
}

impl Client {
    pub(super) fn new(address: Address, settings: Settings, timeouts: presence_git::Timeouts) -> Client {
        Client { address, settings, timeouts, agent: OnceLock::new(), state: Mutex::default() }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks members until one answers.
    pub(super) fn call<A: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
        act: Act,
        deadline: Deadline,
    ) -> Result<A, EtcdError> {
        self.until_one_answers(act, deadline, |endpoint, limit| {
            let response = self.send(endpoint, path, request, act, limit, deadline)?;
            self.decode(endpoint, response)
        })
    }

    /// Asks only that member, once.
    pub(super) fn call_member<A: DeserializeOwned>(
        &self,
        endpoint: usize,
        path: &str,
        request: &impl Serialize,
        deadline: Deadline,
    ) -> Result<(A, Option<String>), EtcdError> {
        let asked = || -> Result<(A, Option<String>), Failure> {
            let response = self.send(endpoint, path, request, Act::Read, QUICK, deadline)?;
            let date = response.headers().get(header::DATE).and_then(|date| date.to_str().ok());
            let date = date.map(str::to_owned);
            Ok((self.decode(endpoint, response)?, date))
        };
        self.with_login(&asked).map_err(|failure| self.sum_up(&[(endpoint, failure)]))
    }

    /// Opens a watch at the first member that takes it.
    pub(super) fn watch(
        &self,
        request: &impl Serialize,
        deadline: Deadline,
    ) -> Result<(Watch, WatchResponse), EtcdError> {
        self.until_one_answers(Act::Read, deadline, |endpoint, limit| {
            let response = self.send(endpoint, "/v3/watch", request, Act::Read, limit, deadline)?;
            let messages = BufReader::new(response.into_body().into_reader());
            let mut watch = Watch { endpoint, messages };
            match self.message(&mut watch)? {
                Some(first) => Ok((watch, first)),
                None => Err(Failure::Silent("it accepts a watch and sends nothing".to_owned())),
            }
        })
    }

    /// The next message of a watch. `None` if there was none for some time, or the stream has ended.
    pub(super) fn next(&self, watch: &mut Watch) -> Result<Option<WatchResponse>, EtcdError> {
        let endpoint = watch.endpoint;
        self.message(watch).map_err(|failure| self.sum_up(&[(endpoint, failure)]))
    }

    /// Another member gets the next request.
    pub(super) fn avoid(&self, endpoint: usize) {
        let mut state = self.state();
        if state.preferred == endpoint {
            state.preferred = (endpoint + 1) % self.address.endpoints.len();
        }
    }

    fn message(&self, watch: &mut Watch) -> Result<Option<WatchResponse>, Failure> {
        let mut line = Vec::new();
        let read = watch.messages.by_ref().take(MAX_MESSAGE).read_until(b'\n', &mut line);
        match read {
            Ok(0) => return Ok(None),
            Err(error) if line.is_empty() && is_silence(&error) => return Ok(None),
            Err(error) => return Err(Failure::Silent(said(&error.to_string(), MAX_SAID))),
            // More than fits: something has changed.
            Ok(_) if line.last() != Some(&b'\n') && line.len() as u64 == MAX_MESSAGE => {
                return Ok(Some(WatchResponse {
                    events: vec![serde::de::IgnoredAny],
                    ..WatchResponse::default()
                }));
            }
            Ok(_) => {}
        }
        let message: Streamed<WatchResponse> =
            serde_json::from_slice(&line).map_err(|error| self.wrong(watch.endpoint, &error.to_string()))?;
        match (message.result, message.error) {
            (Some(result), _) if !result.cancel_reason.is_empty() && result.compact_revision == 0 => {
                Err(self.refused(watch.endpoint, &result.cancel_reason, Act::Read))
            }
            (Some(result), _) => Ok(Some(result)),
            (None, Some(error)) => Err(self.refused(watch.endpoint, &error.message, Act::Read)),
            (None, None) => Err(self.wrong(watch.endpoint, "a message without a result")),
        }
    }

    /// Asks one member after the other, in rounds, beginning with the one that answered last.
    fn until_one_answers<A>(
        &self,
        act: Act,
        deadline: Deadline,
        ask: impl Fn(usize, Duration) -> Result<A, Failure>,
    ) -> Result<A, EtcdError> {
        let count = self.address.endpoints.len();
        for round in 0_u32.. {
            let limit = if round == 0 && count > 1 { QUICK } else { PATIENT };
            let first = self.state().preferred;
            let mut failures = Vec::with_capacity(count);
            for endpoint in (first..first + count).map(|place| place % count) {
                if deadline.is_over() && !failures.is_empty() {
                    break;
                }
                match self.with_login(&|| ask(endpoint, deadline.at_most(limit))) {
                    Ok(answer) => {
                        self.state().preferred = endpoint;
                        return Ok(answer);
                    }
                    Err(Failure::Final(error)) => return Err(error),
                    Err(failure) => failures.push((endpoint, failure)),
                }
            }
            let unable = failures.iter().any(|(_, failure)| matches!(failure, Failure::Unable(_)));
            // A change is repeated as long as a member answers; otherwise like a connection.
            let patience =
                if act == Act::Write && unable { deadline.within() } else { self.timeouts.connect };
            let wait = back_off(round + 1, BASE, LONGEST, fastrand::f64());
            if deadline.elapsed() + wait >= patience.min(deadline.within()) {
                return Err(self.sum_up(&failures));
            }
            deadline.sleep(wait);
        }
        Err(EtcdError::Unreachable("no member was asked".to_owned()))
    }

    /// Repeats the request with a new login if the member does not know the token.
    fn with_login<A>(&self, ask: &dyn Fn() -> Result<A, Failure>) -> Result<A, Failure> {
        match ask() {
            Err(Failure::Token(_)) => {
                self.state().token = None;
                ask()
            }
            result => result,
        }
    }

    /// The error that these failures make together.
    fn sum_up(&self, failures: &[(usize, Failure)]) -> EtcdError {
        let mut reasons = Vec::with_capacity(failures.len());
        let mut answers = false;
        for (endpoint, failure) in failures {
            let place = &self.address.endpoints[*endpoint];
            match failure {
                Failure::Silent(reason) => reasons.push(format!("{place}: {reason}")),
                Failure::Unable(reason) => {
                    answers = true;
                    reasons.push(format!("{place}: {reason}"));
                }
                Failure::Token(reason) => {
                    return EtcdError::Login { endpoint: place.clone(), reason: reason.clone() };
                }
                Failure::Final(error) => return error.clone(),
            }
        }
        match answers {
            true => EtcdError::NoQuorum(reasons.join("; ")),
            false => EtcdError::Unreachable(reasons.join("; ")),
        }
    }

    fn agent(&self) -> Result<&Agent, EtcdError> {
        if let Some(agent) = self.agent.get() {
            return Ok(agent);
        }
        let agent = Agent::config_builder()
            .tls_config(self.settings.tls(self.address.secure)?)
            // etcd is a service of the own network.
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(MAX_HEADERS)
            .user_agent(concat!("presence/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(self.timeouts.connect.min(QUICK)))
            .timeout_connect(Some(self.timeouts.connect.min(QUICK)))
            .timeout_per_read(Some(self.timeouts.silence))
            .timeout_per_write(Some(self.timeouts.silence))
            .build()
            .new_agent();
        Ok(self.agent.get_or_init(|| agent))
    }

    /// Sends a request with a login, if there is a user. `limit` is the time until the answer begins.
    fn send(
        &self,
        endpoint: usize,
        path: &str,
        request: &impl Serialize,
        act: Act,
        limit: Duration,
        deadline: Deadline,
    ) -> Result<Response<Body>, Failure> {
        let token = self.token(endpoint, limit, deadline)?;
        self.post(endpoint, path, request, token.as_deref(), act, limit, deadline)
    }

    /// The token of the login; `None` without a user.
    fn token(&self, endpoint: usize, limit: Duration, deadline: Deadline) -> Result<Option<String>, Failure> {
        let Some(user) = self.settings.user() else { return Ok(None) };
        if let Some(token) = &self.state().token {
            return Ok(Some(token.clone()));
        }
        let password = self.settings.password().map_err(Failure::Final)?;
        let request = AuthRequest { name: user, password: &password };
        let path = "/v3/auth/authenticate";
        match self.post(endpoint, path, &request, None, Act::Read, limit, deadline) {
            Ok(response) => {
                let AuthResponse { token } = self.decode(endpoint, response)?;
                self.state().token = Some(token.clone());
                Ok(Some(token))
            }
            Err(Failure::Final(EtcdError::Refused { reason, .. }))
                if Refusal::of(&reason) == Refusal::NoAuth =>
            {
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a request")]
    fn post(
        &self,
        endpoint: usize,
        path: &str,
        request: &impl Serialize,
        token: Option<&str>,
        act: Act,
        limit: Duration,
        deadline: Deadline,
    ) -> Result<Response<Body>, Failure> {
        let agent = self.agent().map_err(Failure::Final)?;
        let body = serde_json::to_vec(request).map_err(|error| self.wrong(endpoint, &error.to_string()))?;
        let mut builder = http::Request::post(self.address.url(endpoint, path))
            .header(header::CONTENT_TYPE, "application/json")
            // A member without a leader ends a watch instead of keeping it without events.
            .header("Grpc-Metadata-Hasleader", "true");
        if let Some(token) = token {
            builder = builder.header(header::AUTHORIZATION, token);
        }
        let sent = builder.body(body.as_slice()).map_err(ureq::Error::from).and_then(|request| {
            let request = agent
                .configure_request(request)
                .timeout_recv_response(Some(limit))
                .timeout_global(Some(deadline.left().max(Duration::from_millis(1))))
                .build();
            agent.run(request)
        });
        let answered = sent.map_err(|error| self.silent(&error, limit));
        debug!(
            target: "etcd",
            member = self.address.endpoints[endpoint].as_str(),
            path,
            bytes = body.len(),
            status = answered.as_ref().map_or(0, |answer| answer.status().as_u16()),
            "asked"
        );
        let response = answered?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let mut text = Vec::new();
        // What cannot be read is not JSON.
        let _ = response.into_body().into_reader().take(MAX_ERROR).read_to_end(&mut text);
        match message_of(&text) {
            Some(message) => Err(self.refused(endpoint, &message, act)),
            None if status.is_server_error() => {
                Err(Failure::Unable(format!("http status {}", status.as_u16())))
            }
            None => Err(self.wrong(
                endpoint,
                &format!("http status {}: {}", status.as_u16(), String::from_utf8_lossy(&text)),
            )),
        }
    }

    fn decode<A: DeserializeOwned>(&self, endpoint: usize, response: Response<Body>) -> Result<A, Failure> {
        let body = response.into_body().into_with_config().limit(limits::get().answer_bytes).read_to_vec();
        let body = body.map_err(|error| self.silent(&error, PATIENT))?;
        serde_json::from_slice(&body).map_err(|error| self.wrong(endpoint, &error.to_string()))
    }

    fn silent(&self, error: &ureq::Error, limit: Duration) -> Failure {
        Failure::Silent(match error {
            ureq::Error::Timeout(_) => format!("no answer within {:.1} s", limit.as_secs_f64()),
            ureq::Error::HostNotFound => "its name has no address".to_owned(),
            ureq::Error::Io(error) => said(&error.to_string(), MAX_SAID),
            other => said(&other.to_string(), MAX_SAID),
        })
    }

    fn wrong(&self, endpoint: usize, reason: &str) -> Failure {
        let endpoint = self.address.endpoints[endpoint].clone();
        Failure::Final(EtcdError::WrongService { endpoint, reason: said(reason, MAX_SAID) })
    }

    /// The failure that etcd's words mean.
    fn refused(&self, endpoint: usize, words: &str, act: Act) -> Failure {
        let reason = said(words, MAX_SAID);
        let endpoint = self.address.endpoints[endpoint].clone();
        Failure::Final(match Refusal::of(words) {
            Refusal::Member => return Failure::Unable(reason),
            Refusal::Token => return Failure::Token(reason),
            Refusal::Login => EtcdError::Login { endpoint, reason },
            Refusal::Denied => {
                EtcdError::Denied { endpoint, act: act.verb(), prefix: self.address.prefix.clone() }
            }
            Refusal::Full => EtcdError::Full { endpoint },
            Refusal::Compacted => EtcdError::Compacted { endpoint },
            Refusal::NoAuth | Refusal::Other => EtcdError::Refused { endpoint, reason },
        })
    }
}

/// A stream of changes.
pub(super) struct Watch {
    pub(super) endpoint: usize,
    messages: BufReader<BodyReader<'static>>,
}

/// Whether a read ended because nothing arrived.
fn is_silence(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
    matches!(inner, Some(ureq::Error::Timeout(_)))
        || matches!(error.kind(), std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock)
}

/// etcd's words in an answer that is an error.
fn message_of(answer: &[u8]) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_slice(answer).ok()?;
    let error = answer.get("error");
    let said = [error, error.and_then(|error| error.get("message")), answer.get("message")];
    said.into_iter().flatten().find_map(|said| said.as_str().map(str::to_owned))
}
