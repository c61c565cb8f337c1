//! Host names for `/etc/hosts` and other files that a resolver reads.

use super::{Reason, Refused, only};

/// A host name: labels of RFC 1123, section 2.1 (letters, digits, inner hyphens; 1–63), joined by dots, at
/// most 253.
///
/// Also refused:
/// - a last label that is a number, decimal or `0x…`: `inet_aton` takes `10.1` or `0x7f.1` as an address, and
///   so do browsers (WHATWG URL, section 3.5, "ends in a number checker");
/// - `localhost` and similar names (RFC 6761, section 6.3): a record must not decide where a machine finds
///   itself.
///
/// Whether the name belongs to the node that claims it is not checked here.
pub fn hosts(value: &str) -> Result<String, Refused> {
    check(value).map_err(|reason| reason.of("a host name"))?;
    Ok(value.to_owned())
}

/// Names that the hosts files of distributions give to the machine itself.
const OWN_NAMES: [&str; 4] = ["localhost", "localhost4", "localhost6", "ip6-localhost"];

fn check(value: &str) -> Result<(), Reason> {
    only(value, |character| character.is_ascii_alphanumeric() || matches!(character, '-' | '.'))?;
    let is_name = value.len() <= 253 && value.split('.').all(is_label) && !ends_in_number(value);
    if !is_name {
        return Err(Reason::HostName);
    }
    let is_own = |label: &str| OWN_NAMES.iter().any(|own| label.eq_ignore_ascii_case(own));
    // In any label: first in `localhost.localdomain`, last in `x.localhost`.
    if value.split('.').any(is_own) || value.eq_ignore_ascii_case("ip6-loopback") {
        return Err(Reason::Reserved);
    }
    Ok(())
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
}

fn ends_in_number(value: &str) -> bool {
    let last = value.rsplit('.').next().unwrap_or(value).to_ascii_lowercase();
    match last.strip_prefix("0x") {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names() {
        #[track_caller]
        fn check(input: &str, expect: Result<(), Reason>) {
            let outcome = hosts(input).map_err(|refused| refused.reason);
            assert_eq!(outcome, expect.map(|()| input.to_owned()), "for {input:?}");
        }

        for name in ["a", "web-1", "web-1.example.org", "3com.net", "1.2.3.4a", "XN--NXASMQ6B", "a.0xg"] {
            check(name, Ok(()));
        }
        let long = [63, 63, 63, 61].map(|length| "x".repeat(length)).join(".");
        check(&long, Ok(()));
        check(&format!("{long}x"), Err(Reason::HostName));
        check(&"x".repeat(64), Err(Reason::HostName));
        for name in [
            "", ".", "a.", ".a", "a..b", "-a", "a-", "a.-b", "10.0.0.1", "10.1", "7", "0x7f.1", "127.0x1",
            "1.0x",
        ] {
            check(name, Err(Reason::HostName));
        }
        for name in [
            "localhost",
            "LOCALHOST",
            "localhost.localdomain",
            "a.localhost",
            "ip6-localhost",
            "ip6-loopback",
        ] {
            check(name, Err(Reason::Reserved));
        }
        for character in "_ \t\n\r\0#:/%$\u{7f}é".chars() {
            check(&format!("a{character}b"), Err(Reason::Character { character, position: 2 }));
        }
    }
}
