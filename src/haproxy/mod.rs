//! HAProxy follows a new file without a reload, where only servers changed.
//!
//! Texts in, plan out: this module knows nothing of nodes, rosters or templates. It compares a new file with the one
//! before it and with what runs ([`plan()`] is pure), sends what follows from that to the stats socket ([`apply()`]),
//! and looks again, until nothing is left or the patience is over. What is done next depends only on what runs, so a
//! call that was killed at any point is finished by the next one, and a call on a finished state does nothing.
//!
//! The file is the truth, but for what somebody else sets at the socket meanwhile: see [`Overrides`].
//!
//! How a caller uses it, the file being replaced first so that a restart gives the same:
//! 1. [`state_file::clear`], then check the new file (see there for why in this order);
//! 2. [`needs_reload`]: if it says so, remember that a reload is owed *before* replacing the file, since what runs does
//!    not show which options it was loaded with; replace, [`state_file::save`], reload;
//! 3. else replace the file and [`apply()`], now and at each later beat. If its [`Outcome`] asks for a reload, that is
//!    step 2 without the replacement.

mod apply;
mod config;
mod options;
mod overrides;
mod plan;
mod reload;
mod running;
mod socket;
pub mod state_file;
mod step;
mod version;

pub use apply::{ApplyError, ApplyRequest, Outcome, apply, can_follow};
pub use config::{Backend, Config, Server, State};
pub use options::Options;
pub use overrides::{Overrides, Remember};
pub use plan::{Plan, Round, needs_reload, plan};
pub use reload::{NotLoaded, Serving, confirm, serving, worker};
pub use running::{Running, RunningServer, SyntaxError};
pub use socket::{Socket, SocketError};
pub use step::{Action, ServerName, Step, Waiting, Why};
pub use version::{Installed, Version, VersionError};
