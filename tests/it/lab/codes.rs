//! One-time codes by `oathtool`, the independent referee.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use fleetotp::clock::{Clock as _, SystemClock};

/// Seconds a code is for.
const STEP: i64 = 30;

/// The code of six digits that `oathtool` computes for a time in Unix seconds.
pub(crate) fn oathtool(secret_base32: &str, unix_seconds: i64) -> String {
    let mut child = Command::new("oathtool")
        .args([
            "--totp",
            "--base32",
            "--now",
            &format!("@{unix_seconds}"),
            "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("oathtool is installed: apt-get install oathtool");
    let mut pipe = child.stdin.take().expect("stdin is a pipe");
    writeln!(pipe, "{secret_base32}").expect("oathtool takes the secret");
    drop(pipe);
    let output = child.wait_with_output().expect("oathtool ends");
    assert!(output.status.success(), "oathtool refused the secret");
    String::from_utf8(output.stdout)
        .expect("a code is text")
        .trim_end()
        .to_owned()
}

/// Codes that were typed at the controller in this test: no host takes them any more.
static TYPED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Remembers a code that is typed at the controller.
pub(crate) fn typed(code: &str) {
    let mut codes = TYPED.lock().expect("nobody panics with it");
    codes.insert(code.to_owned());
}

fn was_typed(code: &str) -> bool {
    let codes = TYPED.lock().expect("nobody panics with it");
    codes.contains(code)
}

/// The time of the lab.
fn now() -> i64 {
    SystemClock.now().as_second() + super::travel::ahead()
}

/// An admin's authenticator: it knows which codes it has given away.
#[derive(Debug, Clone)]
pub(crate) struct Totp {
    secret_base32: String,
    used: BTreeSet<i64>,
}

impl Totp {
    /// An authenticator for a secret in base 32.
    pub(crate) fn new(secret_base32: &str) -> Self {
        Self {
            secret_base32: secret_base32.to_owned(),
            used: BTreeSet::new(),
        }
    }

    /// A code that a host with a window of one step either way accepts, and that was not given away before.
    ///
    /// Waits for the next step only when this one and its neighbours are used up, and never gives a code whose
    /// window ends within four seconds.
    pub(crate) fn fresh(&mut self) -> String {
        loop {
            let seconds = now();
            let step = seconds.div_euclid(STEP);
            let left = STEP - seconds.rem_euclid(STEP);
            let candidates = if left > 4 {
                vec![step, step + 1, step - 1]
            } else {
                vec![step + 1, step]
            };
            for step in candidates {
                if self.used.contains(&step) {
                    continue;
                }
                let code = oathtool(&self.secret_base32, step * STEP);
                self.used.insert(step);
                if !was_typed(&code) {
                    return code;
                }
            }
            wait_for_next_step();
        }
    }

    /// A code that is wrong now and for several steps to come.
    pub(crate) fn wrong(&self) -> String {
        let step = now().div_euclid(STEP);
        let right: BTreeSet<String> = (step - 10..step + 10)
            .map(|s| oathtool(&self.secret_base32, s * STEP))
            .collect();
        (0..100)
            .map(|n| format!("{n:06}"))
            .find(|code| !right.contains(code))
            .expect("twenty codes cannot be a hundred")
    }
}

/// Sleeps until the next 30-second step has begun.
pub(crate) fn wait_for_next_step() {
    let left = STEP - now().rem_euclid(STEP);
    std::thread::sleep(Duration::from_secs(left.unsigned_abs()));
}
