//! Moving the clock of a whole lab: hosts, the program, and the authenticators of its people, all by the same span.
//!
//! By libfaketime: every program of a host loads it (`/etc/ld.so.preload`), and the program under test by its environment.
//! So a deadline of days is kept by the real reaper, on a real host, in the seconds that a reboot takes. Hosts of Debian 12
//! and 13 only: the library is the machine's own and too new for Debian 11's C library.

use std::cell::Cell;
use std::path::PathBuf;

use super::{Lab, Suite};

thread_local! {
    /// Seconds by which the lab of this test is ahead of the machine. A test is one thread.
    static AHEAD: Cell<i64> = const { Cell::new(0) };
}

/// Where libfaketime lies in a host.
const IN_HOST: &str = "/usr/lib/libfaketime.so.1";

/// rsyslog takes the time of a line from the kernel, which is not moved; this makes it take its own.
const RSYSLOG: &str = r#"sed -i 's/^module(load="imuxsock".*/module(load="imuxsock" SysSock.UseSysTimeStamp="off" SysSock.IgnoreTimestamp="on")/' /etc/rsyslog.conf"#;

/// Seconds by which this test's lab is ahead of the machine's clock.
pub(super) fn ahead() -> i64 {
    AHEAD.get()
}

/// The library on this machine.
fn library() -> PathBuf {
    let found = ["x86_64", "aarch64"]
        .map(|arch| {
            PathBuf::from(format!(
                "/usr/lib/{arch}-linux-gnu/faketime/libfaketime.so.1"
            ))
        })
        .into_iter()
        .find(|path| path.exists());
    found.expect("libfaketime is installed: apt-get install libfaketime")
}

impl Lab {
    /// Like [`Lab::start`], with a clock that can be moved. It shows the machine's time until then.
    pub(crate) fn start_movable(hosts: &[(&str, Suite)]) -> Self {
        let lab = Self::start(hosts);
        let library = std::fs::read(library()).expect("the library can be read");
        for (name, suite) in hosts {
            assert!(
                matches!(suite, Suite::Bookworm | Suite::Trixie),
                "{name}: no clock can be moved on Debian 11"
            );
            let host = lab.host(name);
            host.write_file(IN_HOST, "755", &library);
            host.write_file("/etc/faketimerc", "644", "+0\n");
            host.sh(RSYSLOG);
            host.write_file("/etc/ld.so.preload", "644", format!("{IN_HOST}\n"));
        }
        std::fs::write(lab.clock_file(), "+0\n").expect("the lab's directory can be written");
        AHEAD.set(0);
        for (name, _) in hosts {
            lab.host(name).reboot();
        }
        lab
    }

    /// Moves the clock forward by so many seconds, and boots the hosts again, so that whatever ran there sees it.
    pub(crate) fn travel(&self, seconds: i64) {
        assert!(
            self.clock_file().exists(),
            "this lab's clock cannot be moved"
        );
        AHEAD.set(AHEAD.get() + seconds);
        let offset = format!("+{}\n", AHEAD.get());
        std::fs::write(self.clock_file(), &offset).expect("the lab's directory can be written");
        for name in self.facts.hosts.keys() {
            self.host(name)
                .write_file("/etc/faketimerc", "644", &offset);
            self.host(name).reboot();
        }
    }

    /// What makes the program under test see the lab's clock; nothing where that is the machine's.
    pub(crate) fn clock_environment(&self) -> Vec<(&'static str, PathBuf)> {
        if self.clock_file().exists() {
            vec![
                ("LD_PRELOAD", library()),
                ("FAKETIME_TIMESTAMP_FILE", self.clock_file()),
            ]
        } else {
            Vec::new()
        }
    }

    fn clock_file(&self) -> PathBuf {
        self.dir.join("faketimerc")
    }
}
