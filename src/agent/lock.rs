//! One agent for each state directory.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::Path;

use super::AgentError;
use crate::errors::AtPath;

/// Held for as long as the agent runs; it goes with the process, however that ends.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held, not used")] File);

/// Takes the lock, or says who has it.
pub(super) fn take(state_dir: &Path) -> Result<Lock, AgentError> {
    fs::create_dir_all(state_dir).at("make", state_dir)?;
    let path = state_dir.join("agent.lock");
    let mut file = File::options().create(true).truncate(false).write(true).open(&path).at("open", &path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
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
