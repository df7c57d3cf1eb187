//! One-time codes by `oathtool`, the independent referee.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use fleetotp::clock::{Clock as _, SystemClock};

/// Seconds a code is for.
const STEP: i64 = 30;

/// The `window` of the policies of tests with many logins: so many steps either way, where waiting for the next step
/// would take most of a test's time.
pub(crate) const WINDOW: i64 = 4;

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
    /// Steps either way that hosts and controller take.
    window: i64,
    used: BTreeSet<i64>,
}

impl Totp {
    /// An authenticator for a secret in base 32, under a policy with a window of one step.
    pub(crate) fn new(secret_base32: &str) -> Self {
        Self::with_window(secret_base32, 1)
    }

    /// The same, under a policy with this window.
    pub(crate) fn with_window(secret_base32: &str, window: i64) -> Self {
        Self {
            secret_base32: secret_base32.to_owned(),
            window,
            used: BTreeSet::new(),
        }
    }

    /// A code that a host accepts, and that was not given away before: this step's, else a later one's, else an earlier
    /// one's.
    ///
    /// Waits for the next step only when all in the window are used up, and never gives a code whose window ends within
    /// four seconds.
    pub(crate) fn fresh(&mut self) -> String {
        loop {
            let seconds = now();
            let step = seconds.div_euclid(STEP);
            let ends_soon = STEP - seconds.rem_euclid(STEP) <= 4;
            let first = if ends_soon { step + 1 } else { step };
            let candidates = (first..=step + self.window).chain((first - self.window..first).rev());
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

    /// Counts what another one of the same secret has given away as given away.
    pub(crate) fn heed(&mut self, other: &Self) {
        self.used.extend(&other.used);
    }

    /// A code that is wrong now and for several steps to come.
    pub(crate) fn wrong(&self) -> String {
        let step = now().div_euclid(STEP);
        let right: BTreeSet<String> = (step - 20..step + 20)
            .map(|s| oathtool(&self.secret_base32, s * STEP))
            .collect();
        (0..100)
            .map(|n| format!("{n:06}"))
            .find(|code| !right.contains(code))
            .expect("forty codes cannot be a hundred")
    }
}

/// Sleeps until the next 30-second step has begun.
pub(crate) fn wait_for_next_step() {
    let left = STEP - now().rem_euclid(STEP);
    std::thread::sleep(Duration::from_secs(left.unsigned_abs()));
}
