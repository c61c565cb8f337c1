//! The sending half of git's push protocol (gitprotocol-pack(5)), as far as publishing needs it.
//!
//! libgit2's own push cannot decide by the server's refs what to send on the same connection. It has no
//! atomic push of several refs, sends whole trees, and cannot push from a shallow repository. With 10,000
//! nodes, that costs 340 KB and a second connection for a change of 300 bytes.

mod advert;
mod delta;
mod pack;
mod pktline;

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use git2::Oid;
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};

use super::transport::take_answered_in;
use crate::limits;
use advert::Advert;
#[cfg(test)]
pub(super) use pack::deflated;
pub(super) use pack::{added, pack_of};

/// The capabilities of this client, besides `report-status`.
const WANTED: [&str; 3] = ["side-band-64k", "quiet", "atomic"];

/// A change of one ref, on condition that it still names `old`.
#[derive(Debug, Clone)]
pub(super) struct RefUpdate {
    /// The ref.
    pub(super) name: String,
    /// The required old target; `None` if the ref must not exist.
    pub(super) old: Option<Oid>,
    /// The new target; `None` deletes the ref.
    pub(super) new: Option<Oid>,
}

impl RefUpdate {
    /// Deletes the ref, if it still names `old`.
    pub(super) fn deletion(name: &str, old: Oid) -> RefUpdate {
        RefUpdate { name: name.to_owned(), old: Some(old), new: None }
    }
}

/// The server's report on a push.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Why the server accepted no objects at all.
    pub(super) unpack: Option<String>,
    /// The refs that were refused, and the server's reason.
    pub(super) refused: Vec<(String, String)>,
    /// The output of hooks and the server for people.
    pub(super) said: String,
}

/// A connection to the server's receive-pack, after its advertisement.
pub(super) struct Session {
    transport: Box<dyn SmartSubtransport>,
    /// Whether each request is a connection of its own, as in smart HTTP.
    rpc: bool,
    url: String,
    stream: Box<dyn SmartSubtransportStream>,
    advert: Advert,
    opened_in: Duration,
}

impl Session {
    /// Connects and reads the advertisement.
    pub(super) fn open(
        transport: Box<dyn SmartSubtransport>,
        rpc: bool,
        url: &str,
    ) -> Result<Session, SessionError> {
        let started = Instant::now();
        // A value that an earlier connection left says nothing about this one.
        let _ = take_answered_in();
        let mut stream = transport.action(url, Service::ReceivePackLs)?;
        let begun = take_answered_in().map_or(started, |time| Instant::now() - time);
        let advert = Advert::read(&mut stream)?;
        Ok(Session { transport, rpc, url: url.to_owned(), stream, advert, opened_in: begun.elapsed() })
    }

    /// How long the server took to send its refs.
    pub(super) fn opened_in(&self) -> Duration {
        self.opened_in
    }

    pub(super) fn advert(&self) -> &Advert {
        &self.advert
    }

    /// Sends the commands with their objects, and reads the report. With `atomic`, all refs change or none;
    /// the server must support that.
    pub(super) fn send(
        mut self,
        commands: &[RefUpdate],
        pack: &[u8],
        atomic: bool,
    ) -> Result<Report, SessionError> {
        let mut request = Vec::new();
        let mut abilities = String::from("report-status object-format=sha1");
        if !self.advert.can("object-format=sha1") {
            abilities.truncate("report-status".len());
        }
        for ability in WANTED {
            if self.advert.can(ability) && (ability != "atomic" || atomic) {
                abilities.push(' ');
                abilities.push_str(ability);
            }
        }
        abilities.push_str(concat!(" agent=presence/", env!("CARGO_PKG_VERSION")));
        for (index, command) in commands.iter().enumerate() {
            let oid = |oid: Option<Oid>| oid.unwrap_or(Oid::ZERO_SHA1);
            let mut line = format!("{} {} {}", oid(command.old), oid(command.new), command.name);
            if index == 0 {
                line.push_str("\0 ");
                line.push_str(&abilities);
            }
            pktline::append(&mut request, line.as_bytes());
        }
        request.extend_from_slice(pktline::FLUSH);
        // gitprotocol-pack(5): a pack is sent unless every command is a deletion.
        if commands.iter().any(|command| command.new.is_some()) {
            request.extend_from_slice(pack);
        }
        if self.rpc {
            self.stream = self.transport.action(&self.url, Service::ReceivePack)?;
        }
        let stream = &mut self.stream;
        stream.write_all(&request)?;
        stream.flush()?;
        match self.advert.can("side-band-64k") {
            true => {
                let mut band = SideBand { from: stream, rest: Vec::new(), said: Vec::new(), length: 0 };
                let report = Report::read(&mut band)?;
                // The output of post-receive hooks follows the report.
                io::copy(&mut band, &mut io::sink())?;
                let said = String::from_utf8_lossy(&band.said).trim().to_owned();
                Ok(Report { said, ..report })
            }
            false => Ok(Report::read(stream)?),
        }
    }

    /// Ends the connection without a change, in the way of the protocol.
    pub(super) fn leave(mut self) {
        // Smart HTTP has no connection to end. Elsewhere the server also sees the end of the stream.
        let _ = self.stream.write_all(pktline::FLUSH).and_then(|()| self.stream.flush());
        let _ = self.transport.close();
    }
}

impl Report {
    /// Whether that ref was refused.
    pub(super) fn refuses(&self, name: &str) -> bool {
        self.refused.iter().any(|(refused, _)| refused == name)
    }

    fn read(from: &mut dyn Read) -> io::Result<Report> {
        let mut report = Report::default();
        let mut length = 0;
        while let Some(line) = pktline::read(from)? {
            measure(&mut length, line.len())?;
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end();
            if let Some(result) = line.strip_prefix("unpack ") {
                report.unpack = (result != "ok").then(|| result.to_owned());
            } else if let Some(refused) = line.strip_prefix("ng ") {
                let (name, reason) = refused.split_once(' ').unwrap_or((refused, "no reason given"));
                report.refused.push((name.to_owned(), reason.to_owned()));
            }
        }
        Ok(report)
    }
}

/// Extracts the report from the server's bands: 1 is data, 2 output for people, 3 a fatal error.
struct SideBand<'a> {
    from: &'a mut dyn Read,
    rest: Vec<u8>,
    said: Vec<u8>,
    /// The bytes received so far.
    length: usize,
}

/// Adds to the length of a server's report, which is limited.
fn measure(length: &mut usize, more: usize) -> io::Result<()> {
    // An empty packet takes time, too.
    *length += more + 4;
    match *length > limits::get().report_bytes {
        true => Err(io::Error::other(format!(
            "the server sends more than {} bytes of messages about a push",
            limits::get().report_bytes
        ))),
        false => Ok(()),
    }
}

/// The most bytes of output for people to keep.
const MAX_SAID: usize = 16 * 1024;

impl Read for SideBand<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            let Some(mut packet) = pktline::read(self.from)? else { return Ok(0) };
            measure(&mut self.length, packet.len())?;
            match packet.first() {
                Some(1) => {
                    packet.remove(0);
                    self.rest = packet;
                }
                Some(2) if self.said.len() < MAX_SAID => self.said.extend_from_slice(&packet[1..]),
                Some(2) => {}
                Some(3) => {
                    let last = String::from_utf8_lossy(&packet[1..]).trim().to_owned();
                    return Err(io::Error::other(format!("the server says: {last}")));
                }
                _ => return Err(pktline::garbage("a packet with an unknown band".into())),
            }
        }
        let length = into.len().min(self.rest.len());
        into[..length].copy_from_slice(&self.rest[..length]);
        self.rest.drain(..length);
        Ok(length)
    }
}

/// Why a push did not complete. It is then unknown whether the server accepted it.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// The connection failed or broke.
    #[error(transparent)]
    Git(#[from] git2::Error),
    /// The stream broke, or its content is not git's protocol.
    #[error(transparent)]
    Io(#[from] io::Error),
}
