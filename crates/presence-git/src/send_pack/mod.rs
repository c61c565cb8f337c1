//! The sending half of git's push protocol (gitprotocol-pack(5)), as far as publishing needs it.
//!
//! libgit2's own push cannot decide by the server's refs what to send on the same connection. It has no
//! atomic push of several refs, sends whole trees, and cannot push from a shallow repository. With 10,000
//! nodes, that costs 340 KB and a second connection for a change of 300 bytes.

mod pack;
mod tree_delta;

use std::time::{Duration, Instant};

use git2::Oid;

use crate::advertisement::Advertisement;
pub use crate::error::SessionError;
use crate::pktline::{self, Source};
use crate::{Client, Connection, Deadline, Service};
#[cfg(test)]
pub(crate) use pack::deflated;
pub use pack::{NewCommit, added, pack_of};

/// The capabilities of this client, besides `report-status`.
const WANTED: [&str; 3] = ["side-band-64k", "quiet", "atomic"];

/// A change of one ref, on condition that it still names `old`.
#[derive(Debug, Clone)]
pub struct RefUpdate {
    /// The ref.
    pub name: String,
    /// The required old target; `None` if the ref must not exist.
    pub old: Option<Oid>,
    /// The new target; `None` deletes the ref.
    pub new: Option<Oid>,
}

impl RefUpdate {
    /// Deletes the ref, if it still names `old`.
    pub fn deletion(name: &str, old: Oid) -> RefUpdate {
        RefUpdate { name: name.to_owned(), old: Some(old), new: None }
    }
}

/// The server's report on a push.
#[derive(Debug, Default)]
pub struct Report {
    /// Why the server accepted no objects at all.
    pub unpack: Option<String>,
    /// The refs that were refused, and the server's reason.
    pub refused: Vec<(String, String)>,
    /// The output of hooks and the server for people.
    pub said: String,
}

/// A connection to the server's receive-pack, after its advertisement.
pub struct Session {
    connection: Box<dyn Connection>,
    advertisement: Advertisement,
    opened_in: Duration,
    /// The most bytes of a report.
    most: usize,
}

impl Session {
    /// Connects and reads the advertisement.
    pub fn open(client: &Client, url: &str, deadline: Deadline) -> Result<Session, SessionError> {
        let started = Instant::now();
        let connection = client.connect(url, Service::ReceivePack, deadline)?;
        let begun = connection.answered_in().map_or(started, |time| Instant::now() - time);
        let session = Session::on(connection, client.limits().report_bytes)?;
        Ok(Session { opened_in: begun.elapsed(), ..session })
    }

    /// Reads the advertisement from a connection. `most` is the limit for the report on a push, in bytes.
    pub fn on(mut connection: Box<dyn Connection>, most: usize) -> Result<Session, SessionError> {
        let advertisement = Advertisement::read(&mut connection)?;
        Ok(Session { connection, advertisement, opened_in: Duration::ZERO, most })
    }

    /// How long the server took to send its refs.
    pub fn opened_in(&self) -> Duration {
        self.opened_in
    }

    /// The server's refs and capabilities.
    pub fn advertisement(&self) -> &Advertisement {
        &self.advertisement
    }

    /// Sends the commands with their objects, and reads the report. With `atomic`, all refs change or none;
    /// the server must support that.
    pub fn send(mut self, commands: &[RefUpdate], pack: &[u8], atomic: bool) -> Result<Report, SessionError> {
        let mut request = Vec::new();
        let mut abilities = String::from("report-status object-format=sha1");
        if !self.advertisement.can("object-format=sha1") {
            abilities.truncate("report-status".len());
        }
        for ability in WANTED {
            if self.advertisement.can(ability) && (ability != "atomic" || atomic) {
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
        self.connection.send(&request)?;
        let most = self.most;
        let from: &mut dyn Source = &mut self.connection;
        match self.advertisement.can("side-band-64k") {
            true => {
                let mut band = SideBand { from, rest: Vec::new(), said: Vec::new(), length: 0, most };
                let report = Report::read(&mut band, most)?;
                // The output of post-receive hooks follows the report.
                while band.read(&mut [0; 4096])? > 0 {}
                let said = String::from_utf8_lossy(&band.said).trim().to_owned();
                Ok(Report { said, ..report })
            }
            false => Report::read(from, most),
        }
    }

    /// Ends the connection without a change, in the way of the protocol.
    pub fn leave(mut self) {
        if !self.connection.is_stateless() {
            // The server also sees the end of the stream.
            let _ = self.connection.send(pktline::FLUSH);
        }
    }
}

impl Report {
    /// Whether that ref was refused.
    pub fn refuses(&self, name: &str) -> bool {
        self.refused.iter().any(|(refused, _)| refused == name)
    }

    fn read(from: &mut dyn Source, most: usize) -> Result<Report, SessionError> {
        let mut report = Report::default();
        let mut length = 0;
        while let Some(line) = pktline::read(from)? {
            measure(&mut length, line.len(), most)?;
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
    from: &'a mut dyn Source,
    rest: Vec<u8>,
    said: Vec<u8>,
    /// The bytes received so far, and the most.
    length: usize,
    most: usize,
}

/// Adds to the length of a server's report, which is limited.
fn measure(length: &mut usize, more: usize, most: usize) -> Result<(), SessionError> {
    // An empty packet takes time, too.
    *length += more + 4;
    match *length > most {
        true => Err(SessionError::Answer(format!(
            "the server sends more than {most} bytes of messages about a push"
        ))),
        false => Ok(()),
    }
}

/// The most bytes of output for people to keep.
const MAX_SAID: usize = 16 * 1024;

impl Source for SideBand<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SessionError> {
        while self.rest.is_empty() {
            let Some(mut packet) = pktline::read(self.from)? else { return Ok(0) };
            measure(&mut self.length, packet.len(), self.most)?;
            match packet.first() {
                Some(1) => {
                    packet.remove(0);
                    self.rest = packet;
                }
                Some(2) if self.said.len() < MAX_SAID => self.said.extend_from_slice(&packet[1..]),
                Some(2) => {}
                Some(3) => {
                    let last = String::from_utf8_lossy(&packet[1..]).trim().to_owned();
                    return Err(SessionError::Answer(format!("the server says: {last}")));
                }
                _ => return Err(pktline::garbage("a packet with an unknown band".into())),
            }
        }
        let length = into.len().min(self.rest.len());
        into[..length].copy_from_slice(&self.rest[..length]);
        self.rest.drain(..length);
        Ok(length)
    }

    fn ended(&mut self) -> SessionError {
        self.from.ended()
    }
}
