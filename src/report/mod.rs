//! Reports: what was computed once, and one file per format that writes it.
//!
//! A report is data ([`Report`]); every format writes the same cells, so the numbers cannot differ between two of them.
//! It depends on the ledger, the inventory and a date, and on nothing else: the same three give the same bytes.

pub mod activity;
mod columns;
pub mod controls;
pub mod coverage;
pub mod format;
pub mod model;
pub mod pack;
pub mod picture;
pub mod revocation;
pub mod rotation;
pub mod source;
pub mod view;

pub use model::{
    Bar, Body, Cell, Column, Figure, Histogram, Kind, Report, Rows, Scope, Section, Table, Tone,
};
