//! Reads and writes commits without libgit2, which refuses commits with an unusual author or time. Anybody
//! can push such a commit, and a node that cannot read it could no longer publish.

use git2::{ErrorClass, ErrorCode, ObjectType, Oid, Repository, Signature};

use crate::limits;

/// The parts of a commit that presence needs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Commit {
    pub(super) tree: Oid,
    pub(super) parents: Vec<Oid>,
    /// The committer's time in seconds since 1970; 0 if there is none.
    pub(super) seconds: i64,
}

/// Keeps no commits and trees in memory from now on, in the whole process. libgit2 keeps up to 256 MB of them,
/// but a walk along the history reads each one once.
pub(super) fn keep_none() {
    git2::opts::enable_caching(false);
}

/// Reads the commit. Any other object gives "not found", as in libgit2.
pub(super) fn read(repo: &Repository, oid: Oid) -> Result<Commit, git2::Error> {
    let odb = repo.odb()?;
    let (size, kind) = odb.read_header(oid)?;
    if kind != ObjectType::Commit {
        let text = format!("{oid} is not a commit");
        return Err(git2::Error::new(ErrorCode::NotFound, ErrorClass::Invalid, text));
    }
    let broken =
        || git2::Error::new(ErrorCode::Invalid, ErrorClass::Object, format!("the commit {oid} is broken"));
    if size as u64 > limits::get().object_bytes {
        return Err(broken());
    }
    parse(odb.read(oid)?.data()).ok_or_else(broken)
}

pub(super) fn parse(bytes: &[u8]) -> Option<Commit> {
    let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
    let oid = |line: &[u8], key: &[u8]| {
        let digits = line.strip_prefix(key).filter(|digits| digits.len() == 40)?;
        Oid::from_str(str::from_utf8(digits).ok()?).ok()
    };
    let tree = oid(lines.next()?, b"tree ")?;
    let mut parents = Vec::new();
    while let Some(parent) = lines.peek().and_then(|line| oid(line, b"parent ")) {
        parents.push(parent);
        lines.next();
    }
    let mut header = lines.take_while(|line| !line.is_empty());
    let committer = header.find_map(|line| line.strip_prefix(b"committer "));
    Some(Commit { tree, parents, seconds: committer.and_then(seconds).unwrap_or_default() })
}

/// The time of `NAME <ADDRESS> SECONDS ZONE`.
fn seconds(who: &[u8]) -> Option<i64> {
    let end = who.iter().rposition(|byte| *byte == b'>')?;
    str::from_utf8(&who[end + 1..]).ok()?.split_whitespace().next()?.parse().ok()
}

/// Writes a commit without moving a branch.
pub(super) fn write(
    repo: &Repository,
    who: &Signature<'_>,
    message: &str,
    tree: Oid,
    parent: Option<Oid>,
) -> Result<Oid, git2::Error> {
    let mut bytes = format!("tree {tree}\n").into_bytes();
    if let Some(parent) = parent {
        bytes.extend_from_slice(format!("parent {parent}\n").as_bytes());
    }
    let (when, sign) = (who.when(), who.when().sign());
    let zone = when.offset_minutes().abs();
    for role in ["author ", "committer "] {
        bytes.extend_from_slice(role.as_bytes());
        bytes.extend_from_slice(who.name_bytes());
        bytes.extend_from_slice(b" <");
        bytes.extend_from_slice(who.email_bytes());
        let time = format!("> {} {sign}{:02}{:02}\n", when.seconds(), zone / 60, zone % 60);
        bytes.extend_from_slice(time.as_bytes());
    }
    bytes.extend_from_slice(format!("\n{message}").as_bytes());
    repo.odb()?.write(ObjectType::Commit, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OID: &str = "95d09f2b10159347eece71399a7e2e907ea3df4f";

    #[test]
    fn a_commit_is_read_whatever_its_author_and_time() {
        let oid = Oid::from_str(OID).unwrap();
        for (time, seconds) in [
            ("1700000000 +0100", 1_700_000_000),
            ("-5 +0000", -5),
            ("99999999999999999999 +0000", 0),
            ("9223372036854775807 +9999", i64::MAX),
            ("x y", 0),
            ("", 0),
        ] {
            let text = format!(
                "tree {OID}\nparent {OID}\nparent {OID}\nauthor a\nencoding x\ncommitter a <<>> {time}\n\ncommitter b <> 7"
            );
            let commit = Commit { tree: oid, parents: vec![oid; 2], seconds };
            assert_eq!(parse(text.as_bytes()), Some(commit), "{time}");
        }
        assert_eq!(parse(format!("tree {OID}").as_bytes()).unwrap().parents, []);
        for broken in ["", "tree 95d0", &format!("parent {OID}\n")] {
            assert_eq!(parse(broken.as_bytes()), None, "{broken:?}");
        }
    }

    #[test]
    fn what_is_written_is_a_commit_for_libgit2() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(dir.path()).unwrap();
        let tree = repo.treebuilder(None).unwrap().write().unwrap();
        let who = Signature::new("i-1", "p@localhost", &git2::Time::new(1_700_000_000, -90)).unwrap();
        let first = write(&repo, &who, "one\n", tree, None).unwrap();
        let second = write(&repo, &who, "two\n", tree, Some(first)).unwrap();
        let tree = repo.find_tree(tree).unwrap();
        let parent = repo.find_commit(first).unwrap();
        assert_eq!(repo.commit(None, &who, &who, "two\n", &tree, &[&parent]).unwrap(), second);
        let expect = Commit { tree: tree.id(), parents: vec![first], seconds: 1_700_000_000 };
        assert_eq!(read(&repo, second).unwrap(), expect);
        assert_eq!(read(&repo, tree.id()).unwrap_err().code(), ErrorCode::NotFound);
    }
}
