//! `core.sharedRepository` (git-config(1)): the modes of new files and directories in a repository that
//! several users share.

use git2::Config;

/// How to change the modes that result from the umask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shared {
    /// Keep them.
    Umask,
    /// Add these bits.
    Add(u32),
    /// Use exactly these bits.
    Exactly(u32),
}

impl Shared {
    /// The setting in the repository's configuration. Ignores a value that git would refuse.
    pub(super) fn of(config: &Config) -> Shared {
        match config.get_string("core.sharedRepository") {
            Ok(value) => Shared::parse(&value),
            Err(_) => Shared::Umask,
        }
    }

    fn parse(value: &str) -> Shared {
        match value.to_ascii_lowercase().as_str() {
            // A key without a value is `true`.
            "" | "group" | "true" | "yes" | "on" => return Shared::Add(0o660),
            "all" | "world" | "everybody" => return Shared::Add(0o664),
            _ => {}
        }
        match u32::from_str_radix(value, 8) {
            Ok(1) => Shared::Add(0o660),
            Ok(2) => Shared::Add(0o664),
            Ok(mode) if mode & 0o600 == 0o600 => Shared::Exactly(mode & 0o666),
            _ => Shared::Umask,
        }
    }

    /// The final mode of a file or directory that was created with `mode`: git's `calc_shared_perm` and
    /// `adjust_shared_perm` in its path.c.
    pub(super) fn mode(self, mode: u32, is_dir: bool) -> u32 {
        let mut tweak = match self {
            Shared::Umask => return mode,
            Shared::Add(bits) | Shared::Exactly(bits) => bits,
        };
        if mode & 0o200 == 0 {
            tweak &= !0o222;
        }
        if mode & 0o100 != 0 {
            tweak |= (tweak & 0o444) >> 2;
        }
        let mode = match self {
            Shared::Exactly(_) => (mode & !0o777) | tweak,
            _ => mode | tweak,
        };
        match is_dir {
            // Its contents shall belong to the same group.
            true if mode & 0o060 != 0 => mode | (mode & 0o444) >> 2 | 0o2000,
            true => mode | (mode & 0o444) >> 2,
            false => mode,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_git() {
        // The results of `git init --shared=VALUE` and a commit under umask 022, with git 2.47.
        for (value, dir, file, object) in [
            ("umask", 0o755, 0o644, 0o444),
            ("0", 0o755, 0o644, 0o444),
            ("group", 0o2775, 0o664, 0o444),
            ("1", 0o2775, 0o664, 0o444),
            ("true", 0o2775, 0o664, 0o444),
            ("all", 0o2775, 0o664, 0o444),
            ("2", 0o2775, 0o664, 0o444),
            ("0660", 0o2770, 0o660, 0o440),
            ("0640", 0o2750, 0o640, 0o440),
            ("nonsense", 0o755, 0o644, 0o444),
        ] {
            let shared = Shared::parse(value);
            let modes = (shared.mode(0o755, true), shared.mode(0o644, false), shared.mode(0o444, false));
            assert_eq!(modes, (dir, file, object), "{value}");
        }
    }
}
