//! Confirming a generation: a code of it was verified, here or by a host.

use crate::ledger::event::Draft;
use crate::ledger::open::Ledger;
use crate::ledger::people::PersonKind;
use crate::ledger::tries::TryId;
use crate::ledger::tx::Tx;
use crate::ledger::{LedgerError, SheetRecord, TokenRecord};
use crate::names::HostName;
use crate::token::id::{Generation, PersonId, Serial};
use crate::token::state::{GenerationState, SheetState, TokenState};

/// Who vouched for an issue or a confirmation; names are stored under pseudonyms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vouched {
    /// Who checked the admin's identity.
    pub verified_by: Option<String>,
    /// How: such as `passport` or `video call`.
    pub verified_how: Option<String>,
    /// Who approved it.
    pub approved_by: Option<String>,
}

/// [`Vouched`] with pseudonyms.
pub(super) struct StoredVouched {
    verified_by: Option<PersonId>,
    verified_how: Option<String>,
    approved_by: Option<PersonId>,
}

impl Vouched {
    pub(super) async fn store(&self, tx: &mut Tx) -> Result<StoredVouched, LedgerError> {
        let mut ids = [None, None];
        for (id, name) in ids.iter_mut().zip([&self.verified_by, &self.approved_by]) {
            if let Some(name) = name {
                *id = Some(tx.person(PersonKind::Actor, name).await?);
            }
        }
        let [verified_by, approved_by] = ids;
        Ok(StoredVouched {
            verified_by,
            verified_how: self.verified_how.clone(),
            approved_by,
        })
    }
}

impl StoredVouched {
    pub(super) fn add_to(self, draft: Draft) -> Draft {
        let text = |id: Option<PersonId>| id.map(|id| id.as_str().to_owned());
        draft
            .with("verified_by", text(self.verified_by))
            .with("verified_how", self.verified_how)
            .with("approved_by", text(self.approved_by))
    }
}

/// Where a code was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfirmedHow {
    /// By this program, from a code that was typed in.
    Code {
        /// The time step of the code.
        step: u64,
        /// The try that it belongs to, which then does not count as a wrong one.
        attempt: TryId,
    },
    /// By a host, in a login with key and code.
    Login {
        /// The host.
        host: HostName,
        /// The newest time step that the host has marked as used.
        step: Option<u64>,
    },
}

/// A confirmation to be stored.
#[derive(Debug, Clone)]
pub struct Confirmation {
    /// The token.
    pub serial: Serial,
    /// The generation.
    pub generation: Generation,
    /// Where the code was verified.
    pub how: ConfirmedHow,
    /// Who vouched for the person.
    pub vouched: Vouched,
}

/// What was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    /// The token afterwards.
    pub token: TokenRecord,
    /// The generation's sheet; its file is to be removed.
    pub sheet: Option<SheetRecord>,
}

impl Ledger {
    /// Confirms a pending generation and activates its token.
    ///
    /// In a rotation the token stays `rotating`: which generation the hosts then keep is promotion, another step.
    ///
    /// # Errors
    /// When the generation is not pending or its time is over, the code is a replay, or the database fails.
    pub async fn confirm(&self, confirmation: &Confirmation) -> Result<Confirmed, LedgerError> {
        let mut tx = self.begin().await?;
        let serial = &confirmation.serial;
        let number = confirmation.generation;
        let token = tx.token(serial).await?;
        let generation = token
            .generation(number)
            .ok_or_else(|| LedgerError::UnknownGeneration(serial.clone(), number))?;
        if generation.state != GenerationState::Pending {
            return Err(LedgerError::Generation {
                serial: serial.clone(),
                generation: number,
                state: generation.state,
            });
        }
        let state = match token.state {
            TokenState::Rotating => TokenState::Rotating,
            from if from.may_become(TokenState::Active) => TokenState::Active,
            state => {
                return Err(LedgerError::Token {
                    serial: serial.clone(),
                    state,
                    what: "it cannot be confirmed",
                });
            }
        };
        let (how, step, host) = match &confirmation.how {
            ConfirmedHow::Code { step, .. } => ("code", Some(*step), None),
            ConfirmedHow::Login { host, step } => ("login", *step, Some(host.as_str().to_owned())),
        };
        if let ConfirmedHow::Code { step, attempt } = &confirmation.how {
            // A host checks its own deadline; a login in time may be learnt of later.
            if let Some(at) = generation.expires_at.filter(|at| *at <= tx.now) {
                return Err(LedgerError::Expired {
                    serial: serial.clone(),
                    generation: number,
                    at,
                });
            }
            if generation.last_step.is_some_and(|last| *step <= last) {
                return Err(LedgerError::Replayed(serial.clone()));
            }
            tx.accept_try(attempt).await?;
        }
        let last_step = step
            .max(generation.last_step)
            .map(i64::try_from)
            .transpose()
            .map_err(LedgerError::damaged)?;
        let now = tx.now_ms();
        let actor = tx.context().actor.clone();
        sqlx::query(
            "UPDATE generation SET state = 'active', confirmed_at = $1, confirmed_by = $2, confirmed_how = $3,
             confirmed_on = $4, last_step = $5 WHERE serial = $6 AND number = $7",
        )
        .bind(now)
        .bind(actor.map(|a| a.as_str().to_owned()))
        .bind(how)
        .bind(host.clone())
        .bind(last_step)
        .bind(serial.as_str().to_owned())
        .bind(i64::from(number))
        .execute(tx.db())
        .await?;
        tx.set_token_state(serial, state).await?;
        let mut sheet = generation.sheet.clone();
        if let Some(open) = sheet.as_mut().filter(|s| s.state.is_open()) {
            tx.change_sheet(open, SheetState::Confirmed).await?;
            open.state = SheetState::Confirmed;
        }
        let vouched = confirmation.vouched.store(&mut tx).await?;
        let draft = Draft::new("token.confirmed")
            .with("serial", serial.as_str())
            .with("generation", number)
            .with("admin", token.person.as_str())
            .with("realm", token.realm.as_str())
            .with("how", how)
            .with("host", host)
            .with("step", step)
            .with("state", state.as_str())
            .with("sheet", sheet.as_ref().map(|s| s.id.as_str()));
        tx.event(vouched.add_to(draft)).await?;
        let token = tx.token(serial).await?;
        tx.commit().await?;
        Ok(Confirmed { token, sheet })
    }
}
