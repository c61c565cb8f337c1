//! Which addresses records may state.
//!
//! A balancer connects to the addresses in records. A record with the balancer's own loopback address, or
//! with that of a service that only its own link can reach, would expose what nobody else can reach.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::Address;
use crate::sanitize::excerpt;

/// A network, or one address: `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    ip: IpAddr,
    bits: u32,
}

/// The text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a network; write it like `10.0.0.0/8`, `2001:db8::/32` or `192.0.2.1`")]
pub struct NetworkError(String);

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let bad = || NetworkError(excerpt(text));
        let (ip, bits) = match text.trim().split_once('/') {
            Some((ip, bits)) => (ip, Some(bits)),
            None => (text.trim(), None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| bad())?;
        let width = if ip.is_ipv4() { 32 } else { 128 };
        let is_number = |bits: &&str| !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = match bits {
            None => width,
            Some(bits) => Some(bits).filter(is_number).and_then(|bits| bits.parse().ok()).ok_or_else(bad)?,
        };
        if bits > width {
            return Err(bad());
        }
        Ok(Network { ip, bits })
    }
}

impl Network {
    fn has(self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(of), IpAddr::V4(ip)) => {
                of.to_bits().checked_shr(32 - self.bits).unwrap_or(0)
                    == ip.to_bits().checked_shr(32 - self.bits).unwrap_or(0)
            }
            (IpAddr::V6(of), IpAddr::V6(ip)) => {
                of.to_bits().checked_shr(128 - self.bits).unwrap_or(0)
                    == ip.to_bits().checked_shr(128 - self.bits).unwrap_or(0)
            }
            _ => false,
        }
    }

    /// Whether this network is just that address, or all addresses.
    fn means(self, ip: IpAddr) -> bool {
        self.has(ip) && [0, if ip.is_ipv4() { 32 } else { 128 }].contains(&self.bits)
    }
}

/// Which addresses records may state: all but special ones, or those of the operator's networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed(Vec<Network>);

/// A record may not state this address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// It is special.
    #[error("`{address}` is {kind}, which `addresses` does not allow")]
    Special {
        /// The stated address.
        address: Address,
        /// The kind of special address.
        kind: &'static str,
    },
    /// It is in none of the networks.
    #[error("`{0}` is in no network of `addresses`")]
    Elsewhere(Address),
    /// It is this machine's own, but the record is another node's.
    #[error("`{0}` is this machine's own address; list it in `addresses` to allow it")]
    Own(Address),
}

impl Allowed {
    /// Allows these networks. An empty list allows all but the special addresses.
    pub fn of(networks: &[String]) -> Result<Allowed, NetworkError> {
        networks.iter().map(|network| network.parse()).collect::<Result<_, _>>().map(Allowed)
    }

    /// Whether a record may state an address. `own` are the addresses of the reading machine, or empty if the
    /// record is its own.
    pub fn judge(&self, address: Address, own: &[IpAddr]) -> Result<(), Forbidden> {
        let ip = address.ip();
        for ip in [Some(ip)].into_iter().chain(embedded(ip).map(|ip| ip.map(IpAddr::V4))).flatten() {
            if own.contains(&ip) && !self.0.iter().any(|network| network.means(ip)) {
                return Err(Forbidden::Own(address));
            }
            match self.0.is_empty() {
                true => special(ip).map_or(Ok(()), |kind| Err(Forbidden::Special { address, kind }))?,
                false if self.0.iter().any(|network| network.has(ip)) => {}
                false => return Err(Forbidden::Elsewhere(address)),
            }
        }
        Ok(())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}

/// The IPv4 addresses to which packets to this address may be forwarded.
fn embedded(ip: IpAddr) -> [Option<Ipv4Addr>; 2] {
    let IpAddr::V6(ip) = ip else { return [None; 2] };
    let octets = ip.octets();
    let four = |places: [usize; 4]| Ipv4Addr::from(places.map(|place| octets[place]));
    let at = |places| [Some(four(places)), None];
    match ip.segments() {
        // RFC 4291, section 2.5.5.1: IPv4-compatible; RFC 6052: NAT64 with the well-known prefix.
        [0, 0, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => at([12, 13, 14, 15]),
        // RFC 8215: local-use NAT64, with a prefix of 48 bits (RFC 6052, section 2.2) or of 96.
        [0x64, 0xff9b, 1, ..] => {
            let both = [[6, 7, 9, 10], [12, 13, 14, 15]].map(four);
            both.map(|four| Some(four).filter(|four| !four.is_unspecified()))
        }
        // RFC 3056: 6to4.
        [0x2002, ..] => at([2, 3, 4, 5]),
        _ => [None; 2],
    }
}

/// The metadata services of clouds, which give machines their secrets. Those at link-local addresses are
/// covered by that rule.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// The kind of special address (RFC 6890 and the IANA registries that follow it), if it is one.
fn special(ip: IpAddr) -> Option<&'static str> {
    if METADATA.contains(&ip) {
        return Some("the address of a cloud's metadata service");
    }
    match ip {
        IpAddr::V4(ip) => match ip.octets() {
            [0, ..] => Some("an unspecified address"),
            [127, ..] => Some("a loopback address"),
            [169, 254, ..] => Some("a link-local address"),
            // RFC 6890: IETF protocol assignments.
            [192, 0, 0, _] => Some("a reserved address"),
            [224..=239, ..] => Some("a multicast address"),
            [240..=255, ..] => Some("a reserved address"),
            _ => None,
        },
        IpAddr::V6(ip) => match ip.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Some("an unspecified address"),
            [0, 0, 0, 0, 0, 0, 0, 1] => Some("a loopback address"),
            [0xfe80..=0xfebf, ..] => Some("a link-local address"),
            [0xff00..=0xffff, ..] => Some("a multicast address"),
            // RFC 4380: Teredo, which leads to an IPv4 address behind a translator.
            [0x2001, 0, ..] => Some("a reserved address"),
            // Global unicast, unique local, and the forms that are judged by their embedded IPv4 address.
            [0x2000..=0x3fff | 0xfc00..=0xfdff, ..] => None,
            [0x64, 0xff9b, 0 | 1, ..] | [0, 0, 0, 0, 0, 0, ..] => None,
            _ => Some("a reserved address"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(networks: &[&str], address: &str, expect: &str) {
        let networks: Vec<String> = networks.iter().map(|network| (*network).to_owned()).collect();
        let allowed = Allowed::of(&networks).unwrap();
        let own = ["10.0.0.1", "2001:db8::1"].map(|ip| ip.parse().unwrap());
        let seen = allowed.judge(address.parse().unwrap(), &own);
        let seen = seen.map_or_else(|error| error.to_string(), |()| "allowed".to_owned());
        assert!(seen.contains(expect), "{networks:?} {address}: {seen}");
    }

    #[test]
    fn by_default_only_what_other_machines_can_reach_is_allowed() {
        for address in [
            "10.0.0.2",
            "192.168.1.1",
            "203.0.113.9",
            "100.64.0.1",
            "2001:db8::2",
            "fd12::1",
            "64:ff9b::a00:2",
            "64:ff9b:1::a00:2",
        ] {
            check(&[], address, "allowed");
        }
        for (address, kind) in [
            ("127.0.0.1", "loopback"),
            ("127.9.9.9", "loopback"),
            ("::1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::127.0.0.1", "loopback"),
            ("64:ff9b::7f00:1", "loopback"),
            ("64:ff9b:1:7f00:0:100::", "loopback"),
            ("64:ff9b:1::7f00:1", "loopback"),
            ("2002:7f00:1::", "loopback"),
            ("169.254.169.254", "link-local"),
            ("64:ff9b::a9fe:a9fe", "link-local"),
            ("fe80::1", "link-local"),
            ("::2", "unspecified"),
            ("64:ff9b::", "unspecified"),
            ("64:ff9b::e000:1", "multicast"),
            ("240.0.0.1", "reserved"),
            ("4000::1", "reserved"),
            ("1::1", "reserved"),
            ("fd00:ec2::254", "metadata"),
            ("fd20:ce::254", "metadata"),
            ("192.0.0.170", "reserved"),
            ("2001:0:4136:e378:8000:63bf:80ff:fffe", "reserved"),
            ("100.100.100.200", "metadata"),
            ("10.0.0.1", "own"),
            ("::10.0.0.1", "own"),
            ("64:ff9b::a00:1", "own"),
            ("2001:db8::1", "own"),
        ] {
            check(&[], address, kind);
        }
    }

    #[test]
    fn what_the_operator_names_is_allowed_and_nothing_else() {
        check(&["10.0.0.0/8"], "10.200.0.1", "allowed");
        check(&["10.0.0.0/8"], "192.168.0.1", "no network");
        check(&["10.0.0.0/8"], "2001:db8::2", "no network");
        check(&["0.0.0.0/0"], "127.0.0.1", "allowed");
        check(&["::/0"], "64:ff9b::7f00:1", "no network");
        check(&["::/0", "127.0.0.0/8"], "64:ff9b::7f00:1", "allowed");
        check(&["127.0.0.0/8"], "127.0.0.1", "allowed");
        // Its own address is allowed only by itself, or with all addresses.
        check(&["0.0.0.0/0"], "10.0.0.1", "allowed");
        check(&["10.0.0.0/8"], "10.0.0.1", "own");
        check(&["10.0.0.0/8", "10.0.0.1"], "10.0.0.1", "allowed");
        check(&["10.0.0.1/32"], "10.0.0.1", "allowed");
        check(&["2001:db8::1/128"], "2001:db8::1", "allowed");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "x", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "::/129", "10.0.0.0/8/8"]
        {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        assert_eq!(" 10.0.0.0/8 ".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
    }
}
