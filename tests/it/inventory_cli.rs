//! `fleetotp inventory`, as the command line runs it.
