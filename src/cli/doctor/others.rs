//! Health checks and webhooks.

use std::env;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::findings::Findings;
use crate::config::{Health, Notify};
use crate::health;

/// The longest wait for a webhook.
const LIMIT: Duration = Duration::from_secs(10);

/// Runs each health check once.
pub(super) fn health(healths: &[Health], findings: &mut Findings) {
    let answers: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let asked: Vec<_> = healths.iter().map(|health| scope.spawn(|| health::ask(health))).collect();
        let joined = asked.into_iter().map(|asked| asked.join());
        joined.map(|answer| answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    for (health, answer) in healths.iter().zip(answers) {
        let name = &health.name;
        match answer {
            Ok(()) => findings.good("health", format!("health check `{name}` passes")),
            Err(reason) => findings.bad(
                "health",
                format!("health check `{name}`: {reason}"),
                "while it fails, beats publish this node as `wedged`".to_owned(),
            ),
        }
    }
}

/// Whether a server listens where notifications would be sent. Sends none.
pub(super) fn notifications(notifies: &[Notify], findings: &mut Findings) {
    for notify in notifies {
        let Some(url) = &notify.url else { continue };
        let Some((scheme, place)) = place(url) else {
            findings.bad(
                "notify",
                "a webhook's `url` has no host",
                "write it like https://HOST/PATH".to_owned(),
            );
            continue;
        };
        // The path may contain a secret.
        let shown = format!("webhook {scheme}://{place}");
        if goes_by_a_proxy(scheme) {
            findings.untried("notify", format!("{shown}: messages go through a proxy"));
            continue;
        }
        match connect(&place, notify.timeout.min(LIMIT)) {
            Ok(()) => {
                findings.good("notify", format!("{shown}: it accepts connections"));
                findings.untried(
                    "notify",
                    format!("{shown}: only a real message can show whether it is accepted"),
                );
            }
            Err(reason) => findings.bad(
                "notify",
                format!("{shown}: {reason}"),
                "correct `url` in presence.toml, or allow this machine to connect".to_owned(),
            ),
        }
    }
}

/// The scheme of a URL and its `HOST:PORT`.
fn place(url: &str) -> Option<(&str, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next().filter(|host| !host.is_empty() && !host.starts_with(':'))?;
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let port = if scheme == "http" { 80 } else { 443 };
    Some((scheme, if has_port { host.to_owned() } else { format!("{host}:{port}") }))
}

fn goes_by_a_proxy(scheme: &str) -> bool {
    let names = [format!("{scheme}_proxy"), "all_proxy".to_owned()];
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    names.iter().any(|name| is_set(name) || is_set(&name.to_uppercase()))
}

/// Connects and disconnects.
fn connect(place: &str, limit: Duration) -> Result<(), String> {
    let end = Instant::now() + limit;
    let late = || format!("no answer within {limit:?}");
    // The resolver has no time limit of its own.
    let (sender, receiver) = mpsc::channel();
    let asked = place.to_owned();
    std::thread::spawn(move || sender.send(asked.to_socket_addrs().map(Iterator::collect::<Vec<_>>)));
    let addresses = receiver.recv_timeout(limit).map_err(|_| late())?.map_err(|error| error.to_string())?;
    let mut last = "its name has no address".to_owned();
    for address in addresses {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(_) => return Ok(()),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_webhook_is_sent() {
        let at = |url: &str| place(url).map(|(_, place)| place);
        assert_eq!(at("https://chat.example.net/hooks/x").as_deref(), Some("chat.example.net:443"));
        assert_eq!(at("http://u:p@h:8080?x#y").as_deref(), Some("h:8080"));
        assert_eq!(at("http://[::1]/x").as_deref(), Some("[::1]:80"));
        assert_eq!(at("http://[::1]:81").as_deref(), Some("[::1]:81"));
        assert_eq!((at("http:///x"), at("x")), (None, None));
    }

    #[test]
    fn somebody_listens_or_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap().to_string();
        assert_eq!(connect(&place, LIMIT), Ok(()));
        drop(listener);
        assert!(connect(&place, LIMIT).unwrap_err().contains("refused"));
    }
}
