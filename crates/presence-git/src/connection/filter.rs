//! Filters the advertisement for its readers (gitprotocol-pack(5), "Reference Discovery").
//!
//! Anybody who may push can give a ref any name, and git2 panics at a name that is not UTF-8. So everything
//! irrelevant is removed from the stream: other refs, names that git forbids, and peeled tags.

use crate::message::{SAID, said};
use crate::{Limits, TransportError};

/// The line that replaces the first ref if there are no refs.
const NOTHING: &[u8] = b"0000000000000000000000000000000000000000 capabilities^{}";

/// Reads a whole advertisement, and returns the filtered one. From the first bytes that are not git's
/// protocol it is returned unchanged: its reader will report them.
pub fn read(
    peer: &str,
    limits: &Limits,
    mut read: impl FnMut(&mut [u8]) -> Result<usize, TransportError>,
) -> Result<Vec<u8>, TransportError> {
    let mut kept = Kept { prefixes: limits.prefixes, ..Kept::default() };
    let mut sent = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        fill(&mut line, 4, &mut read)?;
        let digits =
            str::from_utf8(&line).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let length = match digits.map(|digits| usize::from_str_radix(digits, 16)) {
            Some(Ok(length)) if line.len() == 4 && (length == 0 || length >= 4) => length,
            _ => return Ok(kept.broken(&line)),
        };
        if length == 0 {
            if kept.is_preamble() {
                kept.bytes.extend_from_slice(b"0000");
                continue;
            }
            return Ok(kept.whole());
        }
        fill(&mut line, length, &mut read)?;
        if line.len() < length {
            return Ok(kept.broken(&line));
        }
        sent += length;
        if let Some(words) = line[4..].strip_prefix(b"ERR ").filter(|words| !words.is_empty()) {
            let said = said(&String::from_utf8_lossy(words), SAID);
            return Err(TransportError::Refused { peer: peer.to_owned(), said });
        }
        kept.take(&line);
        if sent > limits.ref_bytes || kept.refs > limits.refs {
            return Err(TransportError::excess(
                peer,
                match kept.refs > limits.refs {
                    true => ("refs", limits.refs as u64),
                    false => ("bytes of refs", limits.ref_bytes as u64),
                },
            ));
        }
    }
}

/// Reads until `line` has `length` bytes, or to the end.
pub(super) fn fill(
    line: &mut Vec<u8>,
    length: usize,
    read: &mut impl FnMut(&mut [u8]) -> Result<usize, TransportError>,
) -> Result<(), TransportError> {
    let mut filled = line.len();
    line.resize(length, 0);
    while filled < length {
        match read(&mut line[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    line.truncate(filled);
    Ok(())
}

/// The filtered advertisement.
#[derive(Default)]
struct Kept {
    prefixes: &'static [&'static str],
    bytes: Vec<u8>,
    /// The number of refs.
    refs: usize,
    /// The number of lines, kept or not.
    lines: usize,
    /// The server's capabilities, until they are attached to a kept ref.
    abilities: Option<Vec<u8>>,
}

impl Kept {
    /// Whether only the first line of smart HTTP has come, which a flush packet follows.
    fn is_preamble(&self) -> bool {
        self.lines == 1 && self.refs == 0 && self.abilities.is_none() && !self.bytes.is_empty()
    }

    fn take(&mut self, packet: &[u8]) {
        let line = &packet[4..];
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        self.lines += 1;
        let (entry, abilities) = match line.iter().position(|byte| *byte == 0) {
            Some(zero) => (&line[..zero], Some(&line[zero + 1..])),
            None => (line, None),
        };
        if let Some(abilities) = abilities.filter(|_| self.refs == 0 && self.abilities.is_none()) {
            self.abilities = Some(usable(abilities));
        }
        let Some((oid, name)) = reference(entry) else {
            // The preamble, a shallow commit, or a line for the reader to judge.
            self.bytes.extend_from_slice(packet);
            return;
        };
        if !is_of_use(name, self.prefixes) {
            return;
        }
        self.refs += 1;
        let mut line = [oid, b" ", name.as_bytes()].concat();
        if let Some(abilities) = self.abilities.take() {
            line.push(0);
            line.extend_from_slice(&abilities);
        }
        self.append(&line);
    }

    fn append(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(format!("{:04x}", line.len() + 5).as_bytes());
        self.bytes.extend_from_slice(line);
        self.bytes.push(b'\n');
    }

    /// Completes it at the flush packet.
    fn whole(mut self) -> Vec<u8> {
        if let Some(abilities) = self.abilities.take() {
            self.append(&[NOTHING, b"\0", &abilities].concat());
        }
        self.bytes.extend_from_slice(b"0000");
        self.bytes
    }

    /// Completes it at an early end, or at bytes of another protocol.
    fn broken(mut self, rest: &[u8]) -> Vec<u8> {
        self.bytes.extend_from_slice(rest);
        self.bytes
    }
}

/// Object id and name, if the line describes a ref.
fn reference(entry: &[u8]) -> Option<(&[u8], &str)> {
    let (oid, name) = entry.split_at_checked(40)?;
    let is_oid = oid.iter().all(u8::is_ascii_hexdigit);
    let name = name.strip_prefix(b" ").filter(|_| is_oid)?;
    // A name that is not UTF-8 has none of the prefixes.
    Some((oid, str::from_utf8(name).unwrap_or_default()))
}

fn is_of_use(name: &str, prefixes: &[&str]) -> bool {
    name == "HEAD"
        || (prefixes.iter().any(|prefix| name.starts_with(prefix)) && git2::Reference::is_valid_name(name))
}

/// The capabilities, except those that are not UTF-8 or name a ref that git forbids.
fn usable(abilities: &[u8]) -> Vec<u8> {
    let usable = abilities.split(|byte| *byte == b' ').filter(|ability| match str::from_utf8(ability) {
        Ok(text) => match text.strip_prefix("symref=").and_then(|symref| symref.split_once(':')) {
            Some((_, target)) => git2::Reference::is_valid_name(target),
            None => true,
        },
        Err(_) => false,
    });
    usable.collect::<Vec<_>>().join(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { prefixes: &["refs/heads/", "refs/presence/"], ..crate::tests::LIMITS };
    const OID: &str = "95d09f2b10159347eece71399a7e2e907ea3df4f";

    fn wire(lines: &[&[u8]]) -> Vec<u8> {
        let mut wire = Vec::new();
        for line in lines {
            match line.is_empty() {
                true => wire.extend_from_slice(b"0000"),
                false => {
                    wire.extend_from_slice(format!("{:04x}", line.len() + 4).as_bytes());
                    wire.extend_from_slice(line);
                }
            }
        }
        wire
    }

    fn seen(mut from: &[u8]) -> Result<Vec<u8>, TransportError> {
        // The network splits data anywhere.
        read("h", &LIMITS, |buffer| {
            let count = from.len().min(buffer.len()).min(7);
            buffer[..count].copy_from_slice(&from[..count]);
            from = &from[count..];
            Ok(count)
        })
    }

    fn named(name: &[u8]) -> Vec<u8> {
        [OID.as_bytes(), b" ", name, b"\n"].concat()
    }

    #[test]
    fn what_is_ours_is_seen_and_nothing_else() {
        let head = [OID.as_bytes(), b" HEAD\0ofs-delta symref=HEAD:refs/heads/main agent=x\n"].concat();
        let [main, beat] = [named(b"refs/heads/main"), named(b"refs/presence/beats/000")];
        let odd: [&[u8]; 9] = [
            b"refs/presence/inbox/\xff\xfe",
            b"refs/heads/\xff",
            b"refs/tags/v1",
            b"refs/heads/main^{}",
            b"refs/presence/beats/000^{}",
            b"refs/presence/inbox/a\nb",
            b"refs/heads/\x1b[31m",
            b"refs/heads/a..b",
            b".have",
        ];
        let odd = odd.map(named);
        let mut lines: Vec<&[u8]> = vec![&head, &main];
        lines.extend(odd.iter().map(Vec::as_slice));
        lines.extend([beat.as_slice(), b""]);
        assert_eq!(seen(&wire(&lines)).unwrap(), wire(&[&head, &main, &beat, b""]));
        // After the preamble of smart HTTP.
        let service: [&[u8]; 2] = [b"# service=git-upload-pack\n", b""];
        let all = wire(&[&service[..], &lines].concat());
        assert_eq!(seen(&all).unwrap(), wire(&[&service[..], &[&head, &main, &beat, b""]].concat()));
    }

    #[test]
    fn the_abilities_of_the_server_outlast_the_first_ref() {
        let odd = [OID.as_bytes(), b" refs/heads/\xff\0atomic symref=HEAD:refs/heads/\xff \xfe side-band\n"]
            .concat();
        let main = named(b"refs/heads/main");
        let expect = [OID.as_bytes(), b" refs/heads/main\0atomic side-band\n"].concat();
        assert_eq!(seen(&wire(&[&odd, &main, b""])).unwrap(), wire(&[&expect, b""]));
        let nothing = [NOTHING, b"\0atomic side-band\n"].concat();
        assert_eq!(seen(&wire(&[&odd, b""])).unwrap(), wire(&[&nothing, b""]));
        assert_eq!(seen(&wire(&[&nothing, b""])).unwrap(), wire(&[&nothing, b""]));
    }

    #[test]
    fn what_is_no_advertisement_is_handed_on() {
        let main = named(b"refs/heads/main");
        let start = wire(&[&main]);
        for rest in [&b""[..], b"00", b"what", b"0002", b"00ffshort", b"-001"] {
            assert_eq!(seen(&[&start, rest].concat()).unwrap(), [&start, rest].concat());
        }
        let error = seen(&[start, wire(&[b"ERR gone\x1b\n"])].concat()).unwrap_err();
        assert_eq!(error.to_string(), r"`h` refused: gone\u{1b}");
    }

    #[test]
    fn one_without_end_is_an_error() {
        for name in ["refs/heads/a".to_owned(), format!("refs/tags/{}", "x".repeat(60_000))] {
            let line = wire(&[&named(name.as_bytes())]);
            let mut at = 0;
            let error = read("h", &LIMITS, |buffer| {
                let count = buffer.len().min(line.len() - at);
                buffer[..count].copy_from_slice(&line[at..at + count]);
                at = (at + count) % line.len();
                Ok(count)
            });
            assert!(matches!(error, Err(TransportError::TooMuch { .. })));
        }
    }
}
