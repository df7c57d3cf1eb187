//! Codes against oathtool, an independent implementation.

use std::io::Write as _;
use std::process::{Command, Stdio};

use fleetotp::clock::{SystemEntropy, Timestamp};
use fleetotp::token::code::{Verdict, check, code_at, step_at};
use fleetotp::token::key;
use fleetotp::token::params::{Algorithm, CodeParams};
use fleetotp::token::secret::Secret;

/// Asks oathtool for a code; the key goes through standard input.
fn oathtool(key: &Secret, params: CodeParams, time: Timestamp) -> String {
    let mut child = Command::new("oathtool")
        .arg(format!("--totp={}", params.algorithm))
        .args(["--base32", "--digits", &params.digits.to_string()])
        .arg(format!("--time-step-size={}s", params.period))
        .arg(format!("--now=@{}", time.as_second()))
        .arg("-")
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test needs oathtool: apt-get install oathtool");
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{}", key.expose()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "oathtool: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn codes_agree_with_oathtool_and_its_codes_are_accepted() {
    for algorithm in Algorithm::ALL {
        for (digits, period) in [(6, 30), (8, 30), (6, 60), (7, 15)] {
            let params = CodeParams {
                algorithm,
                digits,
                period,
            };
            for second in [1_i64, 59, 1_234_567_890, 1_795_485_319, 20_000_000_000] {
                let key = key::generate(&SystemEntropy).unwrap();
                let now = Timestamp::from_second(second).unwrap();
                let theirs = oathtool(&key, params, now);
                assert_eq!(
                    code_at(&key, params, now).unwrap().expose(),
                    theirs,
                    "{params} at {second}"
                );
                assert_eq!(
                    check(&key, params, &theirs, now, None).unwrap(),
                    Verdict::Accepted {
                        step: step_at(params, now)
                    }
                );
            }
        }
    }
}
