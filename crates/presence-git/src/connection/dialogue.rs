//! The common part of git:// and ssh, whose connections stay open in both directions: the first messages of
//! both sides, in pkt-lines (<https://git-scm.com/docs/gitprotocol-pack>).

use std::io::{Cursor, Read};
use std::time::Duration;

use super::guard::Guard;
use super::{Connection, Service, filter};
use crate::message::{SAID, said};
use crate::{Limits, TransportError};

/// The first line to a `git daemon`. `host` lets it serve virtual hosts.
pub(super) fn request(service: Service, path: &str, host: &str) -> Vec<u8> {
    let line = format!("{} {path}\0host={host}\0", service.program());
    format!("{:04x}{line}", line.len() + 4).into_bytes()
}

/// A bidirectional stream of bytes.
pub(super) trait Channel: Send + 'static {
    /// Waits for bytes. 0 is the end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TransportError>;

    /// Sends some of the bytes, and returns their number.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, TransportError>;

    /// The error for an end of the connection by the server.
    fn ended(&mut self) -> TransportError;

    /// The server, for messages.
    fn peer(&self) -> &str;
}

/// A connection on which the server has started to answer.
pub(super) struct Dialogue<C> {
    /// The part of the answer that was read but not returned yet.
    start: Cursor<Vec<u8>>,
    /// Whether the list of refs is still to be read.
    is_listing: bool,
    /// Checks an answer to a fetch.
    guard: Option<Guard>,
    /// The server's reason for ending the connection.
    refusal: Option<String>,
    limits: Limits,
    /// How long the server took for its first byte, if that could be measured.
    pub(super) answered_in: Option<Duration>,
    pub(super) channel: C,
}

impl<C: Channel> Dialogue<C> {
    /// Waits for the first bytes of the answer. Until then nothing has happened, so the caller may retry on
    /// another connection.
    pub(super) fn new(
        mut channel: C,
        service: Service,
        limits: &Limits,
    ) -> Result<Dialogue<C>, TransportError> {
        let mut start = Vec::new();
        let mut read_up_to =
            |start: &mut Vec<u8>, length| filter::fill(start, length, &mut |into| channel.read(into));
        read_up_to(&mut start, 4)?;
        if start.is_empty() {
            return Err(channel.ended());
        }
        let length = str::from_utf8(&start).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
        // Relevant packets are longer: an error is `ERR ` and a message, a ref has 40 digits.
        if let Some(length @ 9..) = length {
            read_up_to(&mut start, 8)?;
            if start.ends_with(b"ERR ") {
                read_up_to(&mut start, length.min(8 + 4 * SAID))?;
                let words = said(&String::from_utf8_lossy(&start[8..]), SAID);
                return Err(TransportError::Refused { peer: channel.peer().to_owned(), said: words });
            }
            read_up_to(&mut start, length.min(FIRST))?;
            if is_sha256(&start) {
                return Err(TransportError::Sha256 { peer: channel.peer().to_owned() });
            }
        }
        let guard = (service == Service::UploadPack).then(|| Guard::new(limits));
        Ok(Dialogue {
            start: Cursor::new(start),
            is_listing: true,
            guard,
            refusal: None,
            limits: *limits,
            answered_in: None,
            channel,
        })
    }

    /// The error for the end of the connection. The server's own message takes precedence.
    fn reason(&mut self, error: TransportError) -> TransportError {
        match self.refusal.take() {
            Some(said) => TransportError::Refused { peer: self.channel.peer().to_owned(), said },
            None => error,
        }
    }
}

/// The message of an error packet (gitprotocol-pack(5)) at the start of the bytes just read. Otherwise it
/// would look like a broken answer.
pub(super) fn refusal(bytes: &[u8]) -> Option<String> {
    let (length, rest) = bytes.split_at_checked(4)?;
    let length = usize::from_str_radix(str::from_utf8(length).ok()?, 16).ok()?;
    let words = rest[..rest.len().min(length.checked_sub(4)?)].strip_prefix(b"ERR ")?;
    Some(said(&String::from_utf8_lossy(words), SAID))
}

/// The most bytes of the first packet to examine: one ref and the server's capabilities.
pub(super) const FIRST: usize = 4096;

/// Whether the first line of an advertisement declares the object format sha256 (gitprotocol-capabilities(5),
/// `object-format`).
pub(super) fn is_sha256(advertisement: &[u8]) -> bool {
    let line = advertisement.split(|byte| *byte == b'\n').find(|line| line.contains(&0));
    let Some(abilities) = line.and_then(|line| line.splitn(2, |byte| *byte == 0).nth(1)) else {
        return false;
    };
    abilities.split(|byte| *byte == b' ').any(|ability| ability == b"object-format=sha256")
}

impl<C: Channel> Dialogue<C> {
    /// Reads and filters the whole list of the server's refs.
    fn list(&mut self) -> Result<(), TransportError> {
        self.is_listing = false;
        let mut start = std::mem::take(&mut self.start).into_inner();
        let peer = self.channel.peer().to_owned();
        let channel = &mut self.channel;
        let seen = filter::read(&peer, &self.limits, |buffer| match start.is_empty() {
            true => channel.read(buffer),
            false => {
                let count = buffer.len().min(start.len());
                buffer[..count].copy_from_slice(&start[..count]);
                start.drain(..count);
                Ok(count)
            }
        })?;
        self.start = Cursor::new(seen);
        Ok(())
    }
}

impl<C: Channel> Connection for Dialogue<C> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, TransportError> {
        if self.is_listing {
            self.list()?;
        }
        // Reading from memory does not fail.
        match self.start.read(into).unwrap_or_default() {
            0 => {}
            count => return Ok(count),
        }
        let count = self.channel.read(into).map_err(|error| self.reason(error))?;
        if let Some(guard) = &mut self.guard {
            let seen = guard.see(&into[..count]);
            seen.map_err(|excess| TransportError::excess(self.channel.peer(), excess))?;
        }
        if let Some(said) = refusal(&into[..count]) {
            self.refusal = Some(said);
        }
        Ok(count)
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<(), TransportError> {
        while !bytes.is_empty() {
            match self.channel.write(bytes)? {
                0 => return Err(self.ended()),
                count => bytes = &bytes[count..],
            }
        }
        Ok(())
    }

    fn ended(&mut self) -> TransportError {
        let ended = self.channel.ended();
        self.reason(ended)
    }

    fn answered_in(&self) -> Option<Duration> {
        self.answered_in
    }

    fn is_stateless(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::tests::LIMITS;

    fn all(mut dialogue: impl Connection) -> String {
        let (mut all, mut buffer) = (Vec::new(), [0; 16]);
        loop {
            match dialogue.read(&mut buffer).unwrap() {
                0 => return String::from_utf8(all).unwrap(),
                count => all.extend_from_slice(&buffer[..count]),
            }
        }
    }

    impl Channel for Cursor<&'static [u8]> {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TransportError> {
            // One byte at a time: the network splits data anywhere.
            Ok(Read::read(self, &mut buffer[..1]).unwrap())
        }

        fn write(&mut self, bytes: &[u8]) -> Result<usize, TransportError> {
            Ok(bytes.len())
        }

        fn ended(&mut self) -> TransportError {
            TransportError::Closed { peer: self.peer().to_owned() }
        }

        fn peer(&self) -> &str {
            "h"
        }
    }

    #[test]
    fn the_request_is_the_one_of_the_documentation() {
        // The example of gitprotocol-pack(5).
        let request = request(Service::UploadPack, "/project.git", "myserver.com");
        assert_eq!(request, b"0033git-upload-pack /project.git\0host=myserver.com\0");
    }

    #[test]
    fn a_greeting_is_told_from_a_refusal() {
        #[track_caller]
        fn check(input: &'static str, expect: &str) {
            let server = Cursor::new(input.as_bytes());
            let shown = match Dialogue::new(server, Service::UploadPack, &LIMITS) {
                Ok(dialogue) => all(dialogue),
                Err(error) => error.to_string(),
            };
            assert_eq!(shown, expect);
        }

        const REFERENCES: &str = "0032d670460b4b4aece5915caf5c68d12f560a9fe3e4 HEAD\n0000";
        check(REFERENCES, REFERENCES);
        check("0000", "0000");
        check("00", "00");
        check("what?", "what?");
        check("0008ERR ", "0008ERR ");
        check("", "`h` closed the connection before its answer was complete");
        check("000eERR gone\n\n0000", "`h` refused: gone");
        check("ffffERR a\u{1b}b", r"`h` refused: a\u{1b}b");
    }

    #[test]
    fn the_object_format_is_seen_before_a_name_of_64_digits_is_read() {
        let line = |format: &str| {
            format!("{} capabilities^{{}}\0report-status {format} agent=git/2", "0".repeat(64))
        };
        for prefix in ["", "001f# service=git-receive-pack\n0000"] {
            let advertisement = |format| format!("{prefix}00a0{}\n0000", line(format));
            assert!(is_sha256(advertisement("object-format=sha256").as_bytes()));
            assert!(!is_sha256(advertisement("object-format=sha1").as_bytes()));
        }
        assert!(!is_sha256(b"00a0 object-format=sha256\n"));
    }

    #[test]
    fn a_refusal_in_the_middle_is_the_reason_of_the_end() {
        assert_eq!(refusal(b"0010ERR not our ref").as_deref(), Some("not our"));
        assert_eq!(refusal(b"0049ERR upload-pack: gone\n").as_deref(), Some("upload-pack: gone"));
        for other in [&b""[..], b"0008NAK\n", b"0003ERR x", b"ERR gone", b"00"] {
            assert_eq!(refusal(other), None);
        }
    }

    #[test]
    fn the_end_is_no_error_and_can_be_explained() {
        let server = Cursor::new(&b"0000"[..]);
        let mut dialogue = Dialogue::new(server, Service::ReceivePack, &LIMITS).unwrap();
        assert!(matches!(dialogue.ended(), TransportError::Closed { .. }));
        assert_eq!(all(dialogue), "0000");
    }
}
