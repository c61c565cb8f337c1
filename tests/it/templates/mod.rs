//! The built-in templates before the programs that read them, and what templates in general may rely on.

mod determinism;
mod docs;
mod fleet;
mod helpers;
mod injection;
mod lookup;
mod sizes;
mod states;
mod variables;
