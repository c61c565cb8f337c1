//! A server's advertisement: its refs and capabilities (gitprotocol-pack(5), "Reference Discovery").

use std::collections::BTreeMap;

use git2::Oid;

use crate::error::SessionError;
use crate::pktline::{self, Source, garbage};

/// The refs and capabilities of a server at one moment.
#[derive(Debug, Default)]
pub struct Advertisement {
    /// The target of each ref. git lists them sorted by name.
    pub refs: BTreeMap<String, Oid>,
    capabilities: Vec<String>,
}

impl Advertisement {
    /// Reads an advertisement, with or without the preamble of smart HTTP.
    pub(crate) fn read(from: &mut dyn Source) -> Result<Advertisement, SessionError> {
        let mut advert = Advertisement::default();
        let mut first = true;
        while let Some(line) = pktline::read(from)? {
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            if first && line.starts_with(b"# service=") {
                // gitprotocol-http(5): a flush packet follows, then the advertisement itself.
                pktline::read(from)?;
                continue;
            }
            if let Some(said) = line.strip_prefix(b"ERR ") {
                let said = format!("the server says: {}", String::from_utf8_lossy(said));
                return Err(SessionError::Answer(said));
            }
            // Connections remove names that are not UTF-8.
            let text = std::str::from_utf8(line).map_err(|_| garbage("a ref that is not UTF-8".into()))?;
            let (entry, capabilities) = text.split_once('\0').unwrap_or((text, ""));
            if first {
                advert.capabilities = capabilities.split(' ').map(str::to_owned).collect();
                first = false;
            }
            if entry.starts_with("shallow ") {
                continue;
            }
            let (oid, name) =
                entry.split_once(' ').ok_or_else(|| garbage(format!("`{}`", entry.escape_debug())))?;
            let oid = Oid::from_str(oid).map_err(|_| garbage(format!("`{}`", entry.escape_debug())))?;
            // A repository without refs sends `capabilities^{}`; `.have` lines are from repositories that it
            // borrows from.
            if !oid.is_zero() && !name.starts_with('.') && !name.ends_with("^{}") {
                advert.refs.insert(name.to_owned(), oid);
            }
        }
        Ok(advert)
    }

    /// Whether the server has that capability.
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|known| known == capability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OID: &str = "95d09f2b10159347eece71399a7e2e907ea3df4f";

    fn advert(lines: &[&str]) -> Result<Advertisement, SessionError> {
        let mut wire = Vec::new();
        for line in lines {
            match *line {
                "" => wire.extend_from_slice(pktline::FLUSH),
                line => pktline::append(&mut wire, line.as_bytes()),
            }
        }
        wire.extend_from_slice(pktline::FLUSH);
        Advertisement::read(&mut &wire[..])
    }

    #[test]
    fn refs_and_capabilities_are_read_with_and_without_http() {
        let line = format!("{OID} refs/heads/main\0report-status atomic agent=git/2.47\n");
        for lines in [vec![line.as_str()], vec!["# service=git-receive-pack\n", "", &line]] {
            let advert = advert(&lines).unwrap();
            assert_eq!(advert.refs["refs/heads/main"].to_string(), OID);
            assert!(advert.can("atomic") && !advert.can("push-options"));
        }
    }

    #[test]
    fn an_empty_repository_has_no_refs() {
        let line = format!("{} capabilities^{{}}\0report-status", Oid::ZERO_SHA1);
        assert!(advert(&[&line]).unwrap().refs.is_empty());
    }

    #[test]
    fn what_the_server_says_instead_is_told() {
        let told = |lines: &[&str]| advert(lines).unwrap_err().to_string();
        assert_eq!(told(&["ERR access denied\n"]), "the server says: access denied");
        assert!(told(&["no ref at all"]).contains("does not speak git's protocol"));
    }
}
