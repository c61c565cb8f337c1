//! How bytes reach a git server: our own streams under libgit2.
#![allow(missing_docs)]
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    pub connect: std::time::Duration,
    pub silence: std::time::Duration,
}
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct TransportError;
impl TransportError {
    pub fn hint(&self) -> Option<String> {
        None
    }
}
pub fn take_last_error() -> Option<TransportError> {
    None
}
pub fn install(_: Limits) {}
pub fn open(_url: &str) -> Result<(Box<dyn git2::transport::SmartSubtransport>, bool), git2::Error> {
    Err(git2::Error::from_str("stub"))
}
