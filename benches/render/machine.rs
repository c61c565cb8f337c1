//! A machine that runs the built program, isolated from the one that runs the bench.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A machine with one store.
pub(crate) struct Machine {
    pub(crate) dir: PathBuf,
    store: PathBuf,
}

impl Machine {
    /// A machine that reads a store in the same directory.
    pub(crate) fn new(dir: &Path, store: &str) -> Machine {
        let machine = Machine { dir: dir.join(format!("machine-{store}")), store: dir.join(store) };
        fs::create_dir_all(machine.dir.join("nodeinfo")).unwrap();
        fs::write(machine.dir.join("presence.toml"), "").unwrap();
        machine
    }

    /// The program on this machine, not yet started.
    pub(crate) fn presence(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_presence"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", &self.dir)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("PRESENCE_CONFIG", "presence.toml")
            .env("PRESENCE_NODEINFO", "nodeinfo")
            .env("PRESENCE_STATE_DIR", "state")
            .env("PRESENCE_STORE", &self.store)
            .current_dir(&self.dir)
            .args(words);
        command
    }

    /// Removes a file or directory of this machine.
    pub(crate) fn forget(&self, name: &str) {
        let path = self.dir.join(name);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else if path.exists() {
            fs::remove_file(path).unwrap();
        }
    }
}
