//! pkt-line, the framing of git's protocols (gitprotocol-common(5)): four hex digits of length, then the
//! data.

use std::io::Write;

use crate::Connection;
use crate::error::SessionError;

/// The longest packet, including its length digits.
const MAX_PACKET: usize = 65_520;

/// The flush packet, which ends a part of the exchange.
pub(crate) const FLUSH: &[u8] = b"0000";

/// Appends a packet. Callers' lines are far shorter than the longest packet.
pub(crate) fn append(to: &mut Vec<u8>, line: &[u8]) {
    debug_assert!(line.len() + 4 <= MAX_PACKET, "{} bytes in one packet", line.len());
    // Writing to a vector does not fail.
    let _ = write!(to, "{:04x}", line.len() + 4);
    to.extend_from_slice(line);
}

/// Where packets come from.
pub(crate) trait Source {
    /// Waits for bytes. 0 is the end.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SessionError>;

    /// The error for an end where more was expected.
    fn ended(&mut self) -> SessionError;
}

impl Source for Box<dyn Connection> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SessionError> {
        Ok(self.as_mut().read(into)?)
    }

    fn ended(&mut self) -> SessionError {
        self.as_mut().ended().into()
    }
}

/// Reads one packet; `None` is a flush packet.
pub(crate) fn read(from: &mut dyn Source) -> Result<Option<Vec<u8>>, SessionError> {
    let mut digits = [0; 4];
    fill(from, &mut digits)?;
    let length = std::str::from_utf8(&digits)
        .ok()
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .and_then(|digits| usize::from_str_radix(digits, 16).ok())
        .ok_or_else(|| garbage(format!("`{}` where a packet should begin", digits.escape_ascii())))?;
    match length {
        0 => Ok(None),
        1..=3 => Err(garbage(format!("a packet of length {length}"))),
        4..=MAX_PACKET => {
            let mut line = vec![0; length - 4];
            fill(from, &mut line)?;
            Ok(Some(line))
        }
        _ => Err(garbage(format!("a packet of {length} bytes"))),
    }
}

fn fill(from: &mut dyn Source, mut into: &mut [u8]) -> Result<(), SessionError> {
    while !into.is_empty() {
        match from.read(into)? {
            0 => return Err(from.ended()),
            count => into = &mut into[count..],
        }
    }
    Ok(())
}

/// The error that the server does not speak git's protocol.
pub(crate) fn garbage(what: String) -> SessionError {
    SessionError::Answer(format!("the server does not speak git's protocol: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Source for &[u8] {
        fn read(&mut self, into: &mut [u8]) -> Result<usize, SessionError> {
            // Reading from memory does not fail.
            Ok(std::io::Read::read(self, into).unwrap())
        }

        fn ended(&mut self) -> SessionError {
            SessionError::Answer("it ended early".to_owned())
        }
    }

    #[test]
    fn packets_are_framed_and_read_back() {
        let mut wire = Vec::new();
        append(&mut wire, b"a\n");
        append(&mut wire, b"");
        wire.extend_from_slice(FLUSH);
        assert_eq!(wire, b"0006a\n00040000");
        let mut from = &wire[..];
        assert_eq!(read(&mut from).unwrap().unwrap(), b"a\n");
        assert_eq!(read(&mut from).unwrap().unwrap(), b"");
        assert_eq!(read(&mut from).unwrap(), None);
    }

    #[test]
    fn what_is_no_packet_is_an_error() {
        for bad in ["<htm", "+123", "0003", "fff1", "0009abc", "00"] {
            assert!(read(&mut bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
