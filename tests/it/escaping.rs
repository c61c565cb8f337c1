//! The escaping functions, judged by the real programs.
//!
//! Each test writes many hostile values as a template would, and asks the program what it read. Values are
//! passed in files, never on a command line.

use std::collections::BTreeMap;

use crate::judges::{payloads, run, server, stdout, write};

mod haproxy;
mod java;
mod nginx;
mod shell;
mod yaml;

/// The payloads that `escape` accepts, each with its escaped form.
fn escaped<E>(escape: impl Fn(&str) -> Result<String, E>) -> Vec<(String, String)> {
    let escaped: Vec<_> =
        payloads().into_iter().filter_map(|value| escape(&value).ok().map(|text| (value, text))).collect();
    assert!(escaped.len() > 20, "nearly every payload is refused, so this test tests nothing");
    escaped
}

/// Compares value by value, so that a failure names the payload.
#[track_caller]
fn assert_same(values: &[(String, String)], read: &[String]) {
    for ((value, escaped), read) in values.iter().zip(read) {
        assert_eq!(read, value, "written as {escaped}");
    }
    assert_eq!(read.len(), values.len());
}

/// The entries `v0`, `v1`, … of a JSON object, in this order.
#[track_caller]
fn numbered(json: &[u8]) -> Vec<String> {
    let mut object: BTreeMap<String, String> = serde_json::from_slice(json).unwrap();
    let values = (0..object.len()).map_while(|index| object.remove(&format!("v{index}"))).collect();
    assert!(object.is_empty(), "keys that nobody wrote: {object:?}");
    values
}
