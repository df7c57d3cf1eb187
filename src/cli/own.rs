//! The token of the tool's own account, for hosts that ask it for a code.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::setup::{Setup, World};
use crate::error::Error;
use crate::fleet::own::{OwnCodes, OwnToken};
use crate::inventory::model::Realm;
use crate::names::AdminName;
use crate::playbook::unseal::unseal;
use crate::token::state::GenerationState;
use crate::vault::{SealLabel, VaultError};

/// Reads the tokens of the admin whom the project names. What cannot be read is told by the hosts that ask for it.
///
/// # Errors
/// When nobody has that name, or the ledger cannot be read.
pub async fn own_codes(
    setup: &Setup,
    world: &World,
    check: bool,
) -> Result<Option<OwnCodes>, Error> {
    let Some(name) = &setup.project.settings.own_token else {
        return Ok(None);
    };
    let enrolment = setup.inventory.enrolment();
    let Some(admin) = enrolment.admins.get(name) else {
        return Err(Error::failed(format!(
            "own_token in fleetotp.yml names {name}, and the inventory has no such admin"
        )));
    };
    let mut tokens = BTreeMap::new();
    for realm in enrolment.realms.values() {
        let token = token(setup, name, realm, check).await?;
        let hosts = realm.hosts.iter().map(|h| (h.clone(), token.clone()));
        tokens.extend(hosts);
    }
    Ok(Some(OwnCodes {
        login: admin.login.clone(),
        tokens,
        ledger: setup.ledger.clone(),
        clock: world.clock.clone(),
    }))
}

async fn token(
    setup: &Setup,
    admin: &AdminName,
    realm: &Realm,
    check: bool,
) -> Result<Result<Arc<OwnToken>, Arc<str>>, Error> {
    let ledger = &setup.ledger;
    let token = ledger.token(admin, &realm.name).await?;
    // Half-way through a rotation hosts have the old one beside the new, so the old one works everywhere.
    let Some((serial, current)) = token
        .and_then(|t| Some((t.serial, t.current?)))
        .filter(|(_, g)| g.state == GenerationState::Active)
    else {
        let why = format!("{admin} has no confirmed token in realm {}", realm.name);
        return Ok(Err(why.into()));
    };
    let Some(sealed) = ledger.sealed_secret(&serial, current.number).await? else {
        return Ok(Err(format!(
            "the ledger has no key of {admin} in realm {}",
            realm.name
        )
        .into()));
    };
    let label = SealLabel {
        project: ledger.project_id(),
        serial: &serial,
        generation: current.number,
    };
    match unseal(&setup.vault, ledger, &label, &sealed, check).await {
        Ok(key) => Ok(Ok(Arc::new(OwnToken {
            serial,
            key,
            params: current.params,
            last_step: current.last_step,
        }))),
        Err(VaultError::NeedsIdentity { .. }) => Ok(Err(format!(
            "the key of {admin} needs the vault's identity"
        )
        .into())),
        Err(error) => Err(error.into()),
    }
}
