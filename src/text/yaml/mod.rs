//! YAML as Ansible reads it, with the position of every node.
//!
//! [`parse`] gives a tree of [`Node`]s. Scalars are resolved by the rules of YAML 1.1 (`no` is a boolean, `0755` is
//! octal), because that is what PyYAML does to the files Ansible reads; the text as written stays beside the value, so a
//! field that wants a string takes `no` or `0755` as it stands. [`from_source`] and [`from_node`] read a tree into a type
//! with serde, and every error they give points at the key or value it is about.

mod build;
mod de;
mod node;
mod scalar;

pub use build::parse;
pub use de::{from_node, from_source};
pub use node::{Entry, Kind, Mapping, Node, Scalar, Tag};
pub use scalar::Resolved;

#[cfg(test)]
mod tests;
