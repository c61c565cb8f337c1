//! The built-in templates, judged by the programs that read them, and what users' templates may rely on.

mod determinism;
mod docs;
mod fleet;
mod helpers;
mod injection;
mod lookup;
mod roles;
mod services;
mod sizes;
mod states;
mod variables;
