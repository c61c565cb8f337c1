//! A git server in memory: what `git receive-pack` and `git upload-pack` of git 2.47 do with refs and objects.
//! `real.rs` compares it with the real ones.

use std::collections::BTreeMap;

use git2::Oid;
use presence_git::send_pack::{RefUpdate, Report};

use super::objects::{Objects, Present};

/// What the server refuses, whatever is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    None,
    /// A hook declines every push.
    All,
    /// A hook declines the branches.
    Branches,
    /// A hook declines all but the branches.
    Others,
    /// All but the branches is hidden: neither shown nor taken.
    Hidden,
}

/// The state of the server's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Disk {
    Fine,
    Full,
    ReadOnly,
}

/// The repository on the server.
pub(crate) struct Server {
    pub(crate) objects: Objects,
    pub(crate) refs: BTreeMap<String, Oid>,
    pub(crate) present: Present,
    /// The ref that HEAD names.
    pub(crate) head: String,
    pub(crate) rule: Rule,
    pub(crate) disk: Disk,
    /// Whether it takes atomic pushes.
    pub(crate) atomic: bool,
    /// Whether objects were lost, so that a commit may lack ancestors.
    pub(crate) damaged: bool,
    /// Counts changes of the refs.
    pub(crate) version: u64,
}

/// A push as it arrives.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) commands: Vec<RefUpdate>,
    /// The commits in its pack.
    pub(crate) commits: Vec<Oid>,
    pub(crate) atomic: bool,
}

/// A push while the server handles it: the reason why each command is refused, if it is.
pub(crate) struct Handling {
    pub(crate) request: Request,
    errors: Vec<Option<&'static str>>,
    unpack: Option<&'static str>,
    said: String,
}

impl Server {
    pub(crate) fn new(objects: &Objects) -> Server {
        Server {
            objects: objects.clone(),
            refs: BTreeMap::new(),
            present: Present::default(),
            head: "refs/heads/master".to_owned(),
            rule: Rule::None,
            disk: Disk::Fine,
            atomic: true,
            damaged: false,
            version: 0,
        }
    }

    /// The refs that a connection shows, within the part of the list that git reads at one moment: branches
    /// come first. git reads loose refs one by one while others push.
    pub(crate) fn advertise(&self, branches: bool) -> BTreeMap<String, Oid> {
        let refs = self.refs.iter().filter(|(name, _)| is_branch(name) == branches && !self.hides(name));
        refs.map(|(name, oid)| (name.clone(), *oid)).collect()
    }

    fn hides(&self, name: &str) -> bool {
        self.rule == Rule::Hidden && !is_branch(name)
    }

    /// The first ref that names a missing object.
    pub(crate) fn dangling(&self) -> Option<&String> {
        self.refs.iter().find(|(_, oid)| !self.present.contains(*oid)).map(|(name, _)| name)
    }

    /// Handles a push in one go.
    pub(crate) fn receive(&mut self, request: Request) -> Report {
        let mut handling = self.unpack(request);
        self.check(&mut handling);
        for command in 0..handling.steps() {
            self.apply(&mut handling, command);
        }
        handling.report()
    }

    /// Reads the pack.
    pub(crate) fn unpack(&self, request: Request) -> Handling {
        let deletes = request.commands.iter().all(|command| command.new.is_none());
        let (unpack, said) = match self.disk {
            _ if deletes => (None, ""),
            Disk::Fine => (None, ""),
            Disk::Full => (
                Some("unpack-objects abnormal exit"),
                "error: unable to write file: No space left on device\nfatal: failed to write object",
            ),
            Disk::ReadOnly => (Some("unable to create temporary object directory"), ""),
        };
        let errors = vec![unpack.map(|_| "unpacker error"); request.commands.len()];
        Handling { request, errors, unpack, said: said.to_owned() }
    }

    /// Checks that the server will have all objects, and asks the hooks.
    pub(crate) fn check(&mut self, handling: &mut Handling) {
        if handling.unpack.is_some() {
            return;
        }
        let commands = handling.request.commands.clone();
        let creates = commands.iter().any(|command| command.new.is_some());
        let bad = self.dangling().filter(|_| creates).cloned();
        for (command, error) in commands.iter().zip(&mut handling.errors) {
            let Some(new) = command.new else { continue };
            if bad.is_some() || !self.is_complete(new, &handling.request.commits) {
                *error = Some("missing necessary objects");
            }
        }
        if let Some(bad) = bad {
            handling.said = format!("fatal: bad object {bad}");
        }
        for (command, error) in commands.iter().zip(&mut handling.errors) {
            if error.is_none() && self.hides(&command.name) {
                let is_deletion = command.new.is_none();
                *error = Some(if is_deletion {
                    "deny deleting a hidden ref"
                } else {
                    "deny updating a hidden ref"
                });
            }
        }
        if self.rule == Rule::All {
            handling.errors.iter_mut().for_each(|error| *error = error.or(Some("pre-receive hook declined")));
        }
        if handling.errors.iter().any(Option::is_none) {
            self.present.extend(&handling.request.commits);
        }
    }

    /// Whether the server has that commit and its ancestors, with those of a pack.
    fn is_complete(&self, commit: Oid, pack: &[Oid]) -> bool {
        let mut at = Some(commit);
        while let Some(id) = at {
            let is_new = pack.contains(&id);
            if !is_new && !self.present.contains(&id) {
                return false;
            }
            // What refs name is taken for complete.
            if !is_new && (!self.damaged || self.refs.values().any(|target| *target == id)) {
                return true;
            }
            at = self.objects.find(id).and_then(|found| found.parent);
        }
        true
    }

    /// Carries out one step: a command, or all of an atomic push.
    pub(crate) fn apply(&mut self, handling: &mut Handling, step: usize) {
        let commands = handling.request.commands.clone();
        if !handling.request.atomic {
            if handling.errors[step].is_none() {
                handling.errors[step] = self.one(&commands[step]).err();
            }
            return;
        }
        // git takes those commands out of the transaction that it has refused before. The others go on!
        let open: Vec<usize> = (0..commands.len()).filter(|at| handling.errors[*at].is_none()).collect();
        let refused = open.iter().find_map(|at| Some((*at, self.prepare(&commands[*at]).err()?)));
        if let Some((at, reason)) = refused {
            handling.errors[at] = Some(reason);
            handling.fail("atomic push failure");
            return;
        }
        let before = self.refs.clone();
        for at in open {
            if self.transact(&commands[at]).is_err() {
                self.refs = before;
                handling.fail("atomic transaction failed");
                return;
            }
        }
    }

    fn one(&mut self, command: &RefUpdate) -> Result<(), &'static str> {
        self.prepare(command)?;
        self.transact(command).map_err(|()| "failed to update ref")
    }

    /// What git checks before the transaction.
    fn prepare(&self, command: &RefUpdate) -> Result<(), &'static str> {
        if command.new.is_some_and(|new| !self.present.contains(&new)) {
            return Err("bad pack");
        }
        if command.new.is_none() && command.name == self.head {
            return Err("deletion of the current branch prohibited");
        }
        match self.rule {
            Rule::Branches if is_branch(&command.name) => Err("hook declined"),
            Rule::Others if !is_branch(&command.name) => Err("hook declined"),
            _ => Ok(()),
        }
    }

    /// Changes one ref, if it has the old value.
    fn transact(&mut self, command: &RefUpdate) -> Result<(), ()> {
        let name = &command.name;
        let now = self.refs.get(name).copied();
        // If the server lacks the old object, git takes the ref for corrupt and deletes it, whatever it names.
        let corrupt = command.new.is_none() && command.old.is_none_or(|old| !self.present.contains(&old));
        if now != command.old && !corrupt {
            return Err(());
        }
        match command.new {
            Some(new) => {
                if now.is_none() && self.refs.keys().any(|other| conflicts(other, name)) {
                    return Err(());
                }
                self.refs.insert(name.clone(), new);
            }
            None => drop(self.refs.remove(name)),
        }
        self.version += 1;
        Ok(())
    }

    /// Sets a ref without asking, as an administrator does; `None` deletes it.
    pub(crate) fn set(&mut self, name: &str, target: Option<Oid>) {
        match target {
            Some(target) => {
                self.refs.insert(name.to_owned(), target);
            }
            None => drop(self.refs.remove(name)),
        }
        self.version += 1;
    }

    /// Makes a commit on top of the branch, as somebody does by hand.
    pub(crate) fn by_hand(&mut self, path: &str, content: Option<Oid>, salt: u64) {
        let head = self.head.clone();
        let tip = self.refs.get(&head).copied();
        let mut files = tip.map(|tip| self.objects.get(tip).files.clone()).unwrap_or_default();
        match content {
            Some(content) => drop(files.insert(path.to_owned(), content)),
            None => drop(files.remove(path)),
        }
        let commit = self.objects.commit(tip, files, salt);
        self.present.insert(commit);
        self.set(&head, Some(commit));
    }
}

impl Handling {
    /// The number of steps in which the server changes refs.
    pub(crate) fn steps(&self) -> usize {
        match self.errors.iter().all(Option::is_some) {
            true => 0,
            false if self.request.atomic => 1,
            false => self.request.commands.len(),
        }
    }

    /// Refuses what is not refused yet.
    pub(crate) fn fail(&mut self, reason: &'static str) {
        for error in &mut self.errors {
            *error = error.or(Some(reason));
        }
    }

    /// Refuses one command, for a reason outside of the model.
    pub(crate) fn refuse(&mut self, command: usize, reason: &'static str) {
        self.errors[command] = self.errors[command].or(Some(reason));
    }

    pub(crate) fn report(self) -> Report {
        let results = self.request.commands.into_iter().zip(self.errors);
        Report {
            unpack: self.unpack.map(str::to_owned),
            refused: results.filter_map(|(command, error)| Some((command.name, error?.to_owned()))).collect(),
            said: self.said,
        }
    }
}

pub(crate) fn is_branch(name: &str) -> bool {
    name.starts_with("refs/heads/")
}

/// Whether git cannot have both refs, since one would be a directory of the other.
fn conflicts(one: &str, other: &str) -> bool {
    let below =
        |name: &str, folder: &str| name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    below(one, other) || below(other, one)
}
