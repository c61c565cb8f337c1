//! Facts as one sequence of bytes: the form of a roster of a hundred thousand nodes in memory and in the
//! cache on disk.
//!
//! Each fact is the length of its name, the name, the length and kind of its value, and the value. Facts are
//! ordered by name, and numbers and lists are spelled as serde_json spells them, so equal facts have equal
//! bytes.
//!
//! The file of the record may follow, if its bytes cannot be made from the facts: a signature beside the facts,
//! or another spelling. An earlier version of this program reads the facts and ignores the rest.

use std::cmp::Ordering;
use std::fmt;

use bytes::Bytes;
use serde_json::Value;

use super::Facts;

/// A node's facts, and perhaps the file that they were read from.
#[derive(Clone)]
pub(super) struct Packed {
    bytes: Bytes,
    /// The length of the facts.
    facts: u32,
    /// The offsets of the usual facts.
    usual: [u16; USUAL],
}

/// Ends the facts if a file follows. It is a number as [`put_number`] writes it: the length of a name that no
/// record has room for.
const FILE: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 0x7f];

/// How many facts are read often. Their offsets are looked up once.
const USUAL: usize = 11;

/// The node does not state the fact.
const NOWHERE: u16 = u16::MAX;

/// The offset of the fact may be too large for a `u16`.
const FAR: u16 = u16::MAX - 1;

/// The index of a usual fact.
fn usual(name: &[u8]) -> Option<usize> {
    Some(match name {
        b"address" => 0,
        b"deployment" => 1,
        b"instance-id" => 2,
        b"ipv4" => 3,
        b"ipv6" => 4,
        b"nodepart" => 5,
        b"port" => 6,
        b"services" => 7,
        b"stacktype" => 8,
        b"state" => 9,
        b"statetss" => 10,
        _ => return None,
    })
}

/// A fact of a record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fact<'a> {
    /// A JSON string, decoded.
    Text(&'a str),
    /// Any other JSON value, as JSON.
    Json(&'a str),
}

impl Fact<'_> {
    fn value(self) -> Value {
        match self {
            Fact::Text(text) => text.into(),
            // `put` wrote it, so it is JSON.
            Fact::Json(json) => serde_json::from_str(json).unwrap_or_default(),
        }
    }
}

impl<'a> Fact<'a> {
    /// The value as text, if it is a scalar.
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Fact::Text(text) => Some(text),
            Fact::Json(json) if json.starts_with(['[', '{', 'n']) => None,
            Fact::Json(json) => Some(json),
        }
    }
}

impl Packed {
    /// Takes bytes written by [`put`].
    pub(super) fn new(bytes: Bytes) -> Packed {
        let mut places = [NOWHERE; USUAL];
        let mut rest = &bytes[..];
        let mut at = 0;
        while let Some((name, ..)) = next(&mut rest) {
            if let Some(number) = usual(name) {
                places[number] = u16::try_from(at).unwrap_or(FAR).min(FAR);
            }
            at = bytes.len() - rest.len();
        }
        Packed { facts: u32::try_from(at).unwrap_or(u32::MAX), bytes, usual: places }
    }

    pub(super) fn of(facts: &Facts) -> Packed {
        let mut bytes = Vec::with_capacity(512);
        put_facts(facts, &mut bytes);
        Packed::new(bytes.into())
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Equal facts have equal bytes, whatever file they were read from.
    pub(super) fn facts_bytes(&self) -> &[u8] {
        self.bytes.get(..self.facts as usize).unwrap_or(&self.bytes)
    }

    /// The file, if [`put_file`] wrote it, and what was noted about it.
    pub(super) fn file(&self) -> Option<(u8, &[u8])> {
        let (note, file) = self.bytes.get(self.facts as usize..)?.strip_prefix(&FILE)?.split_first()?;
        Some((*note, file))
    }

    pub(super) fn get(&self, name: &str) -> Option<Fact<'_>> {
        let begin = match usual(name.as_bytes()).map(|number| self.usual[number]) {
            Some(NOWHERE) => return None,
            Some(FAR) | None => 0,
            Some(place) => place.into(),
        };
        get(&self.bytes[begin..], name)
    }

    pub(super) fn value(&self, name: &str) -> Option<Value> {
        self.get(name).map(Fact::value)
    }

    pub(super) fn facts(&self) -> Facts {
        let mut rest = &self.bytes[..];
        let mut facts = Facts::new();
        while let Some((name, json, value)) = next(&mut rest) {
            if let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) {
                let fact = if json { Fact::Json(value) } else { Fact::Text(value) };
                facts.insert(name.to_owned(), fact.value());
            }
        }
        facts
    }
}

impl PartialEq for Packed {
    fn eq(&self, other: &Packed) -> bool {
        self.facts_bytes() == other.facts_bytes()
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.facts().fmt(f)
    }
}

/// The value of a fact, in bytes written by [`put`].
pub(super) fn get<'a>(mut packed: &'a [u8], name: &str) -> Option<Fact<'a>> {
    while let Some((found, json, value)) = next(&mut packed) {
        match found.cmp(name.as_bytes()) {
            Ordering::Less => {}
            Ordering::Equal => {
                let value = std::str::from_utf8(value).ok()?;
                return Some(if json { Fact::Json(value) } else { Fact::Text(value) });
            }
            Ordering::Greater => return None,
        }
    }
    None
}

/// Appends one fact. Facts must be appended in the order of their names.
pub(super) fn put(name: &str, value: Fact<'_>, out: &mut Vec<u8>) {
    let (kind, value) = match value {
        Fact::Text(text) => (0, text),
        Fact::Json(json) => (1, json),
    };
    put_number(name.len(), out);
    out.extend_from_slice(name.as_bytes());
    put_number(value.len() << 1 | kind, out);
    out.extend_from_slice(value.as_bytes());
}

pub(super) fn put_facts(facts: &Facts, out: &mut Vec<u8>) {
    for (name, value) in facts {
        match value {
            Value::String(text) => put(name, Fact::Text(text), out),
            other => put(name, Fact::Json(&other.to_string()), out),
        }
    }
}

/// Appends the file after the facts, with a note for [`Packed::file`].
pub(super) fn put_file(note: u8, file: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&FILE);
    out.push(note);
    out.extend_from_slice(file);
}

/// The next fact: its name, whether its value is JSON, and the value. `None` at the end, or if the bytes are
/// not ours.
#[inline]
fn next<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], bool, &'a [u8])> {
    let length = take_number(rest)?;
    let (name, after) = rest.split_at_checked(length)?;
    *rest = after;
    let length = take_number(rest)?;
    let (value, after) = rest.split_at_checked(length >> 1)?;
    *rest = after;
    Some((name, length & 1 == 1, value))
}

/// Seven bits per byte, lowest first, as in LEB128.
fn put_number(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[inline]
fn take_number(rest: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    let mut shift = 0;
    loop {
        let (first, after) = rest.split_first()?;
        *rest = after;
        number |= usize::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
        if shift >= usize::BITS {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_out_as_they_went_in() {
        let facts: Facts = serde_json::from_str(
            r#"{"":"","a":"x","b":8080,"c":true,"d":null,"e":[1,{"f":-0.5}],"long":"ü\n"}"#,
        )
        .unwrap();
        let packed = Packed::of(&facts);
        assert_eq!(packed.facts(), facts);
        let texts: Vec<_> = facts.keys().map(|name| packed.get(name).unwrap().text()).collect();
        assert_eq!(texts, [Some(""), Some("x"), Some("8080"), Some("true"), None, None, Some("ü\n")]);
        assert_eq!((packed.get("x"), packed.value("b")), (None, Some(8080.into())));
    }

    #[test]
    fn bytes_that_are_not_ours_are_no_facts_and_no_panic() {
        for bytes in [&[0xff; 20][..], &[5, b'a'], &[1, b'a', 200], &[1, 0xff, 2, 0xff]] {
            let packed = Packed::new(Bytes::copy_from_slice(bytes));
            assert!(packed.facts().is_empty() && packed.get("a").is_none(), "{bytes:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_length_is_read_back(name in ".{0,300}", value in ".{0,40000}") {
            let facts = Facts::from([(name.clone(), value.clone().into())]);
            let packed = Packed::of(&facts);
            proptest::prop_assert_eq!(packed.get(&name), Some(Fact::Text(&value)));
        }
    }
}
