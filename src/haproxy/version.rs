//! Which HAProxy is installed here: not every version knows every keyword.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use wait_timeout::ChildExt;

use crate::children;

/// A release series of HAProxy, such as 2.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 2 of 2.6.
    pub major: u16,
    /// 6 of 2.6.
    pub minor: u16,
}

/// Where distributions install it, for a PATH without these directories, such as cron's.
const USUAL: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// It prints its version within milliseconds.
const LIMIT: Duration = Duration::from_secs(5);

/// A longer answer is not a version.
const MAX_ANSWER: u64 = 4 * 1024;

/// The installed HAProxy does not tell its version.
#[derive(Debug, thiserror::Error)]
#[error("cannot determine the version of HAProxy: `{} -v` {reason}", program.display())]
pub struct VersionError {
    program: PathBuf,
    reason: String,
}

impl VersionError {
    /// What to do next.
    pub fn hint(&self) -> String {
        "set it with `--set haproxy_version=2.6`, or with `haproxy_version` in [vars]".to_owned()
    }
}

impl Version {
    /// The first version that adds and removes checked servers at run time. 2.4 and 2.5 do that only in
    /// `experimental-mode`, and refuse `check` there (measured with 2.4.0 and 2.5.0).
    pub const RUNTIME: Version = Version { major: 2, minor: 6 };

    /// Parses `2.6`, `2.6.12-1+deb12u1` or `3.5-dev5`.
    pub fn parse(text: &str) -> Option<Version> {
        let (major, rest) = text.split_once('.')?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (minor, rest) = rest.split_at(digits);
        let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse().ok(),
            false => None,
        };
        let is_end = rest.is_empty() || rest.starts_with(['.', '-', '+', '~']);
        is_end.then_some(Version { major: number(major)?, minor: number(minor)? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A HAProxy that is installed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    program: PathBuf,
    stamp: String,
}

impl Installed {
    /// The first one in PATH, or where distributions install it.
    pub fn find() -> Option<Installed> {
        Installed::find_in(std::env::var_os("PATH").as_deref().unwrap_or_default())
    }

    fn find_in(path: &OsStr) -> Option<Installed> {
        let dirs = std::env::split_paths(path).chain(USUAL.iter().map(PathBuf::from));
        dirs.filter(|dir| dir.is_absolute()).find_map(|dir| Installed::at(&dir.join("haproxy")))
    }

    fn at(program: &Path) -> Option<Installed> {
        let found = program.metadata().ok()?;
        let is_program = found.is_file() && found.permissions().mode() & 0o111 != 0;
        let (seconds, rest) = (found.mtime(), found.mtime_nsec());
        let place = program.display();
        let stamp = format!("{place} {}-{}-{}-{seconds}.{rest:09}", found.dev(), found.ino(), found.size());
        is_program.then(|| Installed { program: program.to_owned(), stamp })
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Identifies this build: equal stamps mean equal versions.
    pub fn stamp(&self) -> &str {
        &self.stamp
    }

    /// Its version. A process asks each build once.
    pub fn version(&self) -> Result<Version, VersionError> {
        static KNOWN: Mutex<Option<(String, Version)>> = Mutex::new(None);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((stamp, version)) = &*known
            && *stamp == self.stamp
        {
            return Ok(*version);
        }
        let version = self.ask()?;
        *known = Some((self.stamp.clone(), version));
        Ok(version)
    }

    fn ask(&self) -> Result<Version, VersionError> {
        let failed = |reason: String| VersionError { program: self.program.clone(), reason };
        let answer = answer(&self.program).map_err(|error| failed(format!("failed: {error}")))?;
        // "HAProxy version 2.6.12-1+deb12u1 2023/12/16 - https://haproxy.org/"; "HA-Proxy" until 2.3.
        let words = answer.lines().next().unwrap_or_default().split_whitespace();
        let word = words.skip_while(|word| *word != "version").nth(1);
        word.and_then(Version::parse).ok_or_else(|| failed("does not print it in its first line".to_owned()))
    }
}

fn answer(program: &Path) -> io::Result<String> {
    // A file instead of a pipe: no process that the program leaves behind can hold it open.
    let mut output = tempfile::tempfile()?;
    let mut command = Command::new(program);
    // A process group of its own, so that all of it can be killed.
    command.arg("-v").process_group(0).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(Stdio::null());
    let mut child = children::start(&mut command)?;
    match child.wait_timeout(LIMIT)? {
        Some(status) if status.success() => {}
        Some(status) => return Err(io::Error::other(status.to_string())),
        None => {
            child.kill_group();
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    read_start(&mut output)
}

fn read_start(output: &mut File) -> io::Result<String> {
    output.rewind()?;
    let mut bytes = Vec::new();
    output.take(MAX_ANSWER).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(dir: &Path, script: &str) -> Installed {
        let path = dir.join("haproxy");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let path = std::env::join_paths(["/nowhere".as_ref(), dir]).unwrap();
        Installed::find_in(&path).unwrap()
    }

    #[test]
    fn versions_are_read_as_people_and_packages_write_them() {
        let check = |text: &str, expect: Option<(u16, u16)>| {
            let version = Version::parse(text).map(|version| (version.major, version.minor));
            assert_eq!(version, expect, "{text}");
        };
        check("2.6", Some((2, 6)));
        check("2.6.12-1+deb12u1", Some((2, 6)));
        check("3.5-dev5", Some((3, 5)));
        check("10.11~rc1", Some((10, 11)));
        for text in ["", "2", "2.", ".6", "2.x", "v2.6", "2.6x", "+2.6", "99999.1"] {
            check(text, None);
        }
        assert!(Version::parse("2.10") > Version::parse("2.9"));
    }

    #[test]
    fn an_installed_one_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let old = "echo 'HA-Proxy version 2.2.9-2+deb11u6 2023/12/16 - https://haproxy.org/'; echo more";
        assert_eq!(program(dir.path(), old).version().unwrap().to_string(), "2.2");
        let fails = program(dir.path(), "echo HAProxy version 2.6.1; exit 3");
        let error = fails.ask().unwrap_err();
        let shown = dir.path().join("haproxy");
        let expect = format!(
            "cannot determine the version of HAProxy: `{} -v` failed: exit status: 3",
            shown.display()
        );
        assert_eq!((error.to_string(), error.hint().contains("haproxy_version")), (expect, true));
        let mute = program(dir.path(), "true").ask().unwrap_err().to_string();
        assert!(mute.ends_with(" -v` does not print it in its first line"), "{mute}");
    }
}
