//! Tokens: keys, codes, URIs and their life cycle.

pub mod code;
pub mod id;
pub mod key;
pub mod lint;
pub mod params;
pub mod recovery;
pub mod secret;
pub mod state;
pub mod uri;
