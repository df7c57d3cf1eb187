//! How much memory a run of the program takes.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The largest memory a process had, in KiB, as far as it was seen.
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"));
    let status = status.ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Runs a program and watches its memory: its exit code, what it printed, what it said, and its peak in KiB.
pub(crate) fn watched(command: Command) -> (i32, [String; 2], u64) {
    watched_for(command, Duration::from_secs(120))
}

/// The same of a run that may take so long.
pub(crate) fn watched_for(mut command: Command, longest: Duration) -> (i32, [String; 2], u64) {
    let files = [(); 2].map(|()| tempfile::NamedTempFile::new().unwrap());
    let mut child = command
        .stdout(files[0].reopen().unwrap())
        .stderr(files[1].reopen().unwrap())
        .spawn()
        .unwrap();
    let (start, mut most) = (Instant::now(), 0);
    let status = loop {
        most = most.max(peak(child.id()).unwrap_or_default());
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(start.elapsed() < longest, "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    };
    let texts = files
        .map(|file| String::from_utf8(std::fs::read(file.path()).unwrap()).expect("valid UTF-8"));
    (status.code().unwrap_or(-1), texts, most)
}
