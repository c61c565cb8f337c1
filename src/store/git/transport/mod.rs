//! How bytes reach a git server: our own streams under libgit2.
