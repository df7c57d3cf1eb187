//! Columns that several tables have: the same meaning wherever they stand.

use crate::report::model::{Column, Kind};
use crate::report::view::column;

pub(super) const HOST: Column = column("host", "Host", Kind::Text, "The host.");
pub(super) const ADMIN: Column = column(
    "admin",
    "Admin",
    Kind::Text,
    "The admin, or the pseudonym of one that was erased.",
);
pub(super) const LOGIN: Column = column("login", "Login", Kind::Text, "The account.");
pub(super) const REALM: Column = column("realm", "Realm", Kind::Text, "Where the token is used.");
pub(super) const SERIAL: Column = column("serial", "Serial", Kind::Text, "The token.");
pub(super) const ISSUED_BY: Column = column(
    "issued_by",
    "Issued by",
    Kind::Text,
    "Who ran the program then, as claimed.",
);
pub(super) const APPROVED_BY: Column =
    column("approved_by", "Approved by", Kind::Text, "Who approved it.");
pub(super) const CONFIRMED_AT: Column = column(
    "confirmed_at",
    "Confirmed",
    Kind::Time,
    "When a code of it was verified.",
);
pub(super) const CONFIRMED_BY: Column = column(
    "confirmed_by",
    "Confirmed by",
    Kind::Text,
    "Who ran the program then, as claimed.",
);
pub(super) const ENDED_AT: Column = column("ended_at", "Ended", Kind::Time, "When it ended.");
