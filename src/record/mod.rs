//! A node's record: parsing, checks, and the bytes of its file.

mod envelope;
mod packed;
mod scan;
mod services;

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::civil::DateTime;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::errors::chain;
use crate::name::{Name, NameError};
use crate::sanitize::excerpt;
pub use envelope::Envelope;
pub use packed::Fact;
use packed::Packed;
use scan::Spelling;
pub use services::{MAX_SERVICES, SERVICE, SERVICES, Service, Services};

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
/// of memory, so a clone is cheap. Records with the same facts are equal, whatever their files look like.
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

    /// The form for [`Record::unpack`].
    pub fn packed(&self) -> &Bytes {
        self.facts.bytes()
    }

    /// The facts alone in packed form. Equal facts have equal bytes.
    pub fn packed_facts(&self) -> &[u8] {
        self.facts.facts_bytes()
    }

    /// The bytes of the file: exactly those that were read, with everything that stands beside the facts. A
    /// record that was made from facts has sorted keys, 4 spaces and a final newline, and equal facts give equal
    /// bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.facts.file().map_or_else(|| written(&self.facts()), |(_, file)| file.to_vec())
    }

    /// The file for people: all that [`Record::to_bytes`] has, with sorted keys and 4 spaces.
    pub fn to_pretty(&self) -> String {
        let pretty = self.file().map_or_else(|| written(&self.facts()), |file| pretty(&file));
        String::from_utf8_lossy(&pretty).into_owned()
    }

    /// The fields beside the facts.
    pub fn envelope(&self) -> Envelope {
        self.file().map(|file| Envelope::of(&file)).unwrap_or_default()
    }

    /// What is malformed beside the facts, as the end of a sentence that begins with the path.
    pub fn envelope_problem(&self) -> Option<&'static str> {
        envelope::problem(self.facts.file()?.0)
    }

    /// The file, if its bytes do not follow from the facts.
    fn file(&self) -> Option<Map<String, Value>> {
        serde_json::from_slice(without_mark(self.facts.file()?.1)).ok()
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

/// Appends a record in packed form: its facts, and its file if the bytes of that do not follow from the facts.
fn pack(file: &[u8], packed: &mut Vec<u8>) -> Result<(), RecordError> {
    if file.len() > MAX_BYTES {
        return Err(RecordError::TooLarge(file.len() as u64));
    }
    let bytes = without_mark(file);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let mut facts = Vec::with_capacity(32);
        if let Some(spelling) = scan::facts(text, FILETYPE, &mut facts) {
            for (name, value) in facts {
                packed::put(name, Fact::Text(value), packed);
            }
            if spelling == Spelling::Other || bytes.len() < file.len() {
                packed::put_file(envelope::SOUND, file, packed);
            }
            return Ok(());
        }
    }
    let Value::Object(mut fields) = serde_json::from_slice(bytes).map_err(RecordError::NotJson)? else {
        return Err(RecordError::WrongFiletype("missing".into()));
    };
    match fields.get("filetype") {
        Some(Value::String(kind)) if kind == FILETYPE => {}
        Some(other) => {
            let kind = text(other).unwrap_or_else(|| other.to_string().into());
            return Err(RecordError::WrongFiletype(format!("`{}`", excerpt(&kind))));
        }
        None => return Err(RecordError::WrongFiletype("missing".into())),
    }
    let Some(Value::Object(facts)) = fields.remove("value") else { return Err(RecordError::NoFacts) };
    let facts: Facts = facts.into_iter().collect();
    packed::put_facts(&facts, packed);
    if fields.len() > 1 || written(&facts) != file {
        packed::put_file(envelope::note(&fields), file, packed);
    }
    Ok(())
}

/// The bytes without the byte order mark that Windows editors write. Readers may ignore it (RFC 8259, section
/// 8.1).
fn without_mark(file: &[u8]) -> &[u8] {
    file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file)
}

/// The file of a record with only these facts.
fn written(facts: &Facts) -> Vec<u8> {
    pretty(&RecordFile { filetype: FILETYPE, value: facts })
}

fn pretty(file: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut writer = serde_json::Serializer::with_formatter(&mut bytes, indent);
    file.serialize(&mut writer).expect("a map with string keys always serialises into memory");
    bytes.push(b'\n');
    bytes
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
        let written = Record::new(record.facts()).unwrap().to_bytes();
        assert_eq!(Record::parse(&written).unwrap(), record);
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

    #[test]
    fn a_file_is_kept_only_if_the_facts_do_not_make_it() {
        for (text, kept) in [
            (String::from_utf8_lossy(OF_2015).into_owned(), false),
            (String::from_utf8_lossy(OF_2015).replace(r#""lad1""#, "7"), false),
            (String::from_utf8_lossy(OF_2015).replace(r#""lad1""#, r#""\u0001""#), false),
            (String::from_utf8_lossy(OF_2015).replace("    ", "  "), true),
            (String::from_utf8_lossy(OF_2015).trim_end().to_owned(), true),
            (String::from_utf8_lossy(OF_2015).replace("\"a\"", "\"z\""), true),
            (format!("\u{feff}{}", String::from_utf8_lossy(OF_2015)), true),
        ] {
            let record = Record::parse(text.as_bytes()).unwrap();
            assert_eq!(record.packed().len() > record.packed_facts().len(), kept, "{text}");
            assert_eq!(String::from_utf8(record.to_bytes()).unwrap(), text);
            assert!(record == Record::new(record.facts()).unwrap(), "equal facts make equal records: {text}");
        }
    }

    /// The file of a node with these JSON texts beside its facts.
    fn beside(fields: &str) -> Record {
        let text = format!(r#"{{"filetype":"nodepresence",{fields}"value":{{"instance-id":"i-1"}}}}"#);
        Record::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_serial_and_a_signature_are_read_and_shown() {
        let record = beside(r#""serial":18446744073709551615,"signature":"a\nb","#);
        let expect = Envelope { serial: Some(u64::MAX), signature: Some("a\nb".into()) };
        assert_eq!((record.envelope(), record.envelope_problem()), (expect, None));
        let pretty = "{\n    \"filetype\": \"nodepresence\",\n    \"serial\": 18446744073709551615,\n    \
                      \"signature\": \"a\\nb\",\n    \"value\": {\n        \"instance-id\": \"i-1\"\n    }\n}\n";
        assert_eq!(record.to_pretty(), pretty);
        assert_eq!(beside("").envelope(), Envelope::default());
    }

    #[test]
    fn what_is_malformed_beside_the_facts_is_ignored_and_told() {
        for (serial, told) in [
            ("0", None),
            ("7", None),
            ("-1", Some("serial")),
            ("1.0", Some("serial")),
            ("18446744073709551616", Some("serial")),
            ("\"7\"", Some("serial")),
            ("null", Some("serial")),
        ] {
            let record = beside(&format!(r#""serial":{serial},"signature":"s","#));
            assert_eq!(record.envelope().serial, serial.parse().ok(), "{serial}");
            assert_eq!(record.envelope().signature.as_deref(), Some("s"));
            assert_eq!(record.envelope_problem().is_some(), told.is_some(), "{serial}");
        }
        for signature in ["7", "null", "[]", "{}"] {
            let record = beside(&format!(r#""signature":{signature},"serial":"x","#));
            assert_eq!(record.envelope(), Envelope::default());
            assert!(record.envelope_problem().unwrap().contains("presence ignores both"));
        }
    }

    proptest::proptest! {
        /// Whatever stands beside the facts, in whatever order and spelling: the bytes are carried.
        #[test]
        fn every_byte_of_a_record_is_carried(
            serial in "|[0-9]{1,20}|-?[0-9.e]{1,4}|null|\"x\"",
            signature in "|\\PC{0,300}",
            other in "|[a-z]{1,8}",
            facts in proptest::collection::btree_map("\\PC{0,9}", "\\PC{0,20}", 0..6),
            order in 0usize..6,
            indent in 0usize..5,
            mark: bool,
        ) {
            let mut facts: Facts = facts.into_iter().map(|(name, value)| (name, value.into())).collect();
            facts.insert("instance-id".into(), "i-1".into());
            let mut fields = vec![("filetype", format!("\"{FILETYPE}\"")), ("value", serde_json::to_string(&facts).unwrap())];
            if !serial.is_empty() {
                fields.push(("serial", serial));
            }
            if !signature.is_empty() {
                fields.push(("signature", serde_json::to_string(&signature).unwrap()));
            }
            if !["", "value", "filetype", "serial", "signature"].contains(&other.as_str()) {
                fields.push((&other, "[1, {}]".into()));
            }
            match order {
                0 => fields.sort(),
                order => { let begin = order % fields.len(); fields.rotate_left(begin) }
            }
            let space = " ".repeat(indent);
            let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{space}\"{key}\":{space}{value}")).collect();
            let bom = if mark { "\u{feff}" } else { "" };
            let text = format!("{bom}{{\n{}\n}}\n", fields.join(",\n"));
            // Not every text that looks like a number is one.
            let Ok(record) = Record::parse(text.as_bytes()) else { return Ok(()) };
            proptest::prop_assert_eq!(record.facts(), facts);
            let mut packed = Vec::new();
            Record::pack("a/i-1.json", text.as_bytes(), &mut packed).unwrap();
            let unpacked = Record::unpack(packed.into()).unwrap();
            for record in [&record, &unpacked] {
                proptest::prop_assert_eq!(record.to_bytes(), text.as_bytes());
                proptest::prop_assert_eq!(record.envelope(), unpacked.envelope());
            }
        }
    }
}
