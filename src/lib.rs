//! Service discovery that is just a folder: every node puts its name on a list kept in git, and templates
//! turn the list into the config of balancers and applications.

mod access;
pub mod agent;
mod at_once;
pub mod beat;
pub mod change;
mod children;
pub mod cli;
pub mod config;
pub mod deadline;
pub mod endpoint;
pub mod errors;
pub mod escape;
pub mod facts;
mod folder;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod haproxy;
pub mod health;
pub mod history;
pub mod limits;
pub mod liveness;
pub mod mark;
pub mod metrics;
pub mod name;
pub mod notify;
pub mod output;
pub mod probe;
mod program;
pub mod progress;
pub mod record;
pub mod roster;
mod same_file;
mod sanitize;
pub mod schedule;
mod stat_key;
mod state;
pub mod store;
pub mod template;
pub mod text;
mod threads;
pub mod view;
