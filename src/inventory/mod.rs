//! The inventory: hosts as Ansible reads them, and the admins, realms and policies that fleetotp adds.

pub mod model;
