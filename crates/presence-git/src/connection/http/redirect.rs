//! Decides whether to follow a redirection, such as for a renamed repository or from http to https.
//!
//! Never to another host or port, which may belong to somebody else: the login goes along.

use ureq::Body;
use ureq::http::{Response, header};

use super::request::base_url;
use crate::TransportError;
use crate::address::{Address, Scheme};
use crate::message::{SAID, said};

/// The repository's new address, if the answer to `address` + `suffix` redirects to it.
pub(super) fn follow(
    address: &Address,
    response: &Response<Body>,
    suffix: &str,
) -> Result<Address, TransportError> {
    let location =
        response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("");
    target(address, location, suffix).ok_or_else(|| {
        let to = location.split('?').next().unwrap_or_default();
        let to = crate::secrets::without_secrets(to.strip_suffix("/info/refs").unwrap_or(to));
        TransportError::Redirect { peer: address.peer(), to: said(&to, SAID) }
    })
}

fn target(address: &Address, location: &str, suffix: &str) -> Option<Address> {
    let place = location.strip_suffix(suffix)?;
    if place.starts_with('/') && !place.starts_with("//") {
        let same = Address { path: String::new(), ..address.clone() };
        let url = format!("{}{place}", base_url(&same));
        return Some(Address { path: Address::parse(&url).ok()?.path, ..same });
    }
    let to = Address::parse(place).ok()?;
    let same = to.scheme == address.scheme && port(&to) == port(address);
    let secured =
        (address.scheme, port(address), to.scheme, port(&to)) == (Scheme::Http, 80, Scheme::Https, 443);
    let here = to.host.eq_ignore_ascii_case(&address.host) && (same || secured);
    here.then(|| Address { user: address.user.clone(), password: address.password.clone(), ..to })
}

fn port(address: &Address) -> u16 {
    address.port.unwrap_or(if address.scheme == Scheme::Https { 443 } else { 80 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUFFIX: &str = "/info/refs?service=git-upload-pack";

    #[track_caller]
    fn check(from: &str, location: &str, expect: Option<&str>) {
        let from = Address::parse(from).unwrap();
        let to = target(&from, &format!("{location}{SUFFIX}"), SUFFIX);
        assert_eq!(to.as_ref().map(base_url).as_deref(), expect);
        if let Some(to) = to {
            assert_eq!((to.user, to.password), (from.user, from.password));
        }
    }

    #[test]
    fn the_same_server_is_followed() {
        check("https://u:p@h/a", "https://H/b.git", Some("https://H/b.git"));
        check("https://h:8443/a", "https://h:8443/b", Some("https://h:8443/b"));
        check("https://h/a", "https://h:443/b", Some("https://h:443/b"));
        check("http://u:p@h/a", "/b.git", Some("http://h/b.git"));
        check("http://h:8080/a", "/b", Some("http://h:8080/b"));
        check("http://h/a", "https://h/a", Some("https://h/a"));
        check("https://u:p@h/a", "https://evil:x@h/b", Some("https://h/b"));
    }

    #[test]
    fn another_server_is_not() {
        check("https://u:p@h/a", "https://evil/a", None);
        check("https://u:p@h/a", "//evil/a", None);
        check("https://u:p@h/a", "https://h@evil/a", None);
        check("https://h/a", "http://h/a", None);
        check("https://h/a", "https://h:8443/a", None);
        check("http://h:8080/a", "https://h/a", None);
        check("https://h/a", "ssh://h/a", None);
        check("https://h/a", "b", None);
        let from = Address::parse("https://h/a").unwrap();
        assert_eq!(target(&from, "https://h/login", SUFFIX), None);
        assert_eq!(target(&from, "", SUFFIX), None);
    }
}
