//! Which hosts a run is working on: for whoever ends it at once.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::names::HostName;

/// Hosts that are being worked on, and whether a change of PAM or sshd was begun there.
#[derive(Debug, Default)]
pub struct Active(Mutex<BTreeMap<HostName, bool>>);

impl Active {
    /// Notes that the work on a host begins.
    pub fn begun(&self, host: &HostName) {
        self.hosts().entry(host.clone()).or_default();
    }

    /// Notes that a host is about to be asked for a change that it undoes by itself.
    pub fn changing(&self, host: &HostName) {
        self.hosts().insert(host.clone(), true);
    }

    /// Notes that a host is done.
    pub fn done(&self, host: &HostName) {
        self.hosts().remove(host);
    }

    /// Says which hosts are left by a run that ends now, and what becomes of them.
    pub fn left(&self) -> String {
        let hosts = self.hosts();
        let names = |open: bool| -> Vec<&str> {
            let those = hosts.iter().filter(|(_, changing)| **changing == open);
            those.map(|(host, _)| host.as_str()).collect()
        };
        let (open, read) = (names(true), names(false));
        let mut words = Vec::new();
        if !open.is_empty() {
            words.push(format!(
                "a change may be open, which the host undoes by itself, on {}",
                open.join(", ")
            ));
        }
        if !read.is_empty() {
            words.push(format!("no change is open on {}", read.join(", ")));
        }
        if words.is_empty() {
            words.push("no host is being worked on".to_owned());
        }
        words.join("; ")
    }

    fn hosts(&self) -> MutexGuard<'_, BTreeMap<HostName, bool>> {
        // Plain data that no panic can leave half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_ends_a_run_is_told_where_a_change_is_open() {
        let active = Active::default();
        assert_eq!(active.left(), "no host is being worked on");
        let [a, b, c] = ["a", "b", "c"].map(|h| h.parse::<HostName>().unwrap());
        for host in [&a, &b, &c] {
            active.begun(host);
        }
        active.changing(&b);
        active.done(&c);
        assert_eq!(
            active.left(),
            "a change may be open, which the host undoes by itself, on b; no change is open on a"
        );
    }
}
