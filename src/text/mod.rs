//! Texts that users wrote: positions in them, errors about them, and YAML as Ansible reads it.

pub mod list_edit;
pub mod schema;
pub mod source;
pub mod suggest;
pub mod yaml;

pub use source::{FileError, Position, SourceFile};
