//! The URL of a store in etcd: `etcd://HOST:PORT,HOST:PORT/PREFIX`.

/// The port of etcd's clients.
const PORT: u16 = 2379;

/// The most members that a URL may name.
const MAX_ENDPOINTS: usize = 16;

/// The prefix without one in the URL.
const PREFIX: &str = "presence";

/// Where the members of a cluster are, and where in it the list is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// Whether connections are encrypted.
    pub(super) secure: bool,
    /// `HOST:PORT` of each member, in the order of the URL.
    pub(super) endpoints: Vec<String>,
    /// The keys of the list begin with `/` and this.
    pub(super) prefix: String,
}

/// Whether the URL names a store in etcd.
pub(crate) fn is_url(url: &str) -> bool {
    scheme(url).is_some()
}

/// Whether the connection is encrypted, and the rest of the URL.
fn scheme(url: &str) -> Option<(bool, &str)> {
    let plain = url.strip_prefix("etcd://").map(|rest| (false, rest));
    plain.or_else(|| url.strip_prefix("etcds://").map(|rest| (true, rest)))
}

impl Address {
    /// The address, or what is wrong with the URL.
    pub(super) fn parse(url: &str) -> Result<Address, &'static str> {
        let (secure, rest) = scheme(url).ok_or("the scheme is neither `etcd` nor `etcds`")?;
        if rest.contains('@') {
            return Err("it has a user or a password, which belong in `[etcd]` of presence.toml");
        }
        if rest.contains(['?', '#']) {
            return Err("it has a `?` or `#`");
        }
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let endpoints = hosts.split(',').map(endpoint).collect::<Option<Vec<String>>>();
        let endpoints = endpoints.ok_or("a member is not HOST, HOST:PORT or [IPV6]:PORT")?;
        if endpoints.len() > MAX_ENDPOINTS {
            return Err("it names more than 16 members");
        }
        let prefix = path.trim_end_matches('/');
        let usable =
            |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(char::is_control);
        match prefix {
            "" => Ok(Address { secure, endpoints, prefix: PREFIX.to_owned() }),
            prefix if prefix.split('/').all(usable) => {
                Ok(Address { secure, endpoints, prefix: prefix.to_owned() })
            }
            _ => Err("its path has empty or hidden parts"),
        }
    }

    /// The URL of a request to that member.
    pub(super) fn url(&self, endpoint: usize, path: &str) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.endpoints[endpoint])
    }
}

/// A member as `HOST:PORT`.
fn endpoint(text: &str) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse::<u16>().ok()?),
        _ => (text, PORT),
    };
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_usable = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(of_name),
    };
    is_usable.then(|| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_members_and_a_prefix() {
        let parsed = |url: &str| {
            let Address { secure, endpoints, prefix } = Address::parse(url).unwrap();
            format!("{secure} {} {prefix}", endpoints.join(" "))
        };
        assert_eq!(parsed("etcd://a:1,b,[::1]:3/fleet/one/"), "false a:1 b:2379 [::1]:3 fleet/one");
        assert_eq!(parsed("etcds://10.0.0.1"), "true 10.0.0.1:2379 presence");
        assert_eq!(parsed("etcd://[::1]"), "false [::1]:2379 presence");
        assert_eq!(Address::parse("etcds://a:1/x").unwrap().url(0, "/v3"), "https://a:1/v3");
        assert!(is_url("etcd://h") && is_url("etcds://h") && !is_url("etcd:h") && !is_url("/etcd://h"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (url, expect) in [
            ("etcd://u:p@h/x", "a password"),
            ("etcd://h/x?y", "`?`"),
            ("etcd:///x", "a member is not"),
            ("etcd://a,,b/x", "a member is not"),
            ("etcd://a:99999/x", "a member is not"),
            ("etcd://[::x]:1/x", "a member is not"),
            ("etcd://a/x//y", "empty or hidden"),
            ("etcd://a/.x", "empty or hidden"),
            ("git://a/x", "the scheme"),
        ] {
            let error = Address::parse(url).unwrap_err();
            assert!(error.contains(expect), "{url}: {error}");
        }
        let many = format!("etcd://{}/x", ["a"; 17].join(","));
        assert!(Address::parse(&many).unwrap_err().contains("more than 16"));
    }
}
