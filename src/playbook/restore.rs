//! Putting text back on a host: a change that is confirmed over a connection made under it, or undone.

use crate::fleet::session::Session;
use crate::plan::change::HostPlan;
use crate::playbook::apply::request;
use crate::playbook::engine::Shared;
use crate::playbook::errand::{self, Seen, Stop};
use crate::playbook::prove;

/// Makes the change of a plan and has it confirmed.
///
/// # Errors
/// When it is not confirmed; then the text is, or will be, as it was.
pub(super) async fn confirmed(
    seen: &Seen,
    plan: &HostPlan,
    session: &Session,
    shared: &Shared,
) -> Result<(), Stop> {
    let id = format!("{}-{}", shared.project, shared.run);
    let window = shared.revert_after.as_secs();
    let witness = shared.witness().await?;
    let request = request(&seen.facts, plan, &id, window, witness, None);
    errand::send(session, shared, request).await?;
    shared.pause_for_tests("opened").await;
    let Err(error) = prove::confirm(session, &id, None, shared.clock.as_ref()).await else {
        return Ok(());
    };
    let asked = tokio::time::timeout(shared.revert_after, prove::take_back(session, &id)).await;
    let back = if matches!(asked, Ok(Ok(()))) {
        "fleetotp's text has been put back".to_owned()
    } else {
        format!("the host puts fleetotp's text back by itself within {window} s")
    };
    Err(Stop::failed(format!("{error}; {back}")))
}
