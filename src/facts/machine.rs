//! Facts that the machine itself knows.

use std::fs;

use super::network;
use crate::record::Facts;

/// Where systemd (machine-id(5)) and D-Bus keep the machine's unique id.
const MACHINE_IDS: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// Adds facts that the machine knows and no file states: `hostname`, `ipv4`, `ipv6`, `instance-id`.
pub fn complete(facts: &mut Facts) {
    add(facts, "instance-id", machine_id);
    add(facts, "hostname", hostname);
    add(facts, "ipv4", || network::ipv4().map(|address| address.to_string()));
    add(facts, "ipv6", || network::ipv6().map(|address| address.to_string()));
}

fn add(facts: &mut Facts, name: &str, find: impl FnOnce() -> Option<String>) {
    if !facts.contains_key(name)
        && let Some(value) = find()
    {
        facts.insert(name.to_owned(), value.into());
    }
}

fn hostname() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    (!name.is_empty()).then_some(name)
}

/// The machine id, 32 hexadecimal digits. In an image before its first boot the file is empty or has
/// "uninitialized".
fn machine_id() -> Option<String> {
    MACHINE_IDS
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .find_map(|text| usable_machine_id(&text))
}

fn usable_machine_id(text: &str) -> Option<String> {
    let id = text.trim();
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_real_machine_id_counts() {
        assert_eq!(
            usable_machine_id("3d1219c7c4c5404aaa1f6d2a48adfda4\n").as_deref(),
            Some("3d1219c7c4c5404aaa1f6d2a48adfda4")
        );
        for nothing in ["", "\n", "uninitialized\n", "3d12"] {
            assert_eq!(usable_machine_id(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn a_file_outranks_the_machine() {
        let mut facts = Facts::new();
        facts.insert("hostname".into(), "said".into());
        complete(&mut facts);
        assert_eq!(facts["hostname"], "said");
    }
}
