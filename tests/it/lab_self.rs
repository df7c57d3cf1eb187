//! The lab itself: what every other test on hosts relies on.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::{Code, Key, LAB, Lab, Prefs, Suite, Totp, oathtool, run};

const SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";

/// Waits until a condition holds, or fails.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "after 10 s still not: {what}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Puts a host into the state that the program is to make: `login` is asked for a code.
fn enforce_by_hand(lab: &Lab, host: &str, login: &str) {
    let state = format!("{SECRET}\n\" WINDOW_SIZE 3\n\" DISALLOW_REUSE\n\" TOTP_AUTH\n");
    let host = lab.host(host);
    host.sh(&format!(
        "groupadd -r mfa && usermod -aG mfa {login} && mkdir -m 0700 /var/lib/google-authenticator"
    ));
    host.write_file(
        &format!("/var/lib/google-authenticator/{login}"),
        "0600",
        state,
    );
    let drop_in = "ChallengeResponseAuthentication yes\nMatch Group mfa\n  \
        AuthenticationMethods publickey,keyboard-interactive:pam\nMatch Group *,!mfa\n  \
        KbdInteractiveAuthentication no\n";
    host.write_file("/etc/ssh/sshd_config.d/00-mfa.conf", "0644", drop_in);
    let pam = "auth [success=ignore default=1] pam_succeed_if.so quiet user ingroup mfa\n\
        auth [success=done default=die] pam_google_authenticator.so noskewadj user=root \
        secret=/var/lib/google-authenticator/${USER}\n";
    host.write_file(
        "/etc/pam.d/sshd.new",
        "0644",
        pam.to_owned() + &host.read_file("/etc/pam.d/sshd"),
    );
    host.sh("mv /etc/pam.d/sshd.new /etc/pam.d/sshd && sshd -t && kill -HUP \"$(cat /run/sshd.pid)\" && sleep 0.3");
}

#[test]
fn lab_hosts_of_all_releases_are_real_machines() {
    let start = Instant::now();
    let lab = Lab::start(&[
        ("web1", Suite::Bookworm),
        ("web2", Suite::Trixie),
        ("db1", Suite::Bullseye),
    ]);
    let up = start.elapsed();
    assert_eq!(lab.mode(), "namespaces", "FLEETOTP_LAB_MODE changes this");
    let alice = lab.key_pair("alice");
    for (name, release) in [("web1", "12"), ("web2", "13"), ("db1", "11")] {
        let host = lab.host(name);
        assert!(host.read_file("/etc/debian_version").starts_with(release));
        assert_eq!(host.sh("hostname").trim(), name);
        assert_eq!(
            host.sh("stat -c %a /root /home")
                .lines()
                .collect::<Vec<_>>(),
            ["700", "755"]
        );
        host.add_user("alice", &alice);
        assert_eq!(
            host.read_file("/home/alice/.ssh/authorized_keys").trim(),
            alice.public
        );
        lab.assert_key_only(name, "root", Key::Root);
        lab.assert_key_only(name, "alice", Key::With(&alice));
        eventually("the login is in the log", || {
            host.read_file("/var/log/auth.log")
                .contains("Accepted publickey for alice from 10.77.1.")
        });
        // Nothing of the machine is in there: neither its processes nor its files.
        let processes: u32 = host
            .sh("ls -d /proc/[0-9]* | wc -l")
            .trim()
            .parse()
            .unwrap();
        assert!(processes < 30, "{processes} processes");
    }
    // Names and host keys are known on the controller's side, by name and by address.
    let by_name = run(lab
        .controller("ssh")
        .args(["-i"])
        .arg(lab.root_key())
        .args(["root@web2", "hostname"]));
    assert_eq!(by_name.trim(), "web2");
    let known = std::fs::read_to_string(lab.known_hosts()).unwrap();
    assert!(known.contains(&format!(
        "{} {}",
        lab.host("db1").address(),
        lab.host("db1").host_key()
    )));
    let identities: Vec<String> = ["web1", "web2", "db1"]
        .iter()
        .map(|name| lab.host(name).read_file("/etc/machine-id"))
        .collect();
    assert!(identities[0] != identities[1] && identities[1] != identities[2]);
    assert!(up < Duration::from_secs(5), "three hosts took {up:?}");
}

#[test]
fn lab_logins_are_asked_for_codes() {
    let lab = Lab::start(&[
        ("web1", Suite::Bookworm),
        ("web2", Suite::Trixie),
        ("db1", Suite::Bullseye),
    ]);
    let alice = lab.key_pair("alice");
    let bob = lab.key_pair("bob");
    for name in ["web1", "web2", "db1"] {
        lab.host(name).add_user("alice", &alice);
        lab.host(name)
            .add_user_with_password("bob", &bob, "correct horse");
        enforce_by_hand(&lab, name, "alice");
        lab.assert_member(name, "alice", &alice, &mut Totp::new(SECRET));
        lab.assert_key_only(name, "bob", Key::With(&bob));
        lab.assert_in(
            name,
            "bob",
            Key::No,
            Code::Password("correct horse"),
            Prefs::Default,
        );
        lab.assert_key_only(name, "root", Key::Root);
    }
    let result = lab.login(
        "web1",
        "alice",
        Key::With(&alice),
        Code::Some("000000"),
        Prefs::CodeFirst,
    );
    assert_eq!(
        result.questions.len(),
        1,
        "one prompt, one answer: {}",
        result.stderr
    );
    lab.assert_refused("web1", "alice", Key::With(&alice), Code::No, Prefs::KeyOnly);
}

#[test]
fn lab_reboot_runs_cron_and_keeps_the_disk() {
    let lab = Lab::start(&[
        ("web1", Suite::Bookworm),
        ("web2", Suite::Trixie),
        ("db1", Suite::Bullseye),
    ]);
    // Hosts hold the controller's link address for a while: were it another one after a boot elsewhere, they would
    // answer to nobody meanwhile.
    let bridge = || {
        (lab.mode() == "namespaces").then(|| {
            let link = run(lab.controller("ip").args(["-json", "link", "show", "br0"]));
            let link: serde_json::Value = serde_json::from_str(&link).expect("ip prints JSON");
            link[0]["address"]
                .as_str()
                .expect("a link address")
                .to_owned()
        })
    };
    let bridge_before = bridge();
    for name in ["web1", "web2", "db1"] {
        let host = lab.host(name);
        host.write_file(
            "/etc/cron.d/mark",
            "0644",
            "@reboot root echo booted >>/var/mark\n",
        );
        host.sh("touch /var/kept /run/not-kept");
        let before = host.inode_snapshot();
        host.reboot();
        eventually("the @reboot job ran", || host.exists("/var/mark"));
        assert!(host.exists("/var/kept") && !host.exists("/run/not-kept"));
        assert_eq!(
            host.inode_snapshot().changed_since(&before),
            Vec::<String>::new()
        );
        host.sh("touch /etc/hostname");
        assert_eq!(
            host.inode_snapshot().changed_since(&before),
            ["/etc/hostname"],
            "the same content again is a change, too"
        );
        lab.assert_in(name, "root", Key::Root, Code::No, Prefs::Default);
        assert_eq!(bridge(), bridge_before, "after {name} was booted again");
    }
}

#[test]
fn lab_hosts_can_be_cut_off_paused_slowed_and_filled() {
    let lab = Lab::start(&[
        ("web1", Suite::Bookworm),
        ("bare", Suite::BookwormWithoutModule),
    ]);
    let (web1, bare) = (lab.host("web1"), lab.host("bare"));
    let automation = lab.key_pair("automation");
    web1.add_sudo_user("automation", &automation);
    let in_time = |host| {
        lab.login(host, "root", Key::Root, Code::No, Prefs::Default)
            .accepted
    };

    web1.cut();
    assert!(!in_time("web1") && in_time("bare"));
    web1.reboot();
    assert!(
        !in_time("web1"),
        "a host that is cut off stays so through a reboot"
    );
    web1.mend();
    eventually("web1 answers again", || in_time("web1"));

    web1.pause();
    assert!(!in_time("web1"));
    web1.resume();
    assert!(in_time("web1"));

    let start = Instant::now();
    assert!(in_time("web1"));
    let quick = start.elapsed();
    web1.slow(400);
    let start = Instant::now();
    assert!(in_time("web1"));
    assert!(
        start.elapsed() > quick + Duration::from_millis(200),
        "{quick:?}, then {:?}",
        start.elapsed()
    );
    web1.slow(0);

    web1.fill();
    assert!(
        !web1
            .try_sh("echo something >/etc/new && cat /etc/new && head -c 64k /dev/zero >/etc/new")
            .status
            .success()
    );
    web1.drain();
    web1.sh("head -c 64k /dev/zero >/etc/new");

    // The module is absent and can be installed, without any network.
    let module = "ls /lib/*/security/pam_google_authenticator.so /usr/lib/*/security/pam_google_authenticator.so";
    assert!(!bare.try_sh(&format!("{module} | grep .")).status.success());
    bare.sh("apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y libpam-google-authenticator");
    bare.sh(&format!("{module} | grep ."));
    let sudo = run(lab
        .controller("ssh")
        .arg("-i")
        .arg(&automation.private)
        .args(["automation@web1", "sudo -n id -u"]));
    assert_eq!(sudo.trim(), "0");
}

/// Everything by which a lab could be noticed on the machine.
fn traces(dir: &std::path::Path, pids: &[u32]) -> Vec<String> {
    let mut found = Vec::new();
    if dir.exists() {
        found.push(format!("directory {}", dir.display()));
    }
    found.extend(
        pids.iter()
            .filter(|pid| process_lives(**pid))
            .map(|pid| format!("process {pid}")),
    );
    let links = run(Command::new("ip").args(["-o", "link"]));
    found.extend(
        links
            .lines()
            .filter(|l| l.contains(": host") || l.contains(": br0"))
            .map(str::to_owned),
    );
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(
        mounts
            .lines()
            .filter(|l| l.contains("lab-"))
            .map(str::to_owned),
    );
    found
}

/// The processes that were started, however far down, with this in their environment.
fn marked_processes(mark: &str) -> Vec<String> {
    let script = r#"for p in /proc/[0-9]*; do
        tr '\0' '\n' <$p/environ 2>/dev/null | grep -qxF "LAB_TEST_MARK=$0" && tr '\0' ' ' <$p/cmdline && echo
    done; true"#;
    let found = run(Command::new("sh").args(["-c", script, mark]));
    found.lines().map(str::to_owned).collect()
}

fn process_lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn kill(pid: u32) {
    run(Command::new("kill").args(["-KILL", &pid.to_string()]));
}

/// The processes that make up a lab: its world and the first process of each host.
fn first_processes(dir: &std::path::Path) -> Vec<u32> {
    let mut files = vec![dir.join("world"), dir.join("unshare")];
    for host in std::fs::read_dir(dir.join("hosts")).unwrap() {
        files.push(host.unwrap().path().join("pid"));
    }
    files
        .iter()
        .map(|file| {
            std::fs::read_to_string(file)
                .unwrap()
                .trim()
                .parse()
                .unwrap()
        })
        .collect()
}

#[test]
fn lab_leaves_nothing_when_dropped() {
    let lab = Lab::start_with(
        &[("web1", Suite::Bookworm), ("db1", Suite::Bullseye)],
        &[("LAB_TEST_MARK", "dropped")],
    );
    let dir = lab.dir().to_owned();
    let mut pids = first_processes(&dir);
    pids.push(lab.supervisor_pid());
    assert_eq!(pids.iter().filter(|pid| process_lives(**pid)).count(), 5);
    assert!(!marked_processes("dropped").is_empty());
    drop(lab);
    assert_eq!(marked_processes("dropped"), Vec::<String>::new());
    assert_eq!(traces(&dir, &pids), Vec::<String>::new());
}

#[test]
fn lab_leaves_nothing_when_its_supervisor_is_killed() {
    let lab = Lab::start_with(&[("web1", Suite::Bookworm)], &[("LAB_TEST_MARK", "killed")]);
    let dir = lab.dir().to_owned();
    let pids = first_processes(&dir);
    kill(lab.supervisor_pid());
    eventually("nothing is left", || {
        traces(&dir, &pids).is_empty() && marked_processes("killed").is_empty()
    });
    // The supervisor did not end well, and the fixture would say so.
    std::mem::forget(lab);
}

#[test]
fn lab_leaves_nothing_when_its_holder_is_killed() {
    // The holder is a process that has the lifeline and nothing else.
    let (reader, writer) = std::io::pipe().unwrap();
    let mut holder = Command::new("sleep")
        .arg("600")
        .stdout(writer)
        .spawn()
        .unwrap();
    let mut supervisor = Command::new(LAB)
        .args(["up", "--hosts", "web1=bookworm"])
        .stdin(reader)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    let mut stdout = std::io::BufReader::new(supervisor.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut ready).unwrap();
    let dir = ready
        .split(' ')
        .find_map(|word| word.strip_prefix("dir="))
        .expect("the lab is up");
    let dir = std::path::PathBuf::from(dir);
    let pids = first_processes(&dir);
    kill(holder.id());
    holder.wait().unwrap();
    assert!(supervisor.wait().unwrap().success());
    assert_eq!(traces(&dir, &pids), Vec::<String>::new());
}

#[test]
fn lab_codes_are_those_of_rfc_6238() {
    // RFC 6238, appendix B, SHA1: the last six of its eight digits.
    let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    assert_eq!(oathtool(secret, 59), "287082");
    assert_eq!(oathtool(secret, 1_111_111_109), "081804");
    assert_eq!(oathtool(secret, 20_000_000_000), "353130");
}

#[test]
fn lab_falls_back_to_chroots_on_loopback() {
    let lab = Lab::start_with(
        &[("web1", Suite::Trixie), ("db1", Suite::Bullseye)],
        &[
            ("FLEETOTP_LAB_MODE", "loopback"),
            ("LAB_TEST_MARK", "loopback"),
        ],
    );
    assert_eq!(lab.mode(), "loopback");
    let alice = lab.key_pair("alice");
    for name in ["web1", "db1"] {
        let host = lab.host(name);
        assert!(host.address().starts_with("127.0.77."));
        assert_ne!(
            host.sh("stat -c %d:%i /etc"),
            run(Command::new("stat").args(["-c", "%d:%i", "/etc"]))
        );
        host.add_user("alice", &alice);
        enforce_by_hand(&lab, name, "alice");
        lab.assert_member(name, "alice", &alice, &mut Totp::new(SECRET));
        lab.assert_key_only(name, "root", Key::Root);
    }
    let in_now = || {
        lab.login("web1", "root", Key::Root, Code::No, Prefs::Default)
            .accepted
    };
    let web1 = lab.host("web1");
    web1.write_file(
        "/etc/cron.d/mark",
        "0644",
        "@reboot root echo booted >>/var/mark\n",
    );
    web1.reboot();
    eventually("the @reboot job ran", || web1.exists("/var/mark"));
    web1.cut();
    assert!(!in_now());
    web1.mend();
    eventually("web1 answers again", in_now);
    let dir = lab.dir().to_owned();
    drop(lab);
    let inside =
        run(Command::new("sh").args(["-c", "ls -l /proc/[0-9]*/root 2>/dev/null || true"]));
    assert!(!inside.contains(&dir.display().to_string()), "{inside}");
    assert!(!dir.exists());
}

#[test]
fn lab_refuses_a_root_that_is_this_machine() {
    // A cache in which a root is a link to the machine's own: without namespaces its files would be written to.
    let roots = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/", roots.path().join("bookworm")).unwrap();
    let stamp = Command::new(LAB)
        .args(["roots", "bookworm"])
        .status()
        .unwrap();
    assert!(stamp.success());
    let cache = std::env::var("FLEETOTP_LAB_ROOTS").unwrap_or("/var/cache/fleetotp-lab".to_owned());
    let real = std::path::Path::new(&cache).join("bookworm.stamp");
    std::fs::copy(real, roots.path().join("bookworm.stamp")).unwrap();
    let before =
        run(Command::new("stat").args(["-c", "%Y %Z", "/etc", "/etc/ssh", "/etc/machine-id"]));
    let output = Command::new(LAB)
        .args(["up", "--hosts", "web1=bookworm"])
        .env("FLEETOTP_LAB_MODE", "loopback")
        .env("FLEETOTP_LAB_ROOTS", roots.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && errors.contains("this machine's own"),
        "{errors}"
    );
    let after =
        run(Command::new("stat").args(["-c", "%Y %Z", "/etc", "/etc/ssh", "/etc/machine-id"]));
    assert_eq!(before, after);
}
