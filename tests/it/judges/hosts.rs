//! A hosts file, parsed by the rules of hosts(5), and by the C library if the test may mount it over
//! `/etc/hosts`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;

use super::write;

/// The names of each address, in order.
#[track_caller]
pub(crate) fn read(text: &str) -> Vec<(IpAddr, Vec<String>)> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().split_whitespace().collect::<Vec<_>>())
        .filter(|words| !words.is_empty())
        .map(|words| (words[0].parse().unwrap(), words[1..].iter().map(|name| (*name).to_owned()).collect()))
        .collect()
}

/// The address that the C library finds for each name. `None` if mounts are not allowed.
pub(crate) fn found(text: &str, names: &[String]) -> Option<BTreeMap<String, IpAddr>> {
    let directory = tempfile::tempdir().unwrap();
    let (hosts, list) = (directory.path().join("hosts"), directory.path().join("names"));
    write(&hosts, text);
    write(&list, names.iter().map(|name| format!("{name}\n")).collect::<String>());
    // Only the first address, and only from the file.
    let script = "mount --bind \"$1\" /etc/hosts && xargs -n 500 getent --service=files ahosts < \"$2\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(&hosts).arg(&list);
    let output = command.output().ok()?;
    let mut found = BTreeMap::new();
    let mut asked = names.iter();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        // Each address has a stream, a datagram and a raw socket.
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[1] == "STREAM" {
            found.insert(asked.next()?.clone(), words[0].parse().unwrap());
        }
    }
    (asked.next().is_none() && !found.is_empty()).then_some(found)
}
