//! HTTP requests, and the connections that are kept between them.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ureq::http::{self, Response, StatusCode, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, AsSendBody, Body, BodyReader};

use super::login::{Login, Logins};
use super::proxy::{self, Proxy};
use super::request::{HttpRequest, base_url};
use super::{Settings, failure, redirect};
use crate::address::{Address, Scheme};
use crate::configuration::{configuration, of_http};
use crate::connection::{self, Service, dialogue, filter, late, retry};
use crate::{Deadline, Limits, Timeouts, TransportError};

/// The most redirections to follow.
const MAX_REDIRECTS: usize = 5;

/// The most bytes to read to the end of an answer, so that its connection can be reused.
const MAX_REST: u64 = 64 * 1024;

/// Some git hosts require `git/` before they use this protocol.
const USER_AGENT: &str = concat!("git/2.0 (presence ", env!("CARGO_PKG_VERSION"), ")");

/// The shared state of all connections of the process: kept-alive connections and logins.
pub(in super::super) struct Client {
    settings: Settings,
    timeouts: Timeouts,
    limits: Limits,
    logins: Logins,
    /// One for each way to a server, created on demand: reading the certificates of all authorities costs
    /// more than a whole publish.
    agents: Mutex<HashMap<Way, Agent>>,
}

/// What connections have in common: the trusted authorities and the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Way {
    secure: bool,
    /// The file of authorities, and the setting that names it; `None` means the system's.
    authorities: Option<(&'static str, PathBuf)>,
    proxy: Option<Proxy>,
}

impl Client {
    pub(in super::super) fn new(settings: &connection::Settings) -> Client {
        let (timeouts, limits) = (settings.timeouts, settings.limits);
        let credentials = settings.credentials.clone();
        let settings = settings.http.clone();
        let logins = Logins::new(settings.token.clone(), credentials, timeouts.silence);
        Client { settings, timeouts, limits, logins, agents: Mutex::default() }
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How to reach that repository.
    fn way(&self, address: &Address) -> Result<Way, TransportError> {
        let url = base_url(address);
        let proxy = proxy::of(&self.settings.proxies, address, &url)?;
        let secure = address.scheme == Scheme::Https;
        let authorities = if secure { self.authorities(&url)? } else { None };
        Ok(Way { secure, authorities, proxy })
    }

    fn agent(&self, way: &Way) -> Result<Agent, TransportError> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(way) {
            return Ok(agent.clone());
        }
        let agent = self.new_agent(way)?;
        agents.insert(way.clone(), agent.clone());
        Ok(agent)
    }

    fn new_agent(&self, way: &Way) -> Result<Agent, TransportError> {
        let roots = roots(way.authorities.as_ref())?;
        let agent = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .proxy(way.proxy.as_ref().and_then(Proxy::to_ureq))
            // `failure` and `redirect` handle both.
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(USER_AGENT)
            .timeout_resolve(Some(self.timeouts.connect))
            .timeout_connect(Some(self.timeouts.connect))
            .timeout_per_read(Some(self.timeouts.silence))
            .timeout_per_write(Some(self.timeouts.silence))
            .build()
            .new_agent();
        Ok(agent)
    }

    /// The file of trusted authorities: `GIT_SSL_CAINFO`, `http.sslCAInfo` of git's configuration,
    /// `SSL_CERT_FILE`.
    fn authorities(&self, url: &str) -> Result<Option<(&'static str, PathBuf)>, TransportError> {
        let [first, last] = &self.settings.authorities;
        if first.is_some() {
            return Ok(first.clone());
        }
        let variable = "http.sslCAInfo";
        let configured = configuration().and_then(|config| of_http(&config, "sslcainfo", url));
        let configured = configured.map_err(|error| {
            let reason = error.message().to_owned();
            TransportError::Authorities { path: variable.into(), variable, reason }
        })?;
        let home = |path: String| match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
            (Some(below), Some(home)) => PathBuf::from(home).join(below),
            _ => PathBuf::from(path),
        };
        let configured = configured.filter(|path| !path.is_empty()).map(|path| (variable, home(path)));
        Ok(configured.or_else(|| last.clone()))
    }

    /// Sends the request, and logs in if the server asks for it. Returns a correct answer of git's protocol
    /// or a redirection; anything else is an error.
    pub(super) fn exchange(
        &self,
        address: &Address,
        request: &HttpRequest<'_>,
        deadline: Deadline,
    ) -> Result<Response<Body>, TransportError> {
        let mut login = self.logins.known(address);
        let mut response = self.send(address, request, login.as_ref(), deadline)?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(fresh) = self.logins.ask(address, &base_url(address), login.as_ref(), deadline)?
        {
            drain(response.into_body().into_reader());
            login = Some(fresh);
            response = self.send(address, request, login.as_ref(), deadline)?;
        }
        failure::judge(response, address, request, login.as_ref())
    }

    fn send(
        &self,
        address: &Address,
        request: &HttpRequest<'_>,
        login: Option<&Login>,
        deadline: Deadline,
    ) -> Result<Response<Body>, TransportError> {
        let peer = address.peer();
        if let Some(late) = late(&peer, deadline) {
            return Err(late);
        }
        let way = self.way(address)?;
        let agent = &self.agent(&way)?;
        let url = format!("{}{}", base_url(address), request.suffix());
        let mut builder = http::Request::builder().uri(url).header(header::ACCEPT, request.answer_type());
        if let Some(login) = login {
            builder = builder.header(header::AUTHORIZATION, login.header());
        }
        let sent = match request.body {
            None => {
                builder.body(()).map_err(ureq::Error::from).and_then(|request| run(agent, request, deadline))
            }
            Some(body) => builder
                .method(http::Method::POST)
                .header(header::CONTENT_TYPE, format!("application/x-{}-request", request.service.program()))
                .body(body)
                .map_err(ureq::Error::from)
                .and_then(|request| run(agent, request, deadline)),
        };
        sent.map_err(|error| match way.proxy {
            Some(proxy) => failure::on_the_way(error, proxy.shown, address, &self.timeouts, deadline),
            None => failure::of(error, address, &self.timeouts, deadline),
        })
    }

    /// Requests the refs. Returns the repository's final address, and the filtered answer.
    pub(in super::super) fn references(
        &self,
        mut address: Address,
        service: Service,
        deadline: Deadline,
    ) -> Result<(Address, Vec<u8>), TransportError> {
        let request = HttpRequest { service, body: None };
        for _ in 0..MAX_REDIRECTS {
            let response = retry::connecting(self.timeouts.connect, deadline, |_| {
                self.exchange(&address, &request, deadline)
            })?;
            if response.status().is_redirection() {
                address = redirect::follow(&address, &response, &request.suffix())?;
                drain(response.into_body().into_reader());
                continue;
            }
            let mut answer = response.into_body().into_reader();
            let mut first = Vec::new();
            let read = answer.by_ref().take(dialogue::FIRST as u64).read_to_end(&mut first);
            read.map_err(|error| failure::of(error.into(), &address, &self.timeouts, deadline))?;
            if dialogue::is_sha256(&first) {
                return Err(TransportError::Sha256 { peer: address.peer() });
            }
            let mut all = first.as_slice().chain(answer);
            let seen = filter::read(&address.peer(), &self.limits, |buffer| {
                all.read(buffer)
                    .map_err(|error| failure::of(error.into(), &address, &self.timeouts, deadline))
            })?;
            drain(all.into_inner().1);
            return Ok((address, seen));
        }
        Err(TransportError::Protocol {
            peer: address.peer(),
            reason: format!("it redirected more than {MAX_REDIRECTS} times"),
        })
    }
}

/// Sends the request. Request and answer are limited to the time left to the operation.
fn run<S: AsSendBody>(
    agent: &Agent,
    request: http::Request<S>,
    deadline: Deadline,
) -> Result<Response<Body>, ureq::Error> {
    agent.run(agent.configure_request(request).timeout_global(Some(deadline.left())).build())
}

/// The trusted authorities: only those of the file if there is one, else the system's.
fn roots(authorities: Option<&(&'static str, PathBuf)>) -> Result<RootCerts, TransportError> {
    let Some((variable, path)) = authorities else { return Ok(RootCerts::PlatformVerifier) };
    let unusable = |reason| TransportError::Authorities { path: path.clone(), variable, reason };
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    match certificates.is_empty() {
        true => Err(unusable("it contains no certificate".into())),
        false => Ok(RootCerts::Specific(Arc::new(certificates))),
    }
}

/// Reads the rest of an answer, so that the connection can be reused.
pub(super) fn drain(reader: BodyReader<'_>) {
    // If this fails, the connection is not reused.
    let _ = io::copy(&mut reader.take(MAX_REST), &mut io::sink());
}
