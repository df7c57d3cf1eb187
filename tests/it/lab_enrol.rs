//! A whole enrolment on real hosts of all releases: two realms, three admins, four hosts.

use serde_json::json;

use crate::lab::{Lab, Suite};
use crate::support::project::{Project, all, assert_pending};

#[test]
fn smoke() {
    let lab = Lab::start(&[("web1", Suite::Bookworm)]);
    let alice = lab.key_pair("alice");
    lab.host("web1").add_user("alice", &alice);
    let project = Project::new(
        &lab,
        &json!({
            "all": all(&lab, &[("web1", json!({}))]),
            "admins": {"alice": {"name": "Alice Martin"}},
        }),
    );
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    assert_pending(&lab, "web1", "alice", &alice);
    let mut totp = ran.sheet("alice", "default").scan().totp();
    project.confirm("alice", &totp.fresh(), &[]).expect_code(0);
    lab.assert_member("web1", "alice", &alice, &mut totp);
    assert_eq!(project.state_on("alice", "default", "web1"), "enforced");
    project.rollout(&[]).expect_code(0).expect_unchanged();
}
