//! One receiver's thread: delivers the queue in order, and retries after failures.

use std::io::Write;
use std::time::{Duration, Instant};

use super::{Message, Shared};
use crate::config::Notify;
use crate::errors::chain;
#[cfg(feature = "https")]
use crate::sanitize::said;
use crate::schedule::back_off;

/// The first wait after a failure.
const BASE: Duration = Duration::from_secs(1);

/// The longest wait after failures.
const LIMIT: Duration = Duration::from_secs(300);

/// The most bytes of headers in an answer. A longer answer is an error.
#[cfg(feature = "https")]
const MAX_HEADERS: usize = 64 * 1024;

/// The most characters of an error that are repeated.
#[cfg(feature = "https")]
const MAX_SAID: usize = 200;

/// Delivers until the agent ends.
pub(super) fn run(notify: &Notify, shared: &Shared) {
    let mut failures = 0;
    let mut state = shared.lock();
    loop {
        let ending = state.end;
        let first = state.queue.first().cloned();
        let (number, message) = match (first, ending) {
            (Some(_), Some(end)) if failures > 0 || Instant::now() >= end => return,
            (Some(first), _) => first,
            (None, Some(_)) => return,
            (None, None) => {
                state = shared.woken.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
                continue;
            }
        };
        drop(state);
        let told = tell(notify, &message);
        state = shared.lock();
        match told {
            Ok(()) => {
                failures = 0;
                // If it cannot be recorded, the message is sent again: better twice than never.
                state.trouble = state.queue.told(number).err().map(|error| chain(&error));
            }
            Err(reason) => {
                failures += 1;
                state.trouble = Some(format!("cannot notify {}: {reason}", shown(notify)));
                let wait = back_off(failures, BASE, LIMIT, fastrand::f64());
                let waited = shared.woken.wait_timeout_while(state, wait, |state| state.end.is_none());
                state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
            }
        }
    }
}

/// The receiver's name in messages, without possible secrets: the path of a webhook often is one.
fn shown(notify: &Notify) -> String {
    if let Some(url) = &notify.url {
        let host =
            url.split("://").nth(1).unwrap_or_default().split(['/', '?', '#']).next().unwrap_or_default();
        return host.rsplit('@').next().unwrap_or_default().to_owned();
    }
    notify.command.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn tell(notify: &Notify, message: &Message) -> Result<(), String> {
    let text = serde_json::to_vec(message).map_err(|error| error.to_string())?;
    if let Some(url) = &notify.url {
        post(url, &text, notify.timeout)?;
    }
    if let Some(command) = &notify.command {
        let mut file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
        file.write_all(&text).and_then(|()| file.flush()).map_err(|error| error.to_string())?;
        command.run(file.path(), notify.timeout).map_err(|error| chain(&error))?;
    }
    Ok(())
}

#[cfg(feature = "https")]
fn post(url: &str, body: &[u8], limit: Duration) -> Result<(), String> {
    use ureq::tls::{RootCerts, TlsConfig};
    let agent = ureq::Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
        .timeout_global(Some(limit))
        // A message goes only to the server that the configuration names.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .max_response_header_size(MAX_HEADERS)
        .user_agent(concat!("presence/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent();
    // The answer's body is not read.
    let answer = agent.post(url).header("Content-Type", "application/json").send(body);
    let status = answer.map_err(|error| said(&error.to_string(), MAX_SAID))?.status();
    match (status.is_success(), status.is_redirection()) {
        (true, _) => Ok(()),
        (_, true) => Err(format!("http status {}: redirects are not followed", status.as_u16())),
        (_, false) => Err(format!("http status {}", status.as_u16())),
    }
}

/// The configuration accepts no URL in such a build.
#[cfg(not(feature = "https"))]
fn post(_: &str, _: &[u8], _: Duration) -> Result<(), String> {
    Err("this build has no `https`".to_owned())
}

#[cfg(feature = "https")]
#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    /// Posts to a server that answers with this, repeatedly if it is endless. Returns the result, and whether
    /// the server was asked once.
    fn post_to(answer: &'static str, endless: bool) -> (Result<(), String>, bool) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"{}") {
                let mut buffer = [0; 1024];
                match stream.read(&mut buffer).unwrap() {
                    0 => break,
                    read => asked.extend_from_slice(&buffer[..read]),
                }
            }
            while stream.write_all(answer.as_bytes()).is_ok() && endless {}
            drop(stream);
            listener.set_nonblocking(true).unwrap();
            listener.accept().is_err()
        });
        let posted = post(&format!("http://{address}/x"), b"{}", Duration::from_secs(5));
        (posted, served.join().unwrap())
    }

    #[test]
    fn only_a_good_status_counts_and_no_redirect_is_followed() {
        for (answer, expect) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Ok(())),
            ("HTTP/1.1 204 x\r\n\r\n", Ok(())),
            ("HTTP/1.1 299 x\r\nContent-Length: 999999999999\r\n\r\nxx", Ok(())),
            ("HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n", Err("http status 404")),
            ("HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n", Err("http status 503")),
        ] {
            assert_eq!(post_to(answer, false), (expect.map_err(str::to_owned), true), "{answer}");
        }
        for status in ["300", "301", "302", "303", "304", "307", "308"] {
            let answer = format!("HTTP/1.1 {status} x\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n");
            let (told, once) = post_to(answer.leak(), false);
            let expect = format!("http status {status}: redirects are not followed");
            assert_eq!((told, once), (Err(expect), true));
        }
    }

    #[test]
    fn an_answer_without_end_is_none() {
        let (told, _) = post_to("HTTP/1.1 200 OK\r\nX-A: ", true);
        assert!(told.is_err());
        let (told, _) = post_to("HTTP/1.1 200 OK\r\n\r\n\u{1b}[31m", true);
        assert_eq!(told, Ok(()), "the body is nobody's business");
        let (told, _) = post_to("\u{1b}[31m", true);
        assert!(!told.unwrap_err().contains('\u{1b}'));
    }
}
