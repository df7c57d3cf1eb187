//! Integration tests: one binary, one module per topic.
//!
//! Each module is marked as test code, so that clippy lets its helpers unwrap.

#[cfg(test)]
<<<<<<< HEAD
mod sheet;
=======
mod lab;
#[cfg(test)]
mod lab_self;
>>>>>>> e1123be9bbe95cb11552a851a0dc4d65ad9ab529
#[cfg(test)]
mod token;
