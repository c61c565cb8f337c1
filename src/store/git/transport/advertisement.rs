//! The list of a server's refs, as libgit2 and this program may see it (gitprotocol-pack(5), "Reference Discovery").
//!
//! Anybody who may push can give a ref any name, and git2 panics over one that is not UTF-8. So what this program has
//! nothing to do with is taken out of the stream: other refs, names that git does not allow, what tags are peeled to.

use super::TransportError;
use super::wire::SAID;
use crate::limits;
use crate::sanitize::said;

/// Where the refs are that this program has to do with.
const OURS: [&str; 2] = ["refs/heads/", "refs/presence/"];

/// What stands in the place of the first ref where there is none.
const NOTHING: &[u8] = b"0000000000000000000000000000000000000000 capabilities^{}";

/// Reads an advertisement to its end, and gives what is to be seen of it. What is not in git's protocol is handed on as it
/// came, up to there: who reads it says so.
pub(super) fn read(
    peer: &str,
    mut read: impl FnMut(&mut [u8]) -> Result<usize, TransportError>,
) -> Result<Vec<u8>, TransportError> {
    let mut kept = Kept::default();
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
        if sent > limits::get().ref_bytes || kept.refs > limits::get().refs {
            return Err(TransportError::excess(
                peer,
                match kept.refs > limits::get().refs {
                    true => ("refs", limits::get().refs as u64),
                    false => ("bytes of refs", limits::get().ref_bytes as u64),
                },
            ));
        }
    }
}

/// Reads until there are `length` bytes, or the end comes.
fn fill(
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

/// What is to be seen of an advertisement.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    /// How many refs.
    refs: usize,
    /// How many lines there were, seen or not.
    lines: usize,
    /// What the server can do, until a ref is kept that it stands behind.
    abilities: Option<Vec<u8>>,
}

impl Kept {
    /// Whether nothing came but the first line of smart HTTP, after which there is a flush packet.
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
            // The preamble, a shallow commit, or what only the reader can name.
            self.bytes.extend_from_slice(packet);
            return;
        };
        if !is_ours(name) {
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

    /// At the flush packet.
    fn whole(mut self) -> Vec<u8> {
        if let Some(abilities) = self.abilities.take() {
            self.append(&[NOTHING, b"\0", &abilities].concat());
        }
        self.bytes.extend_from_slice(b"0000");
        self.bytes
    }

    /// It ended before that, or is something else.
    fn broken(mut self, rest: &[u8]) -> Vec<u8> {
        self.bytes.extend_from_slice(rest);
        self.bytes
    }
}

/// The object and the name, if the line is one of a ref.
fn reference(entry: &[u8]) -> Option<(&[u8], &str)> {
    let (oid, name) = entry.split_at_checked(40)?;
    let is_oid = oid.iter().all(u8::is_ascii_hexdigit);
    let name = name.strip_prefix(b" ").filter(|_| is_oid)?;
    // One that is not UTF-8 is not ours, whatever it is called.
    Some((oid, str::from_utf8(name).unwrap_or_default()))
}

fn is_ours(name: &str) -> bool {
    name == "HEAD"
        || (OURS.iter().any(|prefix| name.starts_with(prefix)) && git2::Reference::is_valid_name(name))
}

/// The abilities without those that are not UTF-8, and without names of refs that git does not allow.
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
        // The network cuts as it likes.
        read("h", |buffer| {
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
        // Behind smart HTTP.
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
            let error = read("h", |buffer| {
                let count = buffer.len().min(line.len() - at);
                buffer[..count].copy_from_slice(&line[at..at + count]);
                at = (at + count) % line.len();
                Ok(count)
            });
            assert!(matches!(error, Err(TransportError::TooMuch { .. })));
        }
    }
}
