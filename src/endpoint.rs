//! The address of a node: an IP address and a port, both with exactly one spelling.

mod allowed;

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Serialize, Serializer};

pub use allowed::{Allowed, Forbidden, Network, NetworkError};

use crate::sanitize::excerpt;

/// The IP address of one node, in canonical form.
///
/// Only text that the standard library parses as an IP address gets here. So host names cannot, nor HAProxy's
/// address prefixes (`unix@`, `abns@`, `fd@`; HAProxy 2.6 manual, section 4.2, `bind`), nor the environment
/// variables that HAProxy expands in an address under every kind of quoting. An IPv4-mapped IPv6 address (RFC
/// 4291, section 2.5.5.2) becomes the IPv4 address that it stands for: one endpoint has one spelling, and a
/// refused address has no second one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(IpAddr);

impl Address {
    /// Parses the address of one node. The error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let ip: IpAddr = text.parse().map_err(|_| match text.contains('%') {
            true => AddressError::Zone { shown: excerpt(text) },
            false => AddressError::Syntax { shown: excerpt(text) },
        })?;
        Self::try_from(ip)
    }

    /// The address with IPv6 in brackets, as needed before a colon and a port.
    ///
    /// If no port follows, HAProxy reads the last group of an IPv6 address without brackets as the port.
    pub fn bracketed(&self) -> String {
        match self.0 {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        }
    }

    /// `10.0.0.1:80` or `[2001:db8::1]:80`.
    pub fn host_port(&self, port: Port) -> String {
        match self.0 {
            // Without the formatting machinery: a balancer's file has a hundred thousand of them.
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                let mut text = String::with_capacity("255.255.255.255:65535".len());
                for (before, number) in [("", a), (".", b), (".", c), (".", d)] {
                    text.push_str(before);
                    push_number(number.into(), &mut text);
                }
                text.push(':');
                push_number(port.get(), &mut text);
                text
            }
            IpAddr::V6(ip) => format!("[{ip}]:{port}"),
        }
    }

    /// The address as the standard library's type.
    pub fn ip(&self) -> IpAddr {
        self.0
    }
}

fn push_number(number: u16, text: &mut String) {
    if number >= 10 {
        push_number(number / 10, text);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

impl TryFrom<IpAddr> for Address {
    type Error = AddressError;

    fn try_from(ip: IpAddr) -> Result<Self, AddressError> {
        let ip = ip.to_canonical();
        // RFC 6890, table 1: all of 0.0.0.0/8 is "this host on this network" and never a destination.
        let unspecified = ip.is_unspecified() || matches!(ip, IpAddr::V4(v4) if v4.octets()[0] == 0);
        let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
        if unspecified {
            Err(AddressError::Unspecified { address: ip })
        } else if ip.is_multicast() {
            Err(AddressError::Multicast { address: ip })
        } else if broadcast {
            Err(AddressError::Broadcast)
        } else {
            Ok(Self(ip))
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

/// The bare address, IPv6 without brackets (as in RFC 5952).
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a text is not an [`Address`].
///
/// `shown` is the start of the text with control characters escaped, safe to print.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not an IPv4 or IPv6 address.
    #[error(
        "`{shown}` is not an IP address; write it like `192.0.2.1` or `2001:db8::1`, without port or brackets"
    )]
    Syntax {
        /// The start of the text.
        shown: String,
    },
    /// It has a zone id, which names an interface of the node that wrote it, not of the reader.
    #[error(
        "the address `{shown}` has a zone id (`%…`), which means nothing on another machine; leave it out"
    )]
    Zone {
        /// The start of the text.
        shown: String,
    },
    /// `::`, or in 0.0.0.0/8: as a destination, its meaning depends on the reader.
    #[error("`{address}` is an unspecified address; give the one that other machines can reach")]
    Unspecified {
        /// The address.
        address: IpAddr,
    },
    /// A multicast address.
    #[error("`{address}` is a multicast address; give the address of one machine")]
    Multicast {
        /// The address.
        address: IpAddr,
    },
    /// 255.255.255.255.
    #[error("`255.255.255.255` is the broadcast address; give the address of one machine")]
    Broadcast,
}

/// A TCP or UDP port: 1–65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Port(NonZeroU16);

impl Port {
    /// Parses a port: decimal digits and nothing else.
    ///
    /// HAProxy reads `+80` as relative, `-80` as 4294967216 and `8_0` as 8 (measured with 2.6). A leading
    /// zero is refused too: HAProxy reads `080` as 80, but C's `strtol` with base 0 and YAML 1.1 read `010`
    /// as 8.
    pub fn parse(text: &str) -> Result<Self, PortError> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PortError::Syntax { shown: excerpt(text) });
        }
        if text.len() > 1 && text.starts_with('0') {
            return Err(PortError::LeadingZero { shown: excerpt(text) });
        }
        // Only digits are left, so the only possible error is the range.
        text.parse().map(Self).map_err(|_| PortError::Range { shown: excerpt(text) })
    }

    /// The port as a number.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl TryFrom<u64> for Port {
    type Error = PortError;

    fn try_from(number: u64) -> Result<Self, PortError> {
        let port = u16::try_from(number).ok().and_then(NonZeroU16::new);
        port.map(Self).ok_or_else(|| PortError::Range { shown: number.to_string() })
    }
}

impl FromStr for Port {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        Self::parse(text)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text or number is not a [`Port`].
///
/// `shown` is the start of the text with control characters escaped, safe to print.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Anything but decimal digits.
    #[error("`{shown}` is not a port; write decimal digits only")]
    Syntax {
        /// The start of the text.
        shown: String,
    },
    /// Digits that other programs read as octal.
    #[error("the port `{shown}` has a leading zero, which some programs read as octal; leave it out")]
    LeadingZero {
        /// The start of the text.
        shown: String,
    },
    /// 0, or more than 65535.
    #[error("the port {shown} is out of range; it must be 1–65535")]
    Range {
        /// The start of the text.
        shown: String,
    },
}

#[cfg(test)]
mod tests;
