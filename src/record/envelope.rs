//! The fields beside the facts in the file of a record: a growing number and a signature.
//!
//! This program writes neither and verifies neither. It reads them, shows them, and leaves them as they are, so
//! that a fleet can begin to sign while some of its nodes still run this version.

use serde_json::{Map, Value};

/// The field with the growing number.
pub(super) const SERIAL: &str = "serial";

/// The field with the signature.
pub(super) const SIGNATURE: &str = "signature";

/// The fields beside the facts. A field that is missing or malformed is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    /// A number that grows with each record of the node.
    pub serial: Option<u64>,
    /// The signature of the record.
    pub signature: Option<String>,
}

/// Notes that a field exists and is malformed.
const BAD_SERIAL: u8 = 1;
const BAD_SIGNATURE: u8 = 2;

impl Envelope {
    /// The fields in the file of a record.
    pub(super) fn of(file: &Map<String, Value>) -> Envelope {
        Envelope {
            serial: file.get(SERIAL).and_then(Value::as_u64),
            signature: file.get(SIGNATURE).and_then(Value::as_str).map(str::to_owned),
        }
    }
}

/// A note of the malformed fields, for [`problem`].
pub(super) fn note(file: &Map<String, Value>) -> u8 {
    let serial = file.get(SERIAL).is_some_and(|serial| !serial.is_u64());
    let signature = file.get(SIGNATURE).is_some_and(|signature| !signature.is_string());
    u8::from(serial) * BAD_SERIAL + u8::from(signature) * BAD_SIGNATURE
}

/// The note of a file without malformed fields.
pub(super) const SOUND: u8 = 0;

/// What is malformed, as the end of a sentence that begins with the path. The facts are used all the same:
/// a field that nobody understands must not take a server away from a balancer.
pub(super) fn problem(note: u8) -> Option<&'static str> {
    match (note & BAD_SERIAL > 0, note & BAD_SIGNATURE > 0) {
        (true, true) => Some(
            "has a `serial` that is not a whole number and a `signature` that is not text: presence ignores \
             both",
        ),
        (true, false) => {
            Some("has a `serial` that is not a whole number from 0 to 2^64-1: presence ignores it")
        }
        (false, true) => Some("has a `signature` that is not text: presence ignores it"),
        (false, false) => None,
    }
}
