//! The addresses of the interface that carries the default route.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// The source address of packets to the default route. Nothing is sent: connecting a UDP socket only asks the
/// kernel for a route (connect(2)). The destination is in TEST-NET-1 (RFC 5737), for which no network has a
/// special route.
pub(super) fn ipv4() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if !address.is_unspecified() && !address.is_loopback() => Some(address),
        _ => None,
    }
}

/// A global address of the default route's interface. The kernel's own choice is often a temporary address
/// (RFC 8981), which changes daily, and each change would change the record.
pub(super) fn ipv6() -> Option<Ipv6Addr> {
    let interface = default_interface(&fs::read_to_string("/proc/net/ipv6_route").ok()?)?;
    lasting_address(&fs::read_to_string("/proc/net/if_inet6").ok()?, &interface)
}

/// All addresses of this machine except loopback. Empty if the system does not provide them.
pub fn own_addresses() -> Vec<IpAddr> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let four = local_addresses(&read("/proc/net/fib_trie")).into_iter().map(IpAddr::V4);
    let six = read("/proc/net/if_inet6");
    let six = six.lines().filter_map(|line| u128::from_str_radix(line.split(' ').next()?, 16).ok());
    let mut all: Vec<IpAddr> = four.chain(six.map(|bits| IpAddr::V6(bits.into()))).collect();
    all.retain(|address| !address.is_loopback());
    all.sort_unstable();
    all.dedup();
    all
}

/// This machine's addresses, from the lines of `/proc/net/fib_trie`: a line with an address is followed by
/// `/32 host LOCAL`.
fn local_addresses(trie: &str) -> Vec<Ipv4Addr> {
    let mut last: Option<Ipv4Addr> = None;
    let mut found = Vec::new();
    for line in trie.lines().map(str::trim) {
        match line.strip_prefix("|-- ") {
            Some(address) => last = address.parse().ok(),
            None if line == "/32 host LOCAL" => found.extend(last),
            None => {}
        }
    }
    found
}

/// The interface of the default route with the lowest metric, from the lines of `/proc/net/ipv6_route`:
/// destination, its prefix length, source, its prefix length, next hop, metric, references, use, flags, interface.
fn default_interface(routes: &str) -> Option<String> {
    const REJECT: u32 = 0x0200; // RTF_REJECT of linux/route.h: an "unreachable" entry, which lo always has
    routes
        .lines()
        .filter_map(|line| {
            let field: Vec<&str> = line.split_ascii_whitespace().collect();
            let [destination, "00", _, _, _, metric, _, _, flags, interface] = field[..] else { return None };
            let default = destination.bytes().all(|byte| byte == b'0');
            let usable = u32::from_str_radix(flags, 16).ok()? & REJECT == 0 && interface != "lo";
            (default && usable).then_some((u32::from_str_radix(metric, 16).ok()?, interface))
        })
        .min()
        .map(|(_, interface)| interface.to_owned())
}

/// The lowest permanent global address of an interface, from the lines of `/proc/net/if_inet6`: address,
/// interface number, prefix length, scope, flags, interface.
fn lasting_address(addresses: &str, wanted: &str) -> Option<Ipv6Addr> {
    const GLOBAL_SCOPE: &str = "00";
    // linux/if_addr.h: temporary 0x01, dadfailed 0x08, deprecated 0x20, tentative 0x40
    const PASSING: u8 = 0x01 | 0x08 | 0x20 | 0x40;
    addresses
        .lines()
        .filter_map(|line| {
            let field: Vec<&str> = line.split_ascii_whitespace().collect();
            let [address, _, _, GLOBAL_SCOPE, flags, interface] = field[..] else { return None };
            let lasting = u8::from_str_radix(flags, 16).ok()? & PASSING == 0;
            (lasting && interface == wanted)
                .then_some(Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?))
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "\
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth1
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000064 00000001 00000000 00000003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";
    const ADDRESSES: &str = "\
00000000000000000000000000000001 01 80 10 80       lo
20010db8000000000000000000000007 02 40 00 01     eth0
20010db8000000000000000000000009 02 40 00 00     eth0
20010db8000000000000000000000003 03 40 00 00     eth1
fe800000000000000000000000000009 02 40 20 80     eth0
";

    const TRIE: &str = "\
Local:
  +-- 10.0.0.0/24 2 0 2
     |-- 10.0.0.0
        /24 link UNICAST
     |-- 10.0.0.9
        /32 host LOCAL
     |-- 10.0.0.255
        /32 link BROADCAST
     |-- 127.0.0.1
        /32 host LOCAL
";

    #[test]
    fn the_addresses_of_this_machine_are_found() {
        let seen: Vec<String> = local_addresses(TRIE).iter().map(ToString::to_string).collect();
        assert_eq!(seen, ["10.0.0.9", "127.0.0.1"]);
        assert!(own_addresses().iter().all(|address| !address.is_loopback()));
    }

    #[test]
    fn the_lasting_address_of_the_default_route_is_found() {
        assert_eq!(default_interface(ROUTES).as_deref(), Some("eth0"));
        assert_eq!(lasting_address(ADDRESSES, "eth0").unwrap().to_string(), "2001:db8::9");
        assert_eq!(default_interface("garbage\n\n"), None);
        assert_eq!(lasting_address(ADDRESSES, "eth7"), None);
    }
}
