//! One agent for each state directory.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use super::AgentError;
use crate::errors::AtPath;
use crate::folder::Folder;

const LOCK: &str = "agent.lock";

/// The digits of a process id, and a newline.
const MAX_PID: u64 = 16;

/// Held while the agent runs. The kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held, not used")] File);

/// Takes the lock. The error names its holder.
pub(super) fn take(state_dir: &Path) -> Result<Lock, AgentError> {
    let folder = Folder::private(state_dir)?;
    let path = folder.at(LOCK);
    let mut file = folder.lock_file(LOCK)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Without it, the message names no process.
            let _ = (&file).take(MAX_PID).read_to_string(&mut pid);
            let pid = pid.trim().to_owned();
            return Err(AgentError::Another { pid, state_dir: state_dir.to_owned() });
        }
        Err(TryLockError::Error(error)) => return Err(error).at("lock", &path).map_err(Into::into),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).at("write", &path)?;
    Ok(Lock(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = take(dir.path()).unwrap();
        let error = take(dir.path()).unwrap_err();
        assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        take(dir.path()).unwrap();
    }
}
