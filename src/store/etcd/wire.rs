//! The messages of etcd's JSON gateway (<https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/>), as far as they
//! are used: keys and values in base64, whole numbers as text, fields without a value left out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize, Serializer};

/// Bytes in base64.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map(Bytes).map_err(D::Error::custom)
    }
}

/// A whole number, as text or as a number.
fn number<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: std::str::FromStr + TryFrom<i64>,
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Number(i64),
    }
    let bad = || D::Error::custom("a number is out of range");
    match Either::deserialize(deserializer)? {
        Either::Text(text) => text.parse().map_err(|_| bad()),
        Either::Number(number) => T::try_from(number).map_err(|_| bad()),
    }
}

/// Who answered, and when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    #[serde(deserialize_with = "number")]
    pub(super) cluster_id: u64,
    #[serde(deserialize_with = "number")]
    pub(super) member_id: u64,
    #[serde(deserialize_with = "number")]
    pub(super) revision: i64,
    #[serde(deserialize_with = "number")]
    pub(super) raft_term: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeyValue {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    #[serde(deserialize_with = "number")]
    pub(super) create_revision: i64,
    #[serde(deserialize_with = "number")]
    pub(super) mod_revision: i64,
    #[serde(deserialize_with = "number")]
    pub(super) version: i64,
    #[serde(deserialize_with = "number")]
    pub(super) lease: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct RangeRequest {
    pub(super) key: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) range_end: Option<Bytes>,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) limit: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) revision: i64,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) keys_only: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) min_mod_revision: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RangeResponse {
    pub(super) header: Header,
    pub(super) kvs: Vec<KeyValue>,
    pub(super) more: bool,
    #[serde(deserialize_with = "number")]
    pub(super) count: i64,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct PutRequest {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) lease: i64,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct DeleteRequest {
    pub(super) key: Bytes,
}

/// One operation of a transaction.
#[derive(Debug, Clone, Serialize)]
pub(super) enum Operation {
    #[serde(rename = "request_range")]
    Range(RangeRequest),
    #[serde(rename = "request_put")]
    Put(PutRequest),
    #[serde(rename = "request_delete_range")]
    Delete(DeleteRequest),
}

impl Operation {
    pub(super) fn get(key: Vec<u8>, revision: i64) -> Operation {
        Operation::Range(RangeRequest { key: Bytes(key), revision, ..RangeRequest::default() })
    }

    pub(super) fn put(key: Vec<u8>, value: Vec<u8>, lease: i64) -> Operation {
        Operation::Put(PutRequest { key: Bytes(key), value: Bytes(value), lease })
    }

    pub(super) fn delete(key: Vec<u8>) -> Operation {
        Operation::Delete(DeleteRequest { key: Bytes(key) })
    }
}

/// A condition of a transaction.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Compare {
    key: Bytes,
    target: &'static str,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mod_revision: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
}

impl Compare {
    /// The key was last written in that revision; 0 if it must not exist.
    pub(super) fn unchanged(key: Vec<u8>, mod_revision: i64) -> Compare {
        let mod_revision = Some(mod_revision);
        Compare { key: Bytes(key), target: "MOD", result: "EQUAL", mod_revision, version: None }
    }

    /// A condition that never holds.
    pub(super) fn never(key: Vec<u8>) -> Compare {
        Compare { key: Bytes(key), target: "VERSION", result: "EQUAL", mod_revision: None, version: Some(-1) }
    }
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct TxnRequest {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) compare: Vec<Compare>,
    pub(super) success: Vec<Operation>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TxnResponse {
    pub(super) succeeded: bool,
    pub(super) responses: Vec<OperationResponse>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OperationResponse {
    pub(super) response_range: RangeResponse,
}

#[derive(Debug, Serialize)]
pub(super) struct GrantRequest {
    #[serde(rename = "TTL")]
    pub(super) ttl: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct KeepAliveRequest {
    #[serde(rename = "ID")]
    pub(super) id: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LeaseResponse {
    #[serde(rename = "ID", deserialize_with = "number")]
    pub(super) id: i64,
    #[serde(rename = "TTL", deserialize_with = "number")]
    pub(super) ttl: i64,
}

/// One message of a stream.
#[derive(Debug, Deserialize)]
pub(super) struct Streamed<T> {
    pub(super) result: Option<T>,
    pub(super) error: Option<StreamError>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StreamError {
    pub(super) message: String,
}

#[derive(Debug, Serialize)]
pub(super) struct WatchRequest {
    pub(super) create_request: WatchCreateRequest,
}

#[derive(Debug, Serialize)]
pub(super) struct WatchCreateRequest {
    pub(super) key: Bytes,
    pub(super) range_end: Bytes,
    pub(super) start_revision: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchResponse {
    pub(super) header: Header,
    pub(super) created: bool,
    pub(super) canceled: bool,
    #[serde(deserialize_with = "number")]
    pub(super) compact_revision: i64,
    pub(super) cancel_reason: String,
    pub(super) events: Vec<serde::de::IgnoredAny>,
}

#[derive(Serialize)]
pub(super) struct AuthRequest<'a> {
    pub(super) name: &'a str,
    pub(super) password: &'a str,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct AuthResponse {
    pub(super) token: String,
}

/// A request without fields.
#[derive(Debug, Default, Serialize)]
pub(super) struct Empty {}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct StatusResponse {
    pub(super) version: String,
    #[serde(deserialize_with = "number")]
    pub(super) db_size: u64,
    #[serde(deserialize_with = "number")]
    pub(super) db_size_in_use: u64,
    #[serde(deserialize_with = "number")]
    pub(super) leader: u64,
    pub(super) header: Header,
}

#[derive(Debug, Serialize)]
pub(super) struct AlarmRequest {
    pub(super) action: &'static str,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AlarmResponse {
    pub(super) alarms: Vec<Alarm>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Alarm {
    #[serde(rename = "memberID", deserialize_with = "number")]
    pub(super) member_id: u64,
    pub(super) alarm: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_etcd_is_read() {
        let text = r#"{"header":{"cluster_id":"6012025715201963436","member_id":"1","revision":"2","raft_term":"2"},
            "kvs":[{"key":"L2EvMQ==","create_revision":"2","mod_revision":"2","version":"1","value":"eA=="}],"count":"1"}"#;
        let answer: RangeResponse = serde_json::from_str(text).unwrap();
        assert_eq!((answer.header.cluster_id, answer.header.revision), (6_012_025_715_201_963_436, 2));
        let kv = &answer.kvs[0];
        assert_eq!((kv.key.0.as_slice(), kv.value.0.as_slice(), kv.lease), (&b"/a/1"[..], &b"x"[..], 0));
        assert!(serde_json::from_str::<RangeResponse>(r#"{"count":"many"}"#).is_err());
        assert!(serde_json::from_str::<RangeResponse>(r#"{"kvs":[{"key":"*"}]}"#).is_err());
    }

    #[test]
    fn a_request_has_only_what_is_said() {
        let txn = TxnRequest {
            compare: vec![Compare::unchanged(b"k".to_vec(), 7)],
            success: vec![Operation::put(b"k".to_vec(), b"v".to_vec(), 0)],
        };
        assert_eq!(
            serde_json::to_string(&txn).unwrap(),
            r#"{"compare":[{"key":"aw==","target":"MOD","result":"EQUAL","mod_revision":7}],"success":[{"request_put":{"key":"aw==","value":"dg=="}}]}"#
        );
    }
}
