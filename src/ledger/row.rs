//! Reading typed values from rows; what does not parse is a damaged ledger, never a panic.

use sqlx::any::AnyRow;
use sqlx::{ColumnIndex, Row as _};

use crate::clock::Timestamp;
use crate::ledger::LedgerError;
use crate::token::id::Generation;

/// Typed access to a row.
pub(super) trait RowExt {
    /// A text column.
    fn text(&self, column: &'static str) -> Result<String, LedgerError>;
    /// A text column that can be null.
    fn maybe_text(&self, column: &'static str) -> Result<Option<String>, LedgerError>;
    /// An integer column.
    fn int(&self, column: &'static str) -> Result<i64, LedgerError>;
    /// An integer column that can be null.
    fn maybe_int(&self, column: &'static str) -> Result<Option<i64>, LedgerError>;

    /// A text column of a type that checks its text.
    fn parsed<T>(&self, column: &'static str) -> Result<T, LedgerError>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        parse(&self.text(column)?)
    }

    /// The same, where the column can be null.
    fn maybe_parsed<T>(&self, column: &'static str) -> Result<Option<T>, LedgerError>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        self.maybe_text(column)?.as_deref().map(parse).transpose()
    }

    /// A time.
    fn time(&self, column: &'static str) -> Result<Timestamp, LedgerError> {
        to_time(self.int(column)?)
    }

    /// A time that can be null.
    fn maybe_time(&self, column: &'static str) -> Result<Option<Timestamp>, LedgerError> {
        self.maybe_int(column)?.map(to_time).transpose()
    }

    /// A number of a narrower type.
    fn number<T>(&self, column: &'static str) -> Result<T, LedgerError>
    where
        T: TryFrom<i64, Error: std::fmt::Display>,
    {
        to_number(self.int(column)?)
    }

    /// The same, where the column can be null.
    fn maybe_number<T>(&self, column: &'static str) -> Result<Option<T>, LedgerError>
    where
        T: TryFrom<i64, Error: std::fmt::Display>,
    {
        self.maybe_int(column)?.map(to_number).transpose()
    }

    /// The number of a generation.
    fn generation(&self, column: &'static str) -> Result<Generation, LedgerError> {
        self.number(column)
    }

    /// The number of a generation that can be null.
    fn maybe_generation(&self, column: &'static str) -> Result<Option<Generation>, LedgerError> {
        self.maybe_number(column)
    }

    /// A JSON text that can be null.
    fn maybe_json(&self, column: &'static str) -> Result<Option<serde_json::Value>, LedgerError> {
        self.maybe_text(column)?
            .map(|text| serde_json::from_str(&text).map_err(LedgerError::damaged))
            .transpose()
    }
}

impl RowExt for AnyRow
where
    &'static str: ColumnIndex<Self>,
{
    fn text(&self, column: &'static str) -> Result<String, LedgerError> {
        Ok(self.try_get(column)?)
    }

    fn maybe_text(&self, column: &'static str) -> Result<Option<String>, LedgerError> {
        Ok(self.try_get(column)?)
    }

    fn int(&self, column: &'static str) -> Result<i64, LedgerError> {
        Ok(self.try_get(column)?)
    }

    fn maybe_int(&self, column: &'static str) -> Result<Option<i64>, LedgerError> {
        Ok(self.try_get(column)?)
    }
}

fn parse<T>(text: &str) -> Result<T, LedgerError>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    text.parse().map_err(LedgerError::damaged)
}

/// Milliseconds as stored.
pub(super) fn to_time(milliseconds: i64) -> Result<Timestamp, LedgerError> {
    Timestamp::from_millisecond(milliseconds).map_err(LedgerError::damaged)
}

fn to_number<T>(number: i64) -> Result<T, LedgerError>
where
    T: TryFrom<i64, Error: std::fmt::Display>,
{
    T::try_from(number).map_err(LedgerError::damaged)
}
