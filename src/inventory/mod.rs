//! The inventory: hosts as Ansible reads them, and the admins, realms and policies that fleetotp adds.
//!
//! [`Inventory::load`] reads the sources. What Ansible tolerates with a warning (a source that cannot be read, a pattern
//! that matches nothing, an unknown key) is an error here: a host or an admin that is quietly left out is a host
//! without a second factor.

mod address;
mod connection;
mod data;
mod enrolment;
mod export;
pub(crate) mod glob;
mod load;
pub mod model;
pub(crate) mod pattern;
mod python;
mod range;
mod select;
mod sources;
mod value;
mod vars_files;

#[cfg(test)]
mod tests;

pub use enrolment::schema;
pub use load::{Inventory, LoadOptions};
pub use sources::SourceRead;
