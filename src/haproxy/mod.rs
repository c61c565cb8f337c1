//! HAProxy follows a new file without a reload if only servers changed.
//!
//! This module compares texts, and knows nothing of nodes, rosters or templates. It compares a new file with
//! the one before it and with what runs ([`plan()`] is pure), and sends the resulting commands to the stats
//! socket ([`apply()`]). Then it looks again, until nothing is left or the patience is over. The next step
//! depends only on what runs. So the next call finishes the work of one that was killed at any point, and a
//! call on a finished state does nothing.
//!
//! The file is the truth, except for what somebody else sets at the socket meanwhile: see [`Overrides`].
//!
//! A caller replaces the file first, so that a restart of HAProxy gives the same servers:
//! 1. [`state_file::clear`], then check the new file (`state_file` says why in this order);
//! 2. [`needs_reload`]: if it gives a reason, record that a reload is owed *before* replacing the file, since
//!    what runs does not show which options it was loaded with; replace, [`state_file::save`], reload;
//! 3. otherwise replace the file and call [`apply()`], now and at each later beat. If its [`Outcome`] asks
//!    for a reload, do step 2 without the replacement.

mod apply;
mod config;
mod options;
mod overrides;
mod plan;
mod port;
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
pub use port::Port;
pub use reload::{NotLoaded, Serving, confirm, serving, worker};
pub use running::{Running, RunningServer, SyntaxError};
pub use socket::{Socket, SocketError};
pub use step::{Action, ServerName, Step, Waiting, Why};
pub use version::{Installed, Version, VersionError};
