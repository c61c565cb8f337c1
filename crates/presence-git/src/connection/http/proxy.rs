//! Chooses the proxy for a server as git and curl do: `http.proxy` of git's configuration, else environment
//! variables. `no_proxy` applies to both.

use std::env;
use std::net::IpAddr;

use crate::TransportError;
use crate::address::{Address, Scheme};
use crate::configuration::{configuration, of_http};

/// Settings of proxies from the environment.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables {
    http: Option<String>,
    https: Option<String>,
    all: Option<String>,
    no_proxy: String,
}

impl Variables {
    pub(super) fn from_env() -> Variables {
        let said = |names: &[&str]| {
            names.iter().filter_map(|name| env::var(name).ok()).find(|value| !value.is_empty())
        };
        Variables {
            http: said(&["http_proxy", "HTTP_PROXY"]),
            https: said(&["https_proxy", "HTTPS_PROXY"]),
            all: said(&["all_proxy", "ALL_PROXY"]),
            no_proxy: said(&["no_proxy", "NO_PROXY"]).unwrap_or_default(),
        }
    }

    /// The proxy's URL; `None` for a direct connection.
    fn choose(&self, configured: Option<String>, scheme: Scheme, host: &str) -> Option<String> {
        let of_scheme = if scheme == Scheme::Https { &self.https } else { &self.http };
        // An empty `http.proxy` means no proxy, whatever the environment says.
        let proxy = configured.or_else(|| of_scheme.clone()).or_else(|| self.all.clone())?;
        (!proxy.is_empty() && !is_without(&self.no_proxy, host)).then_some(proxy)
    }
}

/// A proxy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Proxy {
    /// The configured URL, including a login.
    url: String,
    /// The URL without secrets.
    pub(super) shown: String,
}

/// The proxy for that repository; `None` for a direct connection. An unsupported proxy is an error, since
/// bypassing it could reveal what it is meant to hide.
pub(super) fn of(
    variables: &Variables,
    address: &Address,
    url: &str,
) -> Result<Option<Proxy>, TransportError> {
    let unusable = |proxy: &str, reason: String| TransportError::Proxy {
        peer: address.peer(),
        proxy: proxy.to_owned(),
        reason,
    };
    let configured = configuration().and_then(|config| of_http(&config, "proxy", url));
    let configured = configured.map_err(|error| unusable("http.proxy", error.message().to_owned()))?;
    let Some(url) = variables.choose(configured, address.scheme, &address.host) else { return Ok(None) };
    let proxy = Proxy { shown: shown(&url), url };
    if let Some(scheme) = proxy.scheme().filter(|scheme| !["http", "https"].contains(&scheme.as_str())) {
        let reason =
            format!("presence supports http:// and https:// proxies, not {}://", scheme.escape_debug());
        return Err(unusable(&proxy.shown, reason));
    }
    match proxy.to_ureq() {
        Some(_) => Ok(Some(proxy)),
        None => Err(unusable(&proxy.shown, "that is not the URL of a proxy".to_owned())),
    }
}

impl Proxy {
    fn scheme(&self) -> Option<String> {
        self.url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase())
    }

    /// In ureq's form. Which hosts need no proxy is decided in this module.
    pub(super) fn to_ureq(&self) -> Option<ureq::Proxy> {
        ureq::Proxy::new(&self.url).ok()
    }
}

/// Host and port, and the scheme if it is not `http`.
fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let place = rest.rsplit('@').next().unwrap_or_default().trim_end_matches('/');
    match scheme.eq_ignore_ascii_case("http") {
        true => place.to_owned(),
        false => format!("{scheme}://{place}"),
    }
}

/// Whether the host is exempt from proxies. Names include their subdomains, addresses may be networks,
/// separated by commas or whitespace (curl(1), `NO_PROXY`).
fn is_without(list: &str, host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let address = name.parse::<IpAddr>().ok();
    let covers = |entry: &str| {
        let entry = entry.to_ascii_lowercase();
        let entry = entry.trim_start_matches('[').trim_end_matches(']');
        if let Some(address) = address {
            return match entry.split_once('/') {
                Some((network, bits)) => is_in(address, network.trim_end_matches(']'), bits),
                None => entry.parse() == Ok(address),
            };
        }
        let entry = entry.strip_prefix('*').unwrap_or(entry).trim_start_matches('.').trim_end_matches('.');
        !entry.is_empty()
            && name.strip_suffix(entry).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    list.split(|letter: char| letter == ',' || letter.is_whitespace())
        .filter(|entry| !entry.is_empty())
        .any(|entry| entry == "*" || covers(entry))
}

/// Whether the address is in `network/bits`.
fn is_in(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    let same = |a: u128, b: u128, all: u32| bits <= all && (bits == 0 || (a ^ b) >> (all - bits) == 0);
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_need_no_proxy() {
        for (list, host, without) in [
            ("h.example", "h.example", true),
            ("h.example", "git.H.example.", true),
            ("h.example", "oh.example", false),
            (".h.example, *.x", "git.h.example", true),
            ("*.x", "a.x", true),
            ("a, git.example", "git.example", true),
            ("a git.example\tb", "git.example", true),
            ("*", "anything", true),
            ("", "h", false),
            (" , ", "h", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("a, 10.0.0.0/8", "11.1.2.3", false),
            ("192.168.1.0/25", "192.168.1.128", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("fd00::/8", "fd12::1", true),
            ("[::1]", "::1", true),
            ("::1", "0:0:0:0:0:0:0:1", true),
            ("1.2.3", "1.2.3.4", false),
        ] {
            assert_eq!(is_without(list, host), without, "{list:?} {host}");
        }
    }

    #[test]
    fn configuration_before_the_variable_of_the_scheme_before_all() {
        let said = |text: &str| Some(text.to_owned());
        let variables = Variables {
            https: said("s"),
            all: said("a"),
            no_proxy: "near".to_owned(),
            ..Variables::default()
        };
        assert_eq!(variables.choose(said("c"), Scheme::Https, "h"), said("c"));
        assert_eq!(variables.choose(said(""), Scheme::Https, "h"), None);
        assert_eq!(variables.choose(None, Scheme::Https, "h"), said("s"));
        assert_eq!(variables.choose(None, Scheme::Http, "h"), said("a"));
        assert_eq!(variables.choose(said("c"), Scheme::Https, "near"), None);
    }

    #[test]
    fn a_login_is_not_shown() {
        assert_eq!(shown("http://u:p@ss@proxy:3128/"), "proxy:3128");
        assert_eq!(shown("u:p@proxy:3128"), "proxy:3128");
        assert_eq!(shown("socks5h://u:p@proxy"), "socks5h://proxy");
    }
}
