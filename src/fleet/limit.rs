//! Reading what a host sends, without believing that it ends.

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::fleet::FleetError;

/// More than any answer can be: 8 MiB.
pub(crate) const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// More than anybody reads of an error: 64 KiB.
const MAX_ERRORS: u64 = 64 * 1024;

/// Reads an answer to its end.
pub(crate) async fn read_answer(mut from: impl AsyncRead + Unpin) -> Result<Vec<u8>, FleetError> {
    let mut answer = Vec::with_capacity(16 * 1024);
    let limit = MAX_ANSWER as u64 + 1;
    (&mut from)
        .take(limit)
        .read_to_end(&mut answer)
        .await
        .map_err(|_| FleetError::Lost)?;
    if answer.len() > MAX_ANSWER {
        Err(FleetError::TooMuch(MAX_ANSWER))
    } else {
        Ok(answer)
    }
}

/// Reads error output; what is too much is thrown away, not kept.
pub(crate) async fn read_errors(mut from: impl AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    // An error here only means that there is less to show.
    drop((&mut from).take(MAX_ERRORS).read_to_end(&mut bytes).await);
    // Keeps the other side from blocking on a full pipe.
    drop(tokio::io::copy(&mut from, &mut tokio::io::sink()).await);
    String::from_utf8_lossy(&bytes).into_owned()
}
