//! What tests of the whole program share.

pub(crate) mod bare;
pub(crate) mod dice;
pub(crate) mod faults;
pub(crate) mod leavers;
pub(crate) mod memory;
pub(crate) mod mmdb;
pub(crate) mod project;
pub(crate) mod reviewer;
pub(crate) mod simulated;
pub(crate) mod small_disk;
pub(crate) mod table;
