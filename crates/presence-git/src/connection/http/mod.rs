//! `http://` and `https://`: git's smart protocol as requests and answers
//! (<https://git-scm.com/docs/gitprotocol-http>).

mod client;
mod failure;
mod login;
mod proxy;
mod redirect;
mod request;

use std::env;
use std::io::{Cursor, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ureq::BodyReader;

use super::dialogue::refusal;
use super::guard::Guard;
use super::{Connection, Service};
use crate::address::{Address, Secret};
use crate::{Deadline, TransportError};

pub(super) use client::Client;
use request::HttpRequest;

/// Settings of http from the environment.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    token: Option<Secret>,
    /// Files of trusted authorities: the first takes precedence over git's configuration, the second comes
    /// after it.
    authorities: [Option<(&'static str, PathBuf)>; 2],
    proxies: proxy::Variables,
}

impl Settings {
    pub(super) fn from_env() -> Settings {
        let said = |name| env::var_os(name).filter(|value| !value.is_empty());
        Settings {
            token: said("PRESENCE_GIT_TOKEN").map(|token| Secret(token.to_string_lossy().trim().to_owned())),
            authorities: ["GIT_SSL_CAINFO", "SSL_CERT_FILE"]
                .map(|name| Some((name, PathBuf::from(said(name)?)))),
            proxies: proxy::Variables::from_env(),
        }
    }
}

/// Requests the refs.
pub(super) fn open(
    client: &Arc<Client>,
    address: Address,
    service: Service,
    deadline: Deadline,
) -> Result<Http, TransportError> {
    let (address, advertisement) = client.references(address, service, deadline)?;
    Ok(Http {
        client: client.clone(),
        address,
        service,
        deadline,
        exchange: Exchange::Advertised(Cursor::new(advertisement)),
        refusal: None,
    })
}

/// A conversation with a web server: the refs, then any number of requests.
pub(super) struct Http {
    client: Arc<Client>,
    /// The repository's address after redirections.
    address: Address,
    service: Service,
    deadline: Deadline,
    exchange: Exchange,
    /// The server's reason for ending the answer.
    refusal: Option<String>,
}

/// The current exchange.
enum Exchange {
    /// The refs are being read.
    Advertised(Cursor<Vec<u8>>),
    /// The body of a POST is being collected. It is sent at the first read.
    Asking(Vec<u8>),
    /// The answer to it is being read.
    Answered(Box<Answer>),
}

/// The answer to a request.
struct Answer {
    reader: BodyReader<'static>,
    guard: Option<Guard>,
}

impl Http {
    /// Sends the collected request, if any.
    fn ask(&mut self) -> Result<(), TransportError> {
        if let Exchange::Asking(body) = &self.exchange {
            let request = HttpRequest { service: self.service, body: Some(body) };
            let response = self.client.exchange(&self.address, &request, self.deadline)?;
            let guard = (self.service == Service::UploadPack).then(|| Guard::new(self.client.limits()));
            let reader = response.into_body().into_reader();
            self.exchange = Exchange::Answered(Box::new(Answer { reader, guard }));
        }
        Ok(())
    }
}

impl Connection for Http {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, TransportError> {
        self.ask()?;
        let answer = match &mut self.exchange {
            // Reading from memory does not fail.
            Exchange::Advertised(advertisement) => return Ok(advertisement.read(into).unwrap_or_default()),
            Exchange::Asking(_) => return Ok(0),
            Exchange::Answered(answer) => answer,
        };
        let count = answer.reader.read(into).map_err(|error| {
            failure::of(error.into(), &self.address, &self.client.timeouts(), self.deadline)
        })?;
        if let Some(guard) = &mut answer.guard {
            let seen = guard.see(&into[..count]);
            seen.map_err(|excess| TransportError::excess(&self.address.peer(), excess))?;
        }
        if let Some(said) = refusal(&into[..count]) {
            self.refusal = Some(said);
        }
        Ok(count)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        match &mut self.exchange {
            Exchange::Asking(body) => body.extend_from_slice(bytes),
            exchange => {
                let before = std::mem::replace(exchange, Exchange::Asking(bytes.to_vec()));
                if let Exchange::Answered(answer) = before {
                    client::drain(answer.reader);
                }
            }
        }
        Ok(())
    }

    fn ended(&mut self) -> TransportError {
        let peer = self.address.peer();
        match self.refusal.take() {
            Some(said) => TransportError::Refused { peer, said },
            None => TransportError::Closed { peer },
        }
    }

    fn answered_in(&self) -> Option<Duration> {
        None
    }

    fn is_stateless(&self) -> bool {
        true
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        let last = std::mem::replace(&mut self.exchange, Exchange::Asking(Vec::new()));
        if let Exchange::Answered(answer) = last {
            client::drain(answer.reader);
        }
    }
}
