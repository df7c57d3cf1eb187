//! The witness that a run leaves on hosts which it changes: the end of the event log, signed where there is a key; and
//! how all of a host's are read back.

use tokio::sync::OnceCell;

use crate::audit::head::{Witness, statement};
use crate::audit::ssh::Signer;
use crate::clock::{Timestamp, whole_milliseconds};
use crate::error::{Error, Kind};
use crate::fleet::session::Session;
use crate::host::reply::lines_of;
use crate::host::request::Request;
use crate::ledger::{Head, Ledger, SignedHead};
use crate::names::HostName;
use crate::playbook::engine::Shared;
use crate::playbook::errand::{Errand, INSPECT, Stop};

/// Makes the witness of a run: once, when the first change is about to be sent, so that it covers what led to it.
#[derive(Debug)]
pub struct WitnessMaker {
    signer: Option<Signer>,
    made: OnceCell<Witness>,
}

impl WitnessMaker {
    /// With the key that signs, if there is one.
    pub fn new(signer: Option<Signer>) -> Self {
        Self {
            signer,
            made: OnceCell::new(),
        }
    }

    /// Returns the run's witness.
    ///
    /// # Errors
    /// When the ledger cannot be read or written, or the key cannot sign: then nothing may be changed.
    pub async fn witness(&self, ledger: &Ledger, now: Timestamp) -> Result<&Witness, Error> {
        self.made
            .get_or_try_init(|| async {
                let head = ledger.head().await?;
                let signed = sign_head(ledger, &head, self.signer.clone(), now).await?;
                Ok(Witness::of(ledger.project_id().as_str(), &signed))
            })
            .await
    }
}

/// Signs a head of the log, and stores it.
///
/// # Errors
/// When the ledger cannot be read or written, or the key cannot sign.
pub async fn sign_head(
    ledger: &Ledger,
    head: &Head,
    signer: Option<Signer>,
    now: Timestamp,
) -> Result<SignedHead, Error> {
    // The ledger keeps milliseconds, and what is signed must be what is kept.
    let at = whole_milliseconds(now);
    let text = statement(ledger.project_id().as_str(), head, at);
    let signature = match signer {
        None => None,
        // An agent may wait for a touch.
        Some(signer) => Some(
            tokio::task::spawn_blocking(move || {
                let signature = signer.sign(&text)?;
                Ok::<_, Error>((signer.fingerprint().to_owned(), signature))
            })
            .await
            .map_err(|e| Error::new(Kind::Internal, format!("a thread ended abnormally: {e}")))??,
        ),
    };
    let signed = SignedHead {
        head: head.clone(),
        at,
        signature,
    };
    ledger.store_head(&signed).await?;
    Ok(signed)
}

/// Adds the operation that leaves a witness on the host.
pub fn leave(request: &mut Request, witness: &Witness) {
    let fields = witness.fields();
    let mut line = vec!["witness"];
    line.extend(fields.iter().map(String::as_str));
    request.line(&line);
}

/// Reads every witness that a host has; changes nothing.
#[derive(Debug)]
pub struct ReadWitnesses;

impl Errand for ReadWitnesses {
    type Done = Vec<Witness>;

    async fn run(
        &self,
        _: &HostName,
        session: &Session,
        shared: &Shared,
    ) -> Result<Self::Done, Stop> {
        let answer = session
            .exec(Request::witnesses(), shared.limit(INSPECT))
            .await?;
        let mut witnesses = Vec::new();
        for line in lines_of(&answer)? {
            let Some(line) = line.strip_prefix(b"|") else {
                continue;
            };
            let text = String::from_utf8_lossy(line);
            // A host that was tampered with must not look like one that says nothing.
            witnesses.push(Witness::parse(&text).ok_or_else(|| {
                Stop::failed(format!(
                    "line {} of its witness file cannot be read",
                    witnesses.len() + 1
                ))
            })?);
        }
        Ok(witnesses)
    }
}
