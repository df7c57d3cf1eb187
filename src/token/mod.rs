//! Tokens: keys, codes, URIs and their life cycle.

pub mod secret;
