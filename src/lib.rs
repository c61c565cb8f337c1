//! Service discovery that is just a folder: every node puts its name on a list kept in git,
//! and templates turn the list into the config of balancers and applications.

pub mod endpoint;
pub mod escape;
mod excerpt;
pub mod name;
pub mod store;
