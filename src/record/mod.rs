//! A node's record: parsing, checks, and the bytes of its file.

mod packed;
mod scan;

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::civil::DateTime;
use serde::Serialize;
use serde_json::Value;

use crate::errors::chain;
use crate::name::{Name, NameError};
use crate::sanitize::excerpt;
pub use packed::Fact;
use packed::Packed;

/// What a node states about itself: fact names and values, ordered by name. Unknown facts are kept.
pub type Facts = BTreeMap<String, Value>;

/// The value of `filetype` in every record.
pub const FILETYPE: &str = "nodepresence";

/// The fact with the reason why a failing node is wedged. It exists only while the node fails.
pub const REASON: &str = "wedged-reason";

/// The maximum length of a reason, in characters.
pub const MAX_REASON: usize = 200;

/// The maximum size of a record, in bytes: one hostile node must not fill the memory of every reader.
pub const MAX_BYTES: usize = 64 * 1024;

/// The time format of `statetss` and `statelog`: UTC, `YYYYMMDD-HHMMSS`.
pub const TIME_FORMAT: &str = "%Y%m%d-%H%M%S";

/// One node's record, checked: it has a usable instance-id. Records that were read together share one piece
/// of memory, so a clone is cheap.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    id: Name,
    facts: Packed,
}

/// Why bytes are not a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Larger than [`MAX_BYTES`].
    #[error("is {0} bytes, more than the {MAX_BYTES} a record may have")]
    TooLarge(u64),
    /// Not JSON.
    #[error("is not JSON: {0}")]
    NotJson(#[source] serde_json::Error),
    /// JSON, but with another `filetype`.
    #[error("is not a presence file: `filetype` is {0}, not `{FILETYPE}`")]
    WrongFiletype(String),
    /// No object under `value`.
    #[error("is not a presence file: `value` is not an object of facts")]
    NoFacts,
    /// The fact `instance-id` is missing or not a string.
    #[error("has no `instance-id`")]
    NoId,
    /// The instance-id cannot be the name of a file or server.
    #[error("has an unusable instance-id")]
    BadId(#[source] NameError),
}

/// The file as it is written. The keys are in the order of the fields.
#[derive(Serialize)]
struct RecordFile<'a> {
    filetype: &'a str,
    value: &'a Facts,
}

impl Record {
    /// A record with these facts, which must contain a usable `instance-id`.
    pub fn new(facts: Facts) -> Result<Record, RecordError> {
        Record::with_id(Packed::of(&facts))
    }

    fn with_id(facts: Packed) -> Result<Record, RecordError> {
        Ok(Record { id: id_of(facts.get("instance-id"))?, facts })
    }

    /// Reads a record written by this program or by the shell script of 2015.
    pub fn parse(bytes: &[u8]) -> Result<Record, RecordError> {
        let mut packed = Vec::with_capacity(bytes.len());
        pack(bytes, &mut packed)?;
        Record::with_id(Packed::new(packed.into()))
    }

    /// Reads the record at a path, whose file name must match the node, and appends it to `packed` in the
    /// form for [`Record::unpack`]. An error appends nothing; its text is the end of a sentence that begins
    /// with the path.
    pub fn pack(path: &str, text: &[u8], packed: &mut Vec<u8>) -> Result<(), String> {
        let begin = packed.len();
        let checked = pack(text, packed)
            .and_then(|()| id_of(packed::get(&packed[begin..], "instance-id")))
            .map_err(|error| chain(&error));
        let stem = path.rsplit('/').next().and_then(|name| name.strip_suffix(".json")).unwrap_or_default();
        let outcome = match checked {
            Ok(id) if id.as_str() == stem => return Ok(()),
            Ok(id) => Err(format!("states the instance-id `{id}`, which is not the name of the file")),
            Err(reason) => Err(reason),
        };
        packed.truncate(begin);
        outcome
    }

    /// A record that [`Record::pack`] has read. `None` if these are other bytes.
    pub fn unpack(packed: Bytes) -> Option<Record> {
        Record::with_id(Packed::new(packed)).ok()
    }

    /// The form for [`Record::unpack`]. Equal facts have equal bytes.
    pub fn packed(&self) -> &Bytes {
        self.facts.bytes()
    }

    /// The bytes of the file: sorted keys, 4 spaces, a final newline. Equal facts give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1024);
        let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut writer = serde_json::Serializer::with_formatter(&mut bytes, indent);
        RecordFile { filetype: FILETYPE, value: &self.facts() }
            .serialize(&mut writer)
            .expect("a map with string keys always serialises into memory");
        bytes.push(b'\n');
        bytes
    }

    /// The unique id of the node, which is also the stem of its file name.
    pub fn id(&self) -> &Name {
        &self.id
    }

    /// All facts.
    pub fn facts(&self) -> Facts {
        self.facts.facts()
    }

    /// A fact.
    pub fn fact(&self, name: &str) -> Option<Fact<'_>> {
        self.facts.get(name)
    }

    /// A fact as JSON.
    pub fn value(&self, fact: &str) -> Option<Value> {
        self.facts.value(fact)
    }

    /// Whether the node states that fact.
    pub fn has(&self, fact: &str) -> bool {
        self.facts.get(fact).is_some()
    }

    /// A fact as text. Numbers and booleans are converted; lists, objects and null are treated as absent.
    pub fn text(&self, fact: &str) -> Option<Cow<'_, str>> {
        self.facts.get(fact)?.text().map(Cow::Borrowed)
    }

    /// The node's part: the fact `nodepart`.
    pub fn part(&self) -> Option<Cow<'_, str>> {
        self.text("nodepart")
    }

    /// The state that the node states. `None` if it is empty.
    pub fn state(&self) -> Option<Cow<'_, str>> {
        self.text("state").filter(|state| !state.is_empty())
    }

    /// When the node last changed its state (`statetss`, UTC, to the second). `None` if it is missing or
    /// invalid.
    pub fn changed(&self) -> Option<DateTime> {
        DateTime::strptime(TIME_FORMAT, self.text("statetss")?.as_ref()).ok()
    }
}

/// Appends the facts of a record in packed form.
fn pack(bytes: &[u8], packed: &mut Vec<u8>) -> Result<(), RecordError> {
    if bytes.len() > MAX_BYTES {
        return Err(RecordError::TooLarge(bytes.len() as u64));
    }
    // Windows editors write a byte order mark, which readers may ignore (RFC 8259, section 8.1).
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let mut facts = Vec::with_capacity(32);
        if scan::facts(text, FILETYPE, &mut facts) {
            for (name, value) in facts {
                packed::put(name, Fact::Text(value), packed);
            }
            return Ok(());
        }
    }
    let Value::Object(mut file) = serde_json::from_slice(bytes).map_err(RecordError::NotJson)? else {
        return Err(RecordError::WrongFiletype("missing".into()));
    };
    match file.get("filetype") {
        Some(Value::String(kind)) if kind == FILETYPE => {}
        Some(other) => {
            let kind = text(other).unwrap_or_else(|| other.to_string().into());
            return Err(RecordError::WrongFiletype(format!("`{}`", excerpt(&kind))));
        }
        None => return Err(RecordError::WrongFiletype("missing".into())),
    }
    match file.remove("value") {
        Some(Value::Object(facts)) => {
            packed::put_facts(&facts.into_iter().collect(), packed);
            Ok(())
        }
        _ => Err(RecordError::NoFacts),
    }
}

/// The instance-id, if the fact has a usable one.
fn id_of(fact: Option<Fact<'_>>) -> Result<Name, RecordError> {
    match fact {
        Some(Fact::Text(id)) => Name::parse(id).map_err(RecordError::BadId),
        _ => Err(RecordError::NoId),
    }
}

/// A fact's value as text, if it is a scalar.
pub fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_2015: &[u8] = br#"{
    "filetype": "nodepresence",
    "value": {
        "a": "a",
        "initgitrepo": "repo1_petulant-cyril",
        "instance-id": "i-c44e9b33",
        "nodepart": "app1",
        "stacktype": "lad1",
        "statelog": "setup:20151008-174646;initdone:20151008-174830;",
        "statetss": "20151008-174830"
    }
}
"#;

    #[test]
    fn a_file_of_2015_is_read_and_written_back_byte_for_byte() {
        let record = Record::parse(OF_2015).unwrap();
        assert_eq!(record.id().as_ref(), "i-c44e9b33");
        assert_eq!(record.state(), None);
        assert_eq!(record.changed().unwrap().to_string(), "2015-10-08T17:48:30");
        assert_eq!(record.to_bytes(), OF_2015);
        let marked = [b"\xef\xbb\xbf", OF_2015].concat();
        assert_eq!(Record::parse(&marked).unwrap(), record);
    }

    #[test]
    fn a_number_is_read_back_as_it_was_written() {
        let text = br#"{"filetype":"nodepresence","value":{"instance-id":"i-1","n":1.599990000900000000000000000000000000000008023696054853}}"#;
        let record = Record::parse(text).unwrap();
        assert_eq!(Record::parse(&record.to_bytes()).unwrap(), record);
        assert_eq!(record.text("n").as_deref(), Some("1.5999900009"));
    }

    fn refused(bytes: &[u8], expect: &str) {
        let error = Record::parse(bytes).unwrap_err();
        let line = crate::errors::chain(&error);
        assert!(line.contains(expect), "{line:?} does not say {expect:?}");
    }

    #[test]
    fn what_is_no_presence_file_says_why() {
        refused(b"", "is not JSON");
        refused(b"\xff\xfe", "is not JSON");
        refused(b"[1]", "`filetype` is missing");
        refused(br#"{"value":{}}"#, "`filetype` is missing");
        refused(br#"{"filetype":"other","value":{}}"#, "`filetype` is `other`");
        refused(br#"{"filetype":"nodepresence"}"#, "`value` is not an object");
        refused(br#"{"filetype":"nodepresence","value":{}}"#, "has no `instance-id`");
        refused(br#"{"filetype":"nodepresence","value":{"instance-id":7}}"#, "has no `instance-id`");
        refused(br#"{"filetype":"nodepresence","value":{"instance-id":"../../x"}}"#, "unusable instance-id");
        refused(&vec![b' '; MAX_BYTES + 1], "more than the 65536");
        refused("[".repeat(10_000).as_bytes(), "is not JSON");
    }

    #[test]
    fn scalars_count_as_their_text() {
        let record = Record::parse(
            br#"{"filetype":"nodepresence","value":{"instance-id":"i-1","port":8080,"on":true,"l":[1],"state":""}}"#,
        )
        .unwrap();
        assert_eq!(record.text("port").as_deref(), Some("8080"));
        assert_eq!(record.text("on").as_deref(), Some("true"));
        assert_eq!(record.text("l"), None);
        assert_eq!(record.state(), None);
    }
}
