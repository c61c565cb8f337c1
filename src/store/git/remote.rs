//! A repository behind a network: a mirror of its branch on this machine, a fetch to read, a push to write.

use std::fs::{self, TryLockError};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use git2::{
    AutotagOption, Direction, ErrorCode, FetchOptions, Oid, PushOptions, RemoteCallbacks, Repository,
    RepositoryInitOptions,
};

use super::{Backoff, branch_ref, prepare, tip, transport, tree};
use crate::change::Change;
use crate::errors::AtPath;
use crate::store::error::{Doing, InStore};
use crate::store::{Edit, Options, Snapshot, Store, StoreError, StoreErrorKind, copy};

/// Where the mirror keeps the tip that it fetched last.
const FETCHED: &str = "refs/presence/fetched";

/// The branch of an empty repository that names none: git's own default, so that HEAD of a fresh `git init --bare`
/// names what was pushed. Git hosts take the first branch pushed as their default, whatever its name.
const FALLBACK_BRANCH: &str = "master";

/// A repository behind a URL.
pub(crate) struct Remote {
    /// As the transports need it, with its secrets.
    address: String,
    /// As it may be shown.
    url: String,
    place: PathBuf,
    options: Options,
}

impl Remote {
    pub(crate) fn new(url: String, options: &Options) -> Remote {
        transport::install(options.limits);
        let place = copy::place(&options.state_dir, &url);
        Remote { url: without_secrets(&url), address: url, place, options: options.clone() }
    }

    /// The mirror, made if it is not there. It is a cache: one that cannot be opened is made anew.
    fn mirror(&self) -> Result<Repository, StoreErrorKind> {
        let path = self.place.join("mirror.git");
        if let Ok(repo) = Repository::open_bare(&path) {
            return Ok(repo);
        }
        if path.exists() {
            fs::remove_dir_all(&path).at("remove the broken mirror", &path)?;
        }
        let mut init = RepositoryInitOptions::new();
        init.bare(true).external_template(false);
        Repository::init_opts(&path, &init).doing("make the mirror")
    }

    /// One process at a time changes the mirror. The lock goes with the process, however that ends.
    fn lock(&self) -> Result<fs::File, StoreErrorKind> {
        fs::create_dir_all(&self.place).at("make", &self.place)?;
        let path = self.place.join("lock");
        let file = fs::File::create(&path).at("open", &path)?;
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if started.elapsed() < self.options.patience => {
                    std::thread::sleep(Duration::from_millis(5 + fastrand::u64(..20)));
                }
                Err(TryLockError::WouldBlock) => return Err(StoreErrorKind::Locked(path)),
                Err(TryLockError::Error(error)) => return Err(error).at("lock", &path).map_err(Into::into),
            }
        }
    }

    /// Brings the mirror to the server's state. Returns the branch, and its tip if it has one.
    fn fetch(&self, repo: &Repository) -> Result<(String, Option<Oid>), StoreErrorKind> {
        // With our lock held, a lock file of git in the mirror is one that a killed process left.
        let _ = fs::remove_file(repo.path().join(format!("{FETCHED}.lock")));
        let mut remote = repo.remote_anonymous(&self.address).doing("use the URL")?;
        let mut connection =
            remote.connect_auth(Direction::Fetch, None, None).map_err(|error| network("connect", error))?;
        let branch = self.remote_branch(&connection)?;
        let advertised = connection
            .list()
            .map_err(|error| network("list the branches", error))?
            .iter()
            .find(|head| head.name() == branch)
            .map(git2::RemoteHead::oid);
        match advertised {
            Some(oid) if tip(repo, FETCHED)? != Some(oid) => {
                let mut options = FetchOptions::new();
                options.download_tags(AutotagOption::None).update_fetchhead(false);
                connection
                    .remote()
                    .download(&[&branch], Some(&mut options))
                    .map_err(|error| network("fetch", error))?;
                repo.reference(FETCHED, oid, true, "fetched").doing("note what was fetched")?;
            }
            Some(_) => {}
            None => {
                if let Ok(mut reference) = repo.find_reference(FETCHED) {
                    reference.delete().doing("note that the branch is gone")?;
                }
            }
        }
        Ok((branch, advertised))
    }

    fn remote_branch(
        &self,
        connection: &git2::RemoteConnection<'_, '_, '_>,
    ) -> Result<String, StoreErrorKind> {
        if let Some(branch) = &self.options.branch {
            return Ok(branch_ref(branch));
        }
        if let Ok(branch) = connection.default_branch()
            && let Ok(name) = branch.as_str()
        {
            return Ok(name.to_owned());
        }
        // HEAD names a branch without a commit, which this protocol does not tell.
        let heads = connection.list().map_err(|error| network("list the branches", error))?;
        let mut branches =
            heads.iter().map(git2::RemoteHead::name).filter(|name| name.starts_with("refs/heads/"));
        match (branches.next(), branches.next()) {
            (None, _) => Ok(branch_ref(&default_branch())),
            (Some(only), None) => Ok(only.to_owned()),
            (Some(_), Some(_)) => Err(StoreErrorKind::NoBranch),
        }
    }

    /// Offers the commit as the branch's new tip. False if others were faster.
    fn push(
        &self,
        repo: &Repository,
        branch: &str,
        base: Option<Oid>,
        commit: Oid,
    ) -> Result<bool, StoreErrorKind> {
        let mut refusal = None;
        let mut moved = false;
        let mut callbacks = RemoteCallbacks::new();
        // A refspec without `+` is checked by libgit2 against what the server shows now; the lease closes the gap for
        // a branch that somebody set back to an ancestor of our base.
        callbacks.push_negotiation(|updates| {
            let now = updates.first().map(git2::PushUpdate::src).filter(|oid| !oid.is_zero());
            moved = now != base;
            if moved { Err(git2::Error::from_str("the branch has moved")) } else { Ok(()) }
        });
        callbacks.push_update_reference(|_, status| {
            refusal = status.map(str::to_owned);
            Ok(())
        });
        let mut options = PushOptions::new();
        options.remote_callbacks(callbacks);
        let result = repo
            .remote_anonymous(&self.address)
            .doing("use the URL")?
            .push(&[format!("{commit}:{branch}")], Some(&mut options));
        drop(options);
        match (result, refusal) {
            _ if moved => Ok(false),
            (_, Some(reason)) if is_race(&reason) => Ok(false),
            (_, Some(reason)) => Err(StoreErrorKind::Refused(reason)),
            (Ok(()), None) => Ok(true),
            (Err(error), None) if error.code() == ErrorCode::NotFastForward => Ok(false),
            (Err(error), None) => Err(network("push", error)),
        }
    }

    fn apply(&self, edit: &Edit<'_>) -> Result<Option<Change>, StoreErrorKind> {
        let _lock = self.lock()?;
        let repo = self.mirror()?;
        let mut backoff = Backoff::new(self.options.patience);
        loop {
            let (branch, base) = self.fetch(&repo)?;
            let Some(prepared) = prepare(&repo, base, &self.options.folder, edit, &self.options.author)?
            else {
                return Ok(None);
            };
            if self.push(&repo, &branch, base, prepared.commit)? {
                repo.reference(FETCHED, prepared.commit, true, "pushed").doing("note what was pushed")?;
                return Ok(Some(prepared.change));
            }
            backoff.lost()?;
        }
    }

    fn read(&self) -> Result<Snapshot, StoreErrorKind> {
        let _lock = self.lock()?;
        let repo = self.mirror()?;
        let (_, tip) = self.fetch(&repo)?;
        tree::snapshot(&repo, tip, &self.options.folder)
    }

    fn read_mirror(&self) -> Option<Snapshot> {
        let repo = Repository::open_bare(self.place.join("mirror.git")).ok()?;
        let tip = tip(&repo, FETCHED).ok()??;
        tree::snapshot(&repo, Some(tip), &self.options.folder).ok()
    }
}

impl Store for Remote {
    fn url(&self) -> &str {
        &self.url
    }

    fn apply(&self, edit: &Edit<'_>) -> Result<Option<Change>, StoreError> {
        self.apply(edit).in_store(&self.url)
    }

    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.read().in_store(&self.url)
    }

    fn last_copy(&self) -> Option<Snapshot> {
        self.read_mirror()
    }
}

/// libgit2 carries only a message; what our transport knew in types is picked up beside it.
fn network(doing: &'static str, error: git2::Error) -> StoreErrorKind {
    match transport::take_last_error() {
        Some(typed) => StoreErrorKind::Transport(typed),
        None => StoreErrorKind::Git { doing, source: error },
    }
}

/// What git servers say when another push came first: the words of receive-pack and of its reference transactions.
fn is_race(reason: &str) -> bool {
    [
        "non-fast-forward",
        "fetch first",
        "cannot lock ref",
        "failed to update ref",
        "failed to lock",
        "stale info",
    ]
    .iter()
    .any(|race| reason.contains(race))
}

fn default_branch() -> String {
    git2::Config::open_default()
        .and_then(|config| config.get_string("init.defaultBranch"))
        .unwrap_or_else(|_| FALLBACK_BRANCH.to_owned())
}

/// The URL as it may be shown: without a password.
pub(crate) fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => {
            format!("{scheme}://{}:***@{host}{path}", user.split(':').next().unwrap_or_default())
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(without_secrets("https://u:p@h/x@y"), "https://u:***@h/x@y");
        assert_eq!(without_secrets("https://u@h/x"), "https://u@h/x");
        assert_eq!(without_secrets("git@h:x"), "git@h:x");
    }

    #[test]
    fn a_race_is_told_from_a_refusal() {
        assert!(is_race("failed to update ref") && is_race("cannot lock ref 'refs/heads/main'"));
        assert!(!is_race("pre-receive hook declined"));
    }
}
