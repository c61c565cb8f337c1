//! The client of this process for git servers, with the limits of presence, and the errors of both.

use std::io;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use git2::{Oid, Repository};
use presence_git::connection::Process;
use presence_git::libgit2::{self, Allowance};
use presence_git::send_pack::{self, NewCommit, SessionError};
use presence_git::{Client, Limits, Settings};

use super::{BRANCHES, Options, TAGS, commits};
use crate::children::{self, Started};
use crate::limits;
use crate::store::StoreErrorKind;
use crate::store::git::error::{During, GitError};

/// The refs that presence uses.
const PREFIXES: &[&str] = &[BRANCHES, "refs/presence/"];

/// The refs for looking back. A repository may have very many tags, so other operations ignore them.
const PREFIXES_AND_TAGS: &[&str] = &[BRANCHES, "refs/presence/", TAGS];

static SEES_TAGS: AtomicBool = AtomicBool::new(false);

/// Makes the client see tags, if it is not in use yet.
pub(in crate::store) fn see_tags() {
    SEES_TAGS.store(true, Ordering::Relaxed);
}

impl Process for Started {
    fn child(&mut self) -> &mut Child {
        self
    }

    fn kill_group(&mut self) {
        Started::kill_group(self);
    }
}

fn start(command: &mut Command) -> io::Result<Box<dyn Process>> {
    Ok(Box::new(children::start(command)?))
}

/// The limits of what servers send, from the table of presence.
pub(super) fn size_limits() -> Limits {
    let table = limits::get();
    Limits {
        object_bytes: table.object_bytes,
        delta_bytes: table.delta_bytes,
        objects: table.objects,
        unpacked_bytes: table.unpacked_bytes,
        answer_bytes: table.answer_bytes,
        talk_bytes: table.talk_bytes,
        ref_bytes: table.ref_bytes,
        prefixes: if SEES_TAGS.load(Ordering::Relaxed) { PREFIXES_AND_TAGS } else { PREFIXES },
        refs: table.refs,
        report_bytes: table.report_bytes,
    }
}

/// The client, which libgit2 uses too. The first call decides about time limits and credentials: libgit2 has one transport
/// for each scheme in a process.
pub(super) fn client(options: &Options) -> &'static Arc<Client> {
    static CLIENT: OnceLock<Arc<Client>> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let client = Arc::new(Client::new(settings(options)));
        libgit2::install(&client);
        client
    })
}

fn settings(options: &Options) -> Settings {
    let mut settings = Settings::from_env(options.network, size_limits(), start);
    settings.credentials = options.credentials.clone();
    settings
}

/// Runs libgit2 on data from the server of that URL, with limits.
pub(super) fn bounded<T>(url: &str, act: impl FnOnce() -> Result<T, git2::Error>) -> Result<T, git2::Error> {
    let table = limits::get();
    let afterwards = Duration::from_secs(table.working_seconds);
    libgit2::bounded(url, Allowance { bytes: table.working_bytes, afterwards }, act)
}

/// The error of libgit2 at a server. It passes on only a message, so the connection's typed error comes first,
/// if there is one.
pub(super) fn fetching(operation: &'static str, source: git2::Error) -> StoreErrorKind {
    match libgit2::take_last_error() {
        Some(typed) => StoreErrorKind::Git(GitError::Transport(typed)),
        None => StoreErrorKind::Git(GitError::Libgit2 { operation, source }),
    }
}

/// The error of a push.
pub(super) fn pushing(operation: &'static str, error: SessionError) -> StoreErrorKind {
    match error {
        SessionError::Transport(typed) => StoreErrorKind::Git(GitError::Transport(typed)),
        SessionError::Answer(text) => {
            StoreErrorKind::Git(GitError::Conversation { operation, source: io::Error::other(text) })
        }
    }
}

/// The pack for a push of these commits, each after its base, which the server has.
pub(super) fn pack_of(repo: &Repository, commits: &[(Option<Oid>, Oid)]) -> Result<Vec<u8>, StoreErrorKind> {
    let commits = commits.iter().map(|(base, commit)| new_commit(repo, *base, *commit));
    let commits: Result<Vec<NewCommit>, git2::Error> = commits.collect();
    commits.and_then(|commits| send_pack::pack_of(repo, &commits)).during("pack")
}

/// The objects that a commit has and its base lacks.
pub(super) fn added(repo: &Repository, base: Option<Oid>, commit: Oid) -> Result<Vec<Oid>, git2::Error> {
    send_pack::added(repo, new_commit(repo, base, commit)?)
}

fn new_commit(repo: &Repository, base: Option<Oid>, commit: Oid) -> Result<NewCommit, git2::Error> {
    let tree = |commit| Ok::<Oid, git2::Error>(commits::read(repo, commit)?.tree);
    Ok(NewCommit { commit, tree: tree(commit)?, base: base.map(tree).transpose()? })
}
