//! Classifies failed requests and unusable answers.

use std::io::{self, ErrorKind, Read};

use ureq::http::{Response, StatusCode, header};
use ureq::{Body, Error, Timeout};

use super::login::{Login, LoginSource, is_unheard};
use super::request::HttpRequest;
use crate::address::Address;
use crate::connection::late;
use crate::message::{SAID, said};
use crate::{Deadline, Timeouts, TransportError};

/// The error of a request through that proxy that got no answer.
pub(super) fn on_the_way(
    error: Error,
    proxy: String,
    address: &Address,
    timeouts: &Timeouts,
    deadline: Deadline,
) -> TransportError {
    let peer = address.peer();
    if let Error::ConnectProxyFailed(reason) = error {
        return TransportError::Proxy { peer, proxy, reason: said(&reason, SAID) };
    }
    match of(error, address, timeouts, deadline) {
        TransportError::Connect { source, .. } => {
            TransportError::Proxy { peer, proxy, reason: source.to_string() }
        }
        TransportError::Resolve { .. } => {
            TransportError::Proxy { peer, proxy, reason: "its name cannot be resolved".to_owned() }
        }
        other => other,
    }
}

/// The error of a request that got no answer.
pub(super) fn of(error: Error, address: &Address, timeouts: &Timeouts, deadline: Deadline) -> TransportError {
    let peer = address.peer();
    if let Error::Timeout(_) = error
        && let Some(late) = late(&peer, deadline)
    {
        return late;
    }
    match error {
        Error::HostNotFound | Error::Timeout(Timeout::Resolve) => TransportError::Resolve { peer },
        Error::Timeout(Timeout::Connect) => {
            TransportError::Connect { peer, source: ErrorKind::TimedOut.into() }
        }
        Error::Timeout(_) => TransportError::Silent { peer, seconds: timeouts.silence.as_secs() },
        Error::Io(source) => of_io(source, peer),
        Error::Rustls(error) => certificate(&error.to_string(), peer),
        other => TransportError::Protocol { peer, reason: said(&other.to_string(), SAID) },
    }
}

fn of_io(source: io::Error, peer: String) -> TransportError {
    let text = source.to_string();
    // rustls and the resolver have no error kinds of their own: they use "other" or "invalid data".
    if text.contains("certificate") || text.contains("received fatal alert") {
        return certificate(&text, peer);
    }
    if text.starts_with("failed to lookup address information") {
        return TransportError::Resolve { peer };
    }
    match source.kind() {
        ErrorKind::ConnectionRefused
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::AddrNotAvailable => TransportError::Connect { peer, source },
        ErrorKind::UnexpectedEof => TransportError::Closed { peer },
        ErrorKind::InvalidData => TransportError::Protocol { peer, reason: said(&text, SAID) },
        _ => TransportError::Broken { peer, source },
    }
}

fn certificate(text: &str, peer: String) -> TransportError {
    let reason = text.trim_start_matches("invalid peer certificate: ");
    let reason = match reason {
        "UnknownIssuer" => "no trusted authority has signed it".to_owned(),
        other => said(other, SAID),
    };
    TransportError::Certificate { peer, reason }
}

/// Returns the answer if it is the requested one, or a redirection of a GET.
pub(super) fn judge(
    response: Response<Body>,
    address: &Address,
    request: &HttpRequest<'_>,
    login: Option<&Login>,
) -> Result<Response<Body>, TransportError> {
    let peer = address.peer();
    let status = response.status();
    if status.is_redirection() && request.body.is_none() {
        return Ok(response);
    }
    if status == StatusCode::OK {
        let wanted = request.answer_type();
        let found = content_type(&response);
        if found == wanted {
            return Ok(response);
        }
        let reason = match found.as_str() {
            "" => format!("its answer is not `{wanted}`"),
            found => format!("its answer is `{}`, not `{wanted}`", said(found, SAID)),
        };
        return Err(TransportError::Protocol { peer, reason });
    }
    Err(match status {
        StatusCode::UNAUTHORIZED => refused(peer, login, is_unheard(address)),
        StatusCode::FORBIDDEN => {
            TransportError::Forbidden { peer, operation: request.service.during(), said: words(response) }
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            TransportError::NoRepository { peer, path: said(&address.path, SAID) }
        }
        _ => TransportError::Status { peer, status: status.as_u16(), said: words(response) },
    })
}

fn refused(peer: String, login: Option<&Login>, unheard: bool) -> TransportError {
    let (said, hint) = match login.map(|login| login.source) {
        None if !unheard => (
            ": it requires a user and a password",
            "write https:// in the store's URL: presence does not send the token in PRESENCE_GIT_TOKEN \
             unencrypted",
        ),
        None => (
            ": it requires a user and a password",
            "put a token into a file, and name it with `token-file` in a [[credential]] of presence.toml; or put it into \
             PRESENCE_GIT_TOKEN, or configure a git credential helper",
        ),
        Some(LoginSource::Url) => {
            (": the user or password in the URL is wrong", "correct it, or leave it out of the URL")
        }
        Some(LoginSource::Credential) => (
            ": it does not accept the login of its [[credential]]",
            "write a new token or password into the file that `token-file` or `login-file` names",
        ),
        Some(LoginSource::Token) => (
            ": it does not accept the token in PRESENCE_GIT_TOKEN",
            "create a new token on the server; if the token needs a user name, write https://USER@HOST/…",
        ),
        Some(LoginSource::Helper) => (
            ": it does not accept the password from git's credential helper",
            "`git credential reject` makes the helper forget it",
        ),
    };
    TransportError::Login { peer, said: said.to_owned(), hint }
}

/// The content type without parameters.
fn content_type(response: &Response<Body>) -> String {
    let value =
        response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The message of an answer, after a colon, if it is plain text.
fn words(response: Response<Body>) -> String {
    if content_type(&response) != "text/plain" {
        return String::new();
    }
    let mut bytes = Vec::new();
    // An unfinished message is still a refusal.
    let _ = response.into_body().into_reader().take(4 * SAID as u64).read_to_end(&mut bytes);
    match said(&String::from_utf8_lossy(&bytes), SAID) {
        words if words.is_empty() => words,
        words => format!(": {words}"),
    }
}
