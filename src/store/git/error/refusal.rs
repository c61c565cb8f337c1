//! The cause of a refused push, from the server's words. The hint depends on it.

/// The cause of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PushRefusal {
    /// A hook or a rule of the server refuses the push.
    Policy,
    /// The server's file system takes no writes: it is full, over a quota, or read-only.
    Disk,
    /// The server's user may not write to the repository.
    Permission,
    /// A ref of the server names a missing object. git then refuses every push.
    LacksObjects,
    /// The server lets this login read, and nothing else.
    ReadOnly,
}

/// The reason if a server offers only reading. It says nothing itself.
pub(in crate::store) const READ_ONLY: &str = "this login may only read";

/// Messages of git servers and their systems, and their meaning. The first match applies.
const WORDS: [(PushRefusal, &[&str]); 5] = [
    (PushRefusal::ReadOnly, &[READ_ONLY]),
    (PushRefusal::LacksObjects, &["missing necessary objects"]),
    (PushRefusal::Permission, &["insufficient permission", "Permission denied"]),
    (
        PushRefusal::Disk,
        &[
            "No space left on device",
            "Disk quota exceeded",
            "Read-only file system",
            "File too large",
            "unable to write",
            "unable to create temporary",
            "Input/output error",
        ],
    ),
    // The unpacking process died for an unknown reason, most often the disk.
    (PushRefusal::Disk, &["unpack-objects abnormal exit", "index-pack abnormal exit", "unpacker error"]),
];

impl PushRefusal {
    /// The cause, from git's reason and the server's other output. If a hook refused, its output is ignored:
    /// a hook may print anything.
    pub(super) fn of(reason: &str, said: &str) -> PushRefusal {
        if reason.contains("hook declined") {
            return PushRefusal::Policy;
        }
        let fits = |words: &[&str]| words.iter().any(|words| reason.contains(words) || said.contains(words));
        WORDS.iter().find(|(_, words)| fits(words)).map_or(PushRefusal::Policy, |(refusal, _)| *refusal)
    }

    /// What to do next.
    pub(super) fn hint(self) -> &'static str {
        match self {
            PushRefusal::Policy => {
                "ask the repository's administrator: its hooks or permissions do not let this node write"
            }
            PushRefusal::Disk => {
                "check the repository's file system on the server: it is full, over quota or read-only"
            }
            PushRefusal::Permission => {
                "on the server, make the user that runs git the owner of the repository's files (`chown -R`)"
            }
            PushRefusal::ReadOnly => {
                "let this login write on the server: for an ssh key, `command=` in `authorized_keys` must not name \
                 `git-upload-pack`"
            }
            PushRefusal::LacksObjects => {
                "in the server's repository, `git for-each-ref` and `git fsck --connectivity-only` name the ref; \
                 `git update-ref -d REF` deletes it"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_read_from_the_words_of_git_and_of_its_system() {
        let check = |reason: &str, said: &str, expect: PushRefusal| {
            assert_eq!(PushRefusal::of(reason, said), expect, "{reason} / {said}");
        };
        check("pre-receive hook declined", "", PushRefusal::Policy);
        check("pre-receive hook declined", "No space left on device", PushRefusal::Policy);
        check("deny updating a hidden ref", "", PushRefusal::Policy);
        check(READ_ONLY, "", PushRefusal::ReadOnly);
        check("unpack-objects abnormal exit", "", PushRefusal::Disk);
        let full = "error: unable to write file ./objects/tmp: No space left on device";
        check("unpack-objects abnormal exit", full, PushRefusal::Disk);
        check("failed to write", "fatal: Disk quota exceeded", PushRefusal::Disk);
        check("unable to create temporary object directory", "", PushRefusal::Disk);
        check(
            "unable to create temporary object directory",
            "error: Read-only file system",
            PushRefusal::Disk,
        );
        let denied = "error: insufficient permission for adding an object to repository database ./objects";
        check("unpacker error", denied, PushRefusal::Permission);
        check("missing necessary objects", "fatal: bad object refs/x", PushRefusal::LacksObjects);
    }

    #[test]
    fn a_full_disk_does_not_hint_at_hooks() {
        let hint = PushRefusal::of("unpack-objects abnormal exit", "No space left on device").hint();
        assert!(hint.contains("full") && hint.contains("read-only") && !hint.contains("hooks"));
    }
}
