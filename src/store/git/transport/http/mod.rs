//! `http://` and `https://`: git's smart protocol as requests and answers
//! (<https://git-scm.com/docs/gitprotocol-http>).

mod client;
mod failure;
mod login;
mod proxy;
mod redirect;

use std::cell::RefCell;
use std::env;
use std::io::{self, Cursor, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use git2::transport::{Service as Action, SmartSubtransport};
use ureq::BodyReader;

use super::address::{Address, Secret};
use super::guard::Guard;
use super::wire::{self, Service};
use super::{Stream, TransportError, error, forget_last_error};

pub(super) use client::Client;
use client::HttpRequest;

/// Settings of http from the environment.
#[derive(Debug, Clone, Default)]
pub struct Settings {
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

/// One operation of libgit2 on one repository.
pub(super) struct Http {
    client: Arc<Client>,
    /// The repository's address after redirections.
    place: RefCell<Option<Address>>,
}

impl Http {
    pub(super) fn new(client: Arc<Client>) -> Http {
        Http { client, place: RefCell::new(None) }
    }

    fn list(&self, url: &str, service: Service) -> Result<Stream, TransportError> {
        let (place, bytes) = self.client.references(Address::parse(url)?, service)?;
        self.place.replace(Some(place));
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn call(&self, url: &str, service: Service) -> Result<Stream, TransportError> {
        let place = self.place.borrow().clone();
        let address = place.map_or_else(|| Address::parse(url), Ok)?;
        let (client, body) = (self.client.clone(), Vec::new());
        let guard = (service == Service::UploadPack).then(Guard::default);
        Ok(Box::new(Call { client, address, service, body, answer: None, guard, refusal: None }))
    }
}

impl SmartSubtransport for Http {
    fn action(&self, url: &str, action: Action) -> Result<Stream, git2::Error> {
        let stream = match action {
            Action::UploadPackLs | Action::ReceivePackLs => {
                forget_last_error();
                let push = action == Action::ReceivePackLs;
                self.list(url, if push { Service::ReceivePack } else { Service::UploadPack })
            }
            Action::UploadPack => self.call(url, Service::UploadPack),
            Action::ReceivePack => self.call(url, Service::ReceivePack),
        };
        stream.map_err(error::to_git)
    }

    fn close(&self) -> Result<(), git2::Error> {
        self.place.replace(None);
        Ok(())
    }
}

/// A POST: collects what is written, sends it at the first read, and then reads the answer.
struct Call {
    client: Arc<Client>,
    address: Address,
    service: Service,
    body: Vec<u8>,
    answer: Option<BodyReader<'static>>,
    guard: Option<Guard>,
    /// The server's reason for ending the answer.
    refusal: Option<String>,
}

impl Call {
    fn answer(&mut self) -> Result<&mut BodyReader<'static>, TransportError> {
        if self.answer.is_none() {
            let request = HttpRequest { service: self.service, body: Some(&self.body) };
            let response = self.client.exchange(&self.address, &request)?;
            self.body = Vec::new();
            self.answer = Some(response.into_body().into_reader());
        }
        self.answer.as_mut().ok_or_else(|| TransportError::Closed { peer: self.address.peer() })
    }
}

impl Read for Call {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.answer().map_err(error::to_io)?.read(buffer);
        let count = read
            .map_err(|error| error::to_io(failure::of(error.into(), &self.address, self.client.limits())))?;
        let peer = || self.address.peer();
        if count == 0 && !buffer.is_empty() {
            error::remember(match self.refusal.take() {
                Some(said) => TransportError::Refused { peer: peer(), said },
                None => TransportError::Closed { peer: peer() },
            });
        }
        if let Some(guard) = &mut self.guard {
            let seen = guard.see(&buffer[..count]);
            seen.map_err(|excess| error::to_io(TransportError::excess(&self.address.peer(), excess)))?;
        }
        if let Some(said) = wire::refusal(&buffer[..count]) {
            error::remember(TransportError::Refused { peer: peer(), said: said.clone() });
            self.refusal = Some(said);
        }
        Ok(count)
    }
}

impl Write for Call {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.body.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            client::drain(answer);
        }
    }
}
