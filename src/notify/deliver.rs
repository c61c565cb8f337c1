//! One sink's thread: tells what waits, in order, and tries again what fails.

use std::io::Write;
use std::time::{Duration, Instant};

use super::{Message, Shared};
use crate::config::Notify;
use crate::errors::chain;
use crate::pace::back_off;

/// The first wait after a failure.
const BASE: Duration = Duration::from_secs(1);

/// The longest wait after failures.
const LIMIT: Duration = Duration::from_secs(300);

/// Tells until it is told to end.
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
                // If it cannot be noted, it is told again: better twice than never.
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

/// Who it is, without what may be a secret: the path of a webhook often is one.
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
        .max_redirects(0)
        .user_agent(concat!("presence/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent();
    match agent.post(url).header("Content-Type", "application/json").send(body) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// The configuration takes no URL in such a build.
#[cfg(not(feature = "https"))]
fn post(_: &str, _: &[u8], _: Duration) -> Result<(), String> {
    Err("this build has no `https`".to_owned())
}
