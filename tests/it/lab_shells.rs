//! The program on hosts whose `/bin/sh` is dash, bash or busybox; on the last, busybox is every other tool as well.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use fleetotp::host::program::{Elevation, PROGRAM_TEXT, REAPER_PATH, REAPER_TEXT, command_line};
use fleetotp::host::request::{Inspect, Judged, Line, Request, Scope};
use fleetotp::names::Login;
use serde_json::json;

use crate::lab::{Code, Host, Key, Lab, Prefs, Suite, WINDOW};
use crate::support::faults::{ask_host, assert_nothing_open, eventually, open_changes, text_of};
use crate::support::project::{Project, all, assert_pending};

const SHELLS: [(&str, Suite); 3] = [
    ("dash", Suite::Bookworm),
    ("bash", Suite::Bookworm),
    ("busybox", Suite::Bookworm),
];

/// Gives each host the shell that it is named after.
fn with_shells() -> Lab {
    let lab = Lab::start(&SHELLS);
    lab.host("bash").sh("ln -sf bash /bin/sh");
    let busybox = std::fs::read("/usr/bin/busybox")
        .or_else(|_| std::fs::read("/bin/busybox"))
        .expect("busybox is installed: apt-get install busybox");
    let host = lab.host("busybox");
    host.write_file("/usr/bin/busybox", "755", busybox);
    // All that the program calls and busybox has; what manages accounts, sshd and sudo is never busybox's there.
    host.sh("for tool in awk cat chmod chown cmp cp cut date dd df diff grep head id ln ls mkdir mkfifo mv readlink rm rmdir \
        sed setsid sha256sum sleep sort stat sync tail timeout tr logger gzip wc; do ln -sf /usr/bin/busybox /usr/bin/$tool; done
        ln -sf /usr/bin/busybox /bin/sh");
    for (name, _) in SHELLS {
        assert_eq!(
            lab.host(name)
                .sh("readlink /proc/self/exe; readlink -f /proc/$$/exe; true")
                .lines()
                .last(),
            Some(format!("/usr/bin/{name}").as_str())
        );
    }
    lab
}

#[test]
fn lab_every_shell_rolls_out_confirms_and_enforces() {
    let lab = with_shells();
    let key = lab.key_pair("alice");
    for (name, _) in SHELLS {
        lab.host(name).add_user("alice", &key);
    }
    let hosts = SHELLS.map(|(name, _)| (name, json!({})));
    let project = Project::new(
        &lab,
        &json!({
            "all": all(&lab, &hosts),
            "admins": {"alice": {"name": "Alice"}},
            "policies": {"default": {
                "issuer": "Example Corp", "rate_limit": "30/30s", "window": WINDOW, "on_revoke": ["expire_account", "move_keys"],
            }},
        }),
    );
    // Each host on its own: no host's proof stands for another shell.
    for (name, _) in SHELLS {
        project.rollout(&["--limit", name]).expect_code(0);
        assert_nothing_open(lab.host(name));
        assert_pending(&lab, name, "alice", &key);
    }
    project.rollout(&[]).expect_code(0).expect_unchanged();
    let sheet = project.sheet_files().remove(0);
    let mut totp = crate::support::project::scan(&sheet).wide_totp();
    let code = totp.fresh();
    project.confirm("alice", &code, &[]).expect_code(0);
    let mut unused = totp.clone();
    for (name, _) in SHELLS {
        assert_eq!(project.state_on("alice", "default", name), "enforced");
        let mut totp = unused.clone();
        lab.assert_member(name, "alice", &key, &mut totp);
        assert!(!lab.host(name).exists(REAPER_PATH), "no deadline is open");
        unused = totp;
    }
    project.rollout(&[]).expect_code(0).expect_unchanged();

    // Each reads its log alike, also where it is there under its number only, and packed.
    let collect = || {
        let ran = project.fleetotp(&["collect", "-o", "json"]);
        let document = ran.expect_code(0).json();
        let rows = document["hosts"].as_array().unwrap().iter();
        let counts = |r: &serde_json::Value| (r["logins"].as_i64(), r["new"].as_i64());
        rows.map(counts).collect::<Vec<_>>()
    };
    for (name, _) in SHELLS {
        let rotate = "cd /var/log; mv auth.log auth.log.1; kill -HUP $(cat /run/rsyslogd.pid); gzip auth.log.1";
        lab.host(name).sh(rotate);
    }
    let first = collect();
    assert!(first[0].0 >= Some(9), "{first:?}");
    assert_eq!(first, [first[0]; 3]);
    assert_eq!(collect(), [(Some(0), Some(0)); 3]);
    for (name, _) in SHELLS {
        lab.assert_refused(name, "alice", Key::No, Code::No, Prefs::Default);
    }
    assert_eq!(collect(), [(Some(1), Some(1)); 3]);

    // And every shell ends it all.
    for (name, _) in SHELLS {
        let start =
            "setsid setpriv --reuid=alice --clear-groups sleep 4711 </dev/null >/dev/null 2>&1 &";
        lab.host(name).sh(start);
    }
    let ran = project.fleetotp(&["revoke", "alice", "--reason", "left", "-o", "json"]);
    let document = ran.expect_code(0).json();
    let items = document["revocations"][0]["hosts"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(items.len(), 3);
    for item in items {
        let proof = &item["proof"];
        assert_eq!(
            (&item["state"], &proof["key_files"]),
            (&json!("proven"), &json!(0)),
            "{item:#}"
        );
        assert_eq!(
            (&proof["account_expired"], &proof["code_demanded"]),
            (&json!(true), &json!(true))
        );
        let host = lab.host(item["host"].as_str().unwrap());
        assert_eq!(
            host.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o '[s]leep 4711' || true"),
            ""
        );
        assert!(host.exists("/var/lib/fleetotp/revoked/alice/0"));
    }
    assert_eq!(
        project.fleetotp(&["sync"]).expect_code(0).stdout,
        "",
        "and finds nothing more"
    );
}

#[test]
fn lab_every_shell_writes_what_was_sent_byte_for_byte() {
    let lab = with_shells();
    let mut text = String::from(
        "  leading blanks\n\tand tabs\n\n.\n+plus\n~tilde\n=1,2\n\\n \\\\ \\c %s %d $(id) `id` ${HOME} \"'*?[a]\n# note\r\n",
    );
    text.extend(
        (1..=0x2ff_u32)
            .filter_map(char::from_u32)
            .filter(|c| *c != '\n'),
    );
    text.push_str("\n\u{20ac}\u{1f511} end without a newline");
    let long: String = (0..6000).map(|n| format!("line {n} of many\n")).collect();
    for (name, _) in SHELLS {
        let host = lab.host(name);
        host.sh("mkdir -m 700 /root/out; mkdir -m 700 /var/lib/fleetotp");
        let mut request = Request::apply();
        for (file, content) in [("odd", &text), ("long", &long)] {
            let path = format!("/root/out/{file}");
            request.file(
                &path,
                0o640,
                "absent",
                Scope::Live,
                &Line::from_text(content),
            );
        }
        let answer = ask_host(host, request, 60);
        assert!(answer.ends_with("done\n"), "{name}: {answer}");
        assert_eq!(host.read_file("/root/out/odd"), text, "{name}");
        assert_eq!(host.read_file("/root/out/long"), long, "{name}");
        assert_eq!(
            host.sh("stat -c %a /root/out/odd; ls -A /root/out | wc -l"),
            "640\n2\n"
        );
        // Lines kept from what is there, between others.
        let sum = host.sh("sha256sum /root/out/odd");
        let mut request = Request::apply();
        request.file(
            "/root/out/odd",
            0o600,
            &sum[..64],
            Scope::Live,
            &[
                Line::Keep(2, 3),
                Line::Text("new".to_owned()),
                Line::Keep(11, 11),
            ],
        );
        let answer = ask_host(host, request, 60);
        assert!(answer.ends_with("done\n"), "{name}: {answer}");
        let end = text.lines().last().unwrap();
        // busybox's sed ends a last line that had no end; in a state file that makes no difference.
        let kept = host.read_file("/root/out/odd");
        assert_eq!(
            kept.strip_suffix('\n').unwrap_or(&kept),
            format!("\tand tabs\n\nnew\n{end}"),
            "{name}"
        );
    }
}

/// A request with everything in it that changes a host.
fn everything() -> Request {
    let mut request = Request::apply();
    request.line(&[
        "dirs",
        "700",
        "/var/lib/fleetotp/tx /var/lib/fleetotp/deadlines",
    ]);
    request.line(&[
        "dirs",
        "700",
        "/var/lib/google-authenticator /var/lib/google-authenticator/current",
    ]);
    request.line(&["group", "fleetotp"]);
    request.file(
        REAPER_PATH,
        0o700,
        "absent",
        Scope::Live,
        &Line::from_text(&REAPER_TEXT),
    );
    request.line(&["flush"]);
    request.line(&["arm"]);
    request.file(
        "/var/lib/google-authenticator/current/alice",
        0o600,
        "absent",
        Scope::Live,
        &[Line::Text("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP".to_owned())],
    );
    request.line(&["flush"]);
    request.line(&["members", "fleetotp", "-", "alice"]);
    request.line(&["tx", "T-1", "60", "/usr/sbin/sshd /etc/ssh/sshd_config"]);
    request.file(
        "/etc/pam.d/sshd",
        0o644,
        "any",
        Scope::Transaction,
        &[Line::Text("auth required pam_deny.so".to_owned())],
    );
    request.line(&["go"]);
    request.line(&[
        "del",
        "/var/lib/google-authenticator/current/alice",
        "any",
        "live",
    ]);
    request.line(&["witness", "P", "1", "x"]);
    request
}

fn places(host: Host<'_>) -> String {
    host.sh("find /etc /var/lib -printf '%p %y %m %U:%G %s %T@\\n' | grep -v -e ' d ' -e /var/lib/fleetotp/lock | sort")
}

/// Cut off anywhere, also behind what carries a change out: until the last byte is there nothing is begun.
#[test]
fn lab_a_request_cut_off_anywhere_changes_nothing_in_any_shell() {
    let lab = with_shells();
    let payload = everything().finish(None);
    let (whole, line) = (
        payload.bytes().len(),
        command_line(Elevation::None, Duration::from_secs(30)),
    );
    let request = whole - everything().lines().bytes().len();
    for (number, (name, _)) in SHELLS.iter().enumerate() {
        let host = lab.host(name);
        host.sh("useradd alice; mkdir -m 700 /var/lib/fleetotp");
        let before = places(host);
        // Every shell another part of the cuts; all of them where a line begins or ends.
        let ends = payload
            .bytes()
            .iter()
            .enumerate()
            .skip(request)
            .filter(|(_, b)| **b == b'\n')
            .map(|(at, _)| at);
        let mut cuts: Vec<usize> = (number * 700..whole)
            .step_by(2100)
            .chain(ends.step_by(12))
            .collect();
        cuts.extend([whole - 1, whole - 2, whole - 4, request + 1]);
        for cut in cuts {
            let mut child = host
                .command(&["sh", "-c", &line])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut pipe = child.stdin.take().unwrap();
            pipe.write_all(&payload.bytes()[..cut]).unwrap();
            drop(pipe);
            let said = text_of(&child.wait_with_output().unwrap());
            assert!(
                !said.contains("\ndone\n"),
                "{name} cut at {cut} of {whole}: {said}"
            );
            assert_eq!(
                places(host),
                before,
                "{name} cut at {cut} of {whole}: {said}"
            );
        }
        assert_nothing_open(host);
        // Whole, it does all that.
        let answer = ask_host(host, everything(), 30);
        assert!(
            answer.contains("opened\tT-1\t60\n") && answer.ends_with("done\n"),
            "{name}: {answer}"
        );
        assert_ne!(places(host), before);
    }
}

/// What the kernel is told to write, and when: replaced files are on the disk before they take a place, and the way
/// back before the first of them does.
#[test]
fn lab_what_a_power_cut_needs_is_on_the_disk_first() {
    let lab = Lab::start(&[("web1", Suite::Bookworm)]);
    let host = lab.host("web1");
    host.sh("useradd alice; mkdir -m 700 /var/lib/fleetotp
        for tool in sync mv; do
            mv /usr/bin/$tool /usr/bin/$tool.real
            printf '#!/bin/sh\\necho \"%s $*\" >>/root/trace\\nexec %s.real \"$@\"\\n' $tool $tool >/usr/bin/$tool
            chmod 755 /usr/bin/$tool
        done");
    let answer = ask_host(host, everything(), 30);
    assert!(answer.contains("opened\tT-1\t60\n"), "{answer}");
    let trace = host.read_file("/root/trace");
    let at = |what: &str, texts: &[&str]| {
        trace
            .lines()
            .position(|l| texts.iter().all(|t| l.contains(t)))
            .unwrap_or_else(|| panic!("{what} is missing: {trace}"))
    };
    let order = [
        at(
            "the secret's content",
            &["sync ", "current/.fleetotp.", "alice"],
        ),
        at("the secret", &["mv ", "google-authenticator/current/"]),
        at(
            "the new PAM text and the way back",
            &[
                "sync ",
                "/etc/pam.d/.fleetotp.",
                "sshd",
                "T-1.new/manifest",
                "T-1.new/1",
            ],
        ),
        at(
            "the open change",
            &["mv ", "T-1.new", "/var/lib/fleetotp/tx/T-1"],
        ),
        at("its name", &["sync /var/lib/fleetotp/tx"]),
        at("the PAM file", &["mv ", "/etc/pam.d/sshd"]),
        trace
            .lines()
            .position(|l| l == "sync /etc/pam.d")
            .expect("its directory"),
    ];
    assert!(order.is_sorted(), "{order:?}: {trace}");
    host.sh("/usr/bin/rm /root/trace");
    let mut request = Request::apply();
    request.line(&["rollback", "T-1"]);
    assert!(ask_host(host, request, 30).contains("reverted\tT-1"));
    let trace = host.read_file("/root/trace");
    let synced = trace
        .lines()
        .position(|l| l.starts_with("sync") && l.contains("/etc/pam.d/sshd"));
    let closed = trace
        .lines()
        .position(|l| l.starts_with("mv") && l.contains("T-1.reverted"));
    assert!(synced.is_some() && synced < closed, "{trace}");
}

/// The end of the program's time, and then its death, in the middle of a change.
#[test]
fn lab_a_program_that_is_stopped_in_the_middle_of_a_change_leaves_it_to_the_host() {
    let lab = Lab::start(&[("web1", Suite::Bookworm)]);
    let host = lab.host("web1");
    host.sh("useradd alice; mkdir -m 700 /var/lib/fleetotp; cp -p /etc/pam.d/sshd /root/sshd");
    for deaf in ["", "trap '' TERM; "] {
        // It hangs when the PAM file has its place and sshd was not yet told.
        host.sh("mv /usr/bin/sync /usr/bin/sync.real");
        host.write_file(
            "/usr/bin/sync",
            "755",
            format!(
                "#!/bin/sh\n{deaf}case \"$*\" in *' /etc/pam.d'|/etc/pam.d) sleep 60 ;; esac\n"
            ),
        );
        let mut request = everything();
        request.line(&["end"]);
        let answer = ask_host(host, request, 3);
        assert!(!answer.contains("\ndone\n"), "{answer}");
        host.sh("mv -f /usr/bin/sync.real /usr/bin/sync");
        assert_eq!(open_changes(host), ["T-1"]);
        host.sh("echo 0 1 >/var/lib/fleetotp/tx/T-1/window");
        eventually("the host has reverted it", 20, || {
            open_changes(host).is_empty()
        });
        host.sh("cmp /root/sshd /etc/pam.d/sshd");
        // A lock of a program that was killed is nobody's.
        let mut request = Request::apply();
        request.line(&["dirs", "700", "/var/lib/fleetotp/tx"]);
        assert!(ask_host(host, request, 30).ends_with("done\n"));
        host.sh("rm -rf /var/lib/google-authenticator /var/lib/fleetotp/tx /var/lib/fleetotp/reaper; gpasswd -M '' fleetotp");
        assert_nothing_open(host);
    }
}

fn inspected(host: Host<'_>, known: Option<&str>) -> BTreeMap<String, String> {
    let wanted = Inspect {
        logins: vec![Login::new("alice").unwrap()],
        users: vec![Login::new("root").unwrap()],
        keys: false,
        judged: known.map(|hash| Judged {
            hash: hash.to_owned(),
            version: "9.2".to_owned(),
        }),
        ..Inspect::default()
    };
    ask_host(host, Request::inspect(&wanted), 30)
        .lines()
        .filter_map(|l| l.split_once('\t'))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

/// Whatever decides what sshd does makes a difference to the hash by which a judgement is remembered.
#[test]
fn lab_nothing_that_decides_goes_unjudged() {
    let lab = Lab::start(&[("web1", Suite::Bookworm)]);
    let host = lab.host("web1");
    host.add_user("alice", &lab.key_pair("alice"));
    host.sh("mkdir -p /etc/ssh/more; echo 'PermitTTY yes' >'/etc/ssh/more/a b.cf'; echo 'PermitTTY yes' >/etc/ssh/more/deep
        echo 'Include more/*.cf' >'/etc/ssh/sshd_config.d/50 site.conf'; echo 'Include /etc/ssh/more/deep' >>'/etc/ssh/more/a b.cf'");
    let mut hash = inspected(host, None)["config"].clone();
    for (what, change) in [
        (
            "a drop-in with a blank in its name",
            "echo 'PermitTTY no' >>'/etc/ssh/sshd_config.d/50 site.conf'",
        ),
        (
            "an included file",
            "echo 'PermitTTY no' >>'/etc/ssh/more/a b.cf'",
        ),
        (
            "a file included by an included file",
            "echo 'PermitTTY no' >>/etc/ssh/more/deep",
        ),
        (
            "a new file that is included",
            "echo 'PermitTTY no' >/etc/ssh/more/z.cf",
        ),
        ("the groups", "groupadd another"),
        (
            "the module",
            "echo >>$(ls /lib/*/security/pam_google_authenticator.so)",
        ),
        ("PAM's text", "echo >>/etc/pam.d/sshd"),
    ] {
        let known = inspected(host, Some(&hash));
        assert_eq!(
            known.get("judged").map(String::as_str),
            Some("known"),
            "before {what}"
        );
        host.sh(change);
        let changed = inspected(host, Some(&hash));
        assert!(!changed.contains_key("judged"), "{what}");
        hash = changed["config"].clone();
    }
    // What cannot be followed is judged each time.
    host.sh(
        "echo 'Include \"/etc/ssh/more/with blank.cf\"' >>'/etc/ssh/sshd_config.d/50 site.conf'",
    );
    let hash = inspected(host, None)["config"].clone();
    assert!(!inspected(host, Some(&hash)).contains_key("judged"));
}

/// `sshd -o` wins over the file, so it is a part of the question what sshd does.
#[test]
fn lab_options_of_the_daemon_count() {
    let lab = Lab::start(&[("web1", Suite::Bookworm)]);
    let host = lab.host("web1");
    host.add_user("alice", &lab.key_pair("alice"));
    host.sh("for p in /proc/[0-9]*; do case $(cat $p/cmdline 2>/dev/null) in 'sshd: '*'[listener]'*) kill ${p#/proc/} ;; esac; done; sleep 1
        /usr/sbin/sshd -o MaxAuthTries=5 -oGSSAPIAuthentication=yes -o AuthorizedKeysCommand=/bin/echo\\ %u -o AuthorizedKeysCommandUser=root");
    let facts = inspected(host, None);
    let (daemon, options) = facts["sshd"].rsplit_once('\t').unwrap();
    assert!(
        daemon.ends_with("/usr/sbin/sshd\t/etc/ssh/sshd_config"),
        "{daemon}"
    );
    assert_eq!(
        options,
        "-oMaxAuthTries=5 -oGSSAPIAuthentication=yes -oAuthorizedKeysCommandUser=root"
    );
    let answer = ask_host(
        host,
        Request::inspect(&Inspect {
            users: vec![Login::new("root").unwrap()],
            ..Inspect::default()
        }),
        30,
    );
    assert!(answer.contains("|gssapiauthentication yes\n"), "{answer}");
    let judge = |value: &str| {
        let mut request = Request::apply();
        let daemon = "/usr/sbin/sshd /etc/ssh/sshd_config -oMaxAuthTries=5";
        request.line(&["judge", "alice", daemon, &format!("maxauthtries {value}")]);
        ask_host(host, request, 30)
    };
    assert!(judge("5").ends_with("done\n"), "{}", judge("5"));
    assert!(judge("6").contains("fail\tno-effect\t"));
}

/// Group lists that the system's own tools make hard.
#[test]
fn lab_memberships_survive_odd_lists_and_failures() {
    let lab = with_shells();
    for (name, _) in SHELLS {
        let host = lab.host(name);
        host.sh("mkdir -m 700 /var/lib/fleetotp; for u in alice bob; do useradd $u; done
            groupadd fleetotp; groupadd fleetotp-pending; sed -i -e 's/^fleetotp:.*/&gone,bob/' -e 's/^fleetotp-pending:.*/&zoe/' /etc/group");
        let members = || host.sh("sed -n 's/^\\(fleetotp[^:]*\\):.*:/\\1 /p' /etc/group");
        assert_eq!(members(), "fleetotp gone,bob\nfleetotp-pending zoe\n");
        let both = || {
            let mut request = Request::apply();
            request.line(&["members", "fleetotp", "gone,bob", "gone,bob,alice"]);
            request.line(&["members", "fleetotp-pending", "zoe", "zoe,bob"]);
            request
        };
        // Taken back if a later operation fails.
        let mut request = both();
        request.line(&["need", "/nowhere"]);
        assert!(
            ask_host(host, request, 30).contains("fail\tneed\t"),
            "{name}"
        );
        assert_eq!(
            members(),
            "fleetotp gone,bob\nfleetotp-pending zoe\n",
            "{name}"
        );
        let answer = ask_host(host, both(), 30);
        assert!(answer.ends_with("done\n"), "{name}: {answer}");
        assert_eq!(
            members(),
            "fleetotp gone,bob,alice\nfleetotp-pending zoe,bob\n",
            "{name}"
        );
        // A list that is not as it was expected is not touched.
        assert!(
            ask_host(host, both(), 30).contains("fail\tchanged\t"),
            "{name}"
        );
        // Many.
        let many: Vec<String> = (0..3000).map(|n| format!("u{n}")).collect();
        host.sh(&format!(
            "i=0; while [ $i -lt 3000 ]; do echo u$i:x:$((20000 + i)):100::/:/bin/false; i=$((i + 1)); done >>/etc/passwd; gpasswd -M '{}' fleetotp",
            many.join(",")
        ));
        let mut request = Request::apply();
        let before = many.join(",");
        request.line(&["members", "fleetotp", &before, &format!("{before},alice")]);
        let answer = ask_host(host, request, 60);
        assert!(answer.ends_with("done\n"), "{name}: {answer}");
        assert!(host.sh("id -nG alice").contains("fleetotp"), "{name}");
    }
}

#[test]
fn lab_replaced_files_keep_owner_group_and_mode() {
    let lab = with_shells();
    for (name, _) in SHELLS {
        let host = lab.host(name);
        host.sh("mkdir -m 700 /var/lib/fleetotp; chown 0:adm /etc/pam.d/sshd; chmod 640 /etc/pam.d/sshd");
        let text = host.read_file("/etc/pam.d/sshd");
        let mut request = Request::apply();
        request.line(&["dirs", "700", "/var/lib/fleetotp/tx"]);
        request.file(
            REAPER_PATH,
            0o700,
            "absent",
            Scope::Live,
            &Line::from_text(&REAPER_TEXT),
        );
        request.line(&["flush"]);
        request.line(&["tx", "T-1", "60", "/usr/sbin/sshd /etc/ssh/sshd_config"]);
        request.file(
            "/etc/pam.d/sshd",
            0o640,
            "any",
            Scope::Transaction,
            &Line::from_text(&format!("# x\n{text}")),
        );
        request.line(&["go"]);
        let answer = ask_host(host, request, 30);
        assert!(answer.contains("opened"), "{name}: {answer}");
        assert_eq!(
            host.sh("stat -c '%U %G %a' /etc/pam.d/sshd"),
            "root adm 640\n",
            "{name}"
        );
        let mut request = Request::apply();
        request.line(&["rollback", "T-1"]);
        ask_host(host, request, 30);
        assert_eq!(
            host.sh("stat -c '%U %G %a' /etc/pam.d/sshd"),
            "root adm 640\n",
            "{name}"
        );
        assert_eq!(host.read_file("/etc/pam.d/sshd"), text, "{name}");
    }
}

/// The program is cut into lines and measured in bytes by shells that may count characters.
#[test]
fn the_program_is_plain_ascii() {
    assert!(PROGRAM_TEXT.is_ascii() && REAPER_TEXT.is_ascii());
}
