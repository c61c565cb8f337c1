//! The requests of git's protocol.

use crate::address::{Address, Scheme};
use crate::connection::Service;

/// One request.
pub(super) struct HttpRequest<'a> {
    pub(super) service: Service,
    /// The body of a POST; `None` for the GET of the refs.
    pub(super) body: Option<&'a [u8]>,
}

impl HttpRequest<'_> {
    /// The part after the repository's URL.
    pub(super) fn suffix(&self) -> String {
        match self.body {
            None => format!("/info/refs?service={}", self.service.program()),
            Some(_) => format!("/{}", self.service.program()),
        }
    }

    /// The content type of a correct answer.
    pub(super) fn answer_type(&self) -> String {
        let kind = if self.body.is_some() { "result" } else { "advertisement" };
        format!("application/x-{}-{kind}", self.service.program())
    }
}

/// The repository's URL, without a login.
pub(super) fn base_url(address: &Address) -> String {
    let scheme = if address.scheme == Scheme::Https { "https" } else { "http" };
    format!("{scheme}://{}{}", address.peer(), address.path)
}
