//! pkt-line, the framing of git's protocols (gitprotocol-common(5)): four hex digits of length, then the
//! data.

use std::io::{self, Read, Write};

/// The longest packet, including its length digits.
const MAX_PACKET: usize = 65_520;

/// The flush packet, which ends a part of the exchange.
pub(super) const FLUSH: &[u8] = b"0000";

/// Appends a packet. Callers' lines are far shorter than the longest packet.
pub(super) fn append(to: &mut Vec<u8>, line: &[u8]) {
    debug_assert!(line.len() + 4 <= MAX_PACKET, "{} bytes in one packet", line.len());
    // Writing to a vector does not fail.
    let _ = write!(to, "{:04x}", line.len() + 4);
    to.extend_from_slice(line);
}

/// Reads one packet; `None` is a flush packet.
pub(super) fn read(from: &mut dyn Read) -> io::Result<Option<Vec<u8>>> {
    let mut digits = [0; 4];
    from.read_exact(&mut digits)?;
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
            from.read_exact(&mut line)?;
            Ok(Some(line))
        }
        _ => Err(garbage(format!("a packet of {length} bytes"))),
    }
}

/// The error that the server does not speak git's protocol.
pub(super) fn garbage(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the server does not speak git's protocol: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
