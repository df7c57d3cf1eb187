//! Telling others of findings: each once, and again what a receiver did not take.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::support::bare::Bare;

/// A web server that answers with one status after the other; what it was sent, headers and body.
struct Server {
    port: u16,
    got: Arc<Mutex<Vec<(String, String)>>>,
}

impl Server {
    fn start(answers: &'static [&'static str], tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let got = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&got);
        std::thread::spawn(move || {
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                let request = match &tls {
                    None => exchange(stream, answer),
                    Some(config) => {
                        let server = ServerConnection::new(Arc::clone(config)).unwrap();
                        exchange(StreamOwned::new(server, stream), answer)
                    }
                };
                kept.lock().unwrap().extend(request);
            }
        });
        Self { port, got }
    }

    fn got(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.got.lock().unwrap())
    }
}

/// Returns the request; none where the client went away.
fn exchange(stream: impl std::io::Read + Write, answer: &str) -> Option<(String, String)> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head
        .to_lowercase()
        .split_once("content-length: ")
        .and_then(|(_, rest)| rest.lines().next()?.parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let stream = reader.get_mut();
    write!(
        stream,
        "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    stream.flush().ok()?;
    Some((head, String::from_utf8(body).unwrap()))
}

/// A project whose only host nobody reaches: what is told does not depend on what is collected.
fn project() -> Bare {
    let bare = Bare::new(&json!({
        "all": {"hosts": {"web1": {"ansible_host": "127.0.0.1", "ansible_port": 1}}},
        "admins": {"alice": {"email": "alice@example.com"}},
    }));
    bare.enroll("alice", &[]);
    bare.sql("INSERT INTO meta (key, value) VALUES ('activity_judged', '2020-01-01T00:00:00Z')");
    bare
}

/// Refused tries of alice, as if a collection had stored them and ended before they were judged.
fn spike(bare: &Bare, minute: u8) {
    for second in 0..5 {
        let at = format!("2026-11-24T02:{minute:02}:0{second}Z");
        let at: fleetotp::clock::Timestamp = at.parse().unwrap();
        let at = at.as_millisecond();
        bare.sql(&format!(
            "INSERT INTO login_event (host, place, at, login, service, outcome, factors, address, serial, refused_before,
             line, stored_at) SELECT 'web1', 'f:{minute}:{second}', {at}, 'alice', 'sshd', 'wrong-code', 'key',
             '192.0.2.1', serial, 0, 'line {second}', {at} FROM token"
        ));
    }
    bare.sql("UPDATE meta SET value = '2020-01-01T00:00:00Z' WHERE key = 'activity_judged'");
}

/// The only host is unreachable, which is what the exit code says where nothing worse happened.
const DONE: i32 = 4;

fn file(bare: &Bare, name: &str, text: &str, mode: u32) {
    let path = bare.path().join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
}

fn told(bare: &Bare) -> String {
    bare.sql("SELECT id, webhook, syslog FROM activity_finding ORDER BY at")
}

#[test]
fn a_webhook_is_sent_each_finding_until_it_has_taken_it_and_then_never_again() {
    let bare = project();
    let server = Server::start(
        &[
            "500 No",
            "302 Found\r\nLocation: /other",
            "204 Taken",
            "200 OK",
        ],
        None,
    );
    let url = format!("http://127.0.0.1:{}/hook/path-secret", server.port);
    file(
        &bare,
        "header",
        "Authorization: Bearer header-secret\n",
        0o600,
    );
    let collect = ["collect", "--webhook", &url, "--webhook-header", "header"];
    // Nothing was found, so nobody is asked anything.
    bare.run(&collect).expect_code(DONE);
    spike(&bare, 1);
    for answer in ["500", "302"] {
        let failed = bare.run(&collect).expect_code(1);
        let said = [failed.stderr.as_str(), &failed.stdout].concat();
        assert!(
            said.contains("the webhook at `127.0.0.1` did not take"),
            "{said}"
        );
        assert!(said.contains(answer) && !said.contains("secret"), "{said}");
        assert_eq!(told(&bare), "failure-spike open None\n");
    }
    // The second run had nothing new to judge and still sends what is open.
    bare.run(&collect).expect_code(DONE);
    assert_eq!(told(&bare), "failure-spike sent None\n");
    let got = server.got();
    assert_eq!(got.len(), 3);
    for (head, body) in &got {
        assert!(
            head.starts_with("POST /hook/path-secret HTTP/1.1\r\n"),
            "{head}"
        );
        assert!(
            head.to_lowercase()
                .contains("\r\nauthorization: bearer header-secret\r\n")
        );
        assert_eq!(body, &got[0].1);
    }
    let sent: Value = serde_json::from_str(&got[0].1).unwrap();
    let found = &sent["findings"][0];
    assert_eq!(sent["findings"].as_array().unwrap().len(), 1);
    assert_eq!(
        (
            &found["id"],
            &found["severity"],
            &found["admin"],
            &found["hosts"]
        ),
        (
            &json!("failure-spike"),
            &json!("warning"),
            &json!("alice"),
            &json!(["web1"])
        )
    );
    assert_eq!(found["evidence"][4], "2026-11-24T02:01:04Z web1 line 4");
    assert_eq!(
        found["key"],
        bare.sql("SELECT key FROM activity_finding").trim()
    );
    // Judged once more, it is the same finding.
    bare.run(&[&collect[..], &["--since", "3000d"]].concat())
        .expect_code(DONE);
    assert_eq!(server.got(), []);
    // A finding of a run without a webhook is nobody's to send later.
    spike(&bare, 20);
    bare.run(&["collect"]).expect_code(DONE);
    // From the project file, the header on standard input; one new finding, and not the two before.
    spike(&bare, 40);
    bare.fed(
        "X-Token: fed-secret",
        &["collect", "--webhook", &url, "--webhook-header", "-"],
    )
    .expect_code(DONE);
    let got = server.got();
    let sent: Value = serde_json::from_str(&got[0].1).unwrap();
    assert_eq!(
        (got.len(), sent["findings"].as_array().unwrap().len()),
        (1, 1)
    );
    assert!(
        got[0]
            .0
            .to_lowercase()
            .contains("\r\nx-token: fed-secret\r\n")
    );
    let events = bare.sql("SELECT body FROM event WHERE kind = 'activity.told'");
    assert_eq!(events.lines().count(), 2, "{events}");
    assert!(
        !events.contains("127.0.0.1") && events.contains("webhook"),
        "{events}"
    );
    assert_eq!(
        told(&bare),
        "failure-spike sent None\nfailure-spike None None\nfailure-spike sent None\n"
    );
    bare.run(&["audit", "verify"]).expect_code(0);
}

#[test]
fn a_header_goes_to_nobody_else_and_is_read_by_nobody_else() {
    let bare = project();
    file(&bare, "open", "A: secret\n", 0o644);
    file(&bare, "broken", "secret\n", 0o600);
    file(&bare, "good", "A: secret\n", 0o600);
    for (url, header, code, says) in [
        (
            "https://127.0.0.1:1/",
            "open",
            1,
            "others can read the webhook's header",
        ),
        (
            "https://127.0.0.1:1/",
            "broken",
            1,
            "the webhook's header is none",
        ),
        (
            "http://192.0.2.1/",
            "good",
            64,
            "unencrypted over the network",
        ),
        (
            "ftp://127.0.0.1/",
            "good",
            64,
            "must begin with https:// or http://",
        ),
        (
            "https://u:secret@127.0.0.1/",
            "good",
            64,
            "must hold no name and password",
        ),
    ] {
        let ran = bare
            .run(&["collect", "--webhook", url, "--webhook-header", header])
            .expect_code(code);
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
        assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
    }
    // The project's header is for the project's URL.
    let server = Server::start(&["200 OK", "200 OK"], None);
    let url = format!("http://127.0.0.1:{}/", server.port);
    let config = bare.path().join("fleetotp.yml");
    let text = std::fs::read_to_string(&config).unwrap();
    let webhook = format!("\nactivity:\n  webhook: {{url: \"{url}\", header_file: good}}");
    let webhook = text.replace("\nactivity:", &webhook);
    assert_ne!(webhook, text);
    std::fs::write(&config, webhook).unwrap();
    spike(&bare, 1);
    bare.run(&["collect", "--webhook", &url]).expect_code(DONE);
    assert!(!server.got()[0].0.contains("secret"));
    spike(&bare, 20);
    bare.run(&["collect"]).expect_code(DONE);
    assert!(server.got()[0].0.contains("secret"));
    // A check tells nobody.
    spike(&bare, 40);
    bare.run(&["collect", "--check"]).expect_code(DONE);
    assert_eq!(server.got(), []);
}

fn certificate(dir: &Path) -> Arc<ServerConfig> {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-days", "3650", "-subj", "/CN=test", "-keyout", "tls.key", "-out", "tls.pem",
        ])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let certificate = CertificateDer::from_pem_file(dir.join("tls.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.join("tls.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config)
}

#[test]
fn over_https_only_a_server_that_this_machine_trusts_is_sent_anything() {
    let bare = project();
    let server = Server::start(&["200 OK", "200 OK"], Some(certificate(bare.path())));
    let url = format!("https://127.0.0.1:{}/", server.port);
    file(&bare, "header", "A: secret\n", 0o600);
    spike(&bare, 1);
    let collect = ["collect", "--webhook", &url, "--webhook-header", "header"];
    let refused = bare.run(&collect).expect_code(1);
    assert!(
        refused.stderr.to_lowercase().contains("certificate"),
        "{}",
        refused.stderr
    );
    assert_eq!(server.got(), []);
    assert_eq!(told(&bare), "failure-spike open None\n");
    let trusted = bare
        .command(&collect)
        .env("SSL_CERT_FILE", bare.path().join("tls.pem"))
        .output()
        .unwrap();
    assert_eq!(trusted.status.code(), Some(DONE), "{trusted:?}");
    assert_eq!(server.got().len(), 1);
    assert_eq!(told(&bare), "failure-spike sent None\n");
}

#[test]
fn syslog_is_told_each_finding_once_and_again_where_nobody_listened() {
    let bare = project();
    let path = bare.path().join("log");
    let syslog = format!("--syslog={}", path.display());
    spike(&bare, 1);
    let nobody = bare.run(&["collect", &syslog]).expect_code(1);
    assert!(
        nobody.stderr.contains("did not take the findings"),
        "{}",
        nobody.stderr
    );
    // The finding is said all the same.
    assert!(
        nobody.stdout.contains("warning (failure-spike): "),
        "{}",
        nobody.stdout
    );
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    bare.run(&["collect", &syslog]).expect_code(DONE);
    let mut buffer = [0; 2000];
    let size = socket.recv(&mut buffer).unwrap();
    let message = std::str::from_utf8(&buffer[..size]).unwrap();
    // Facility auth (4), severity warning (4).
    assert!(message.starts_with("<36>fleetotp["), "{message}");
    assert!(
        message.contains("]: finding=failure-spike severity=warning key=")
            && message.ends_with(
                "at=2026-11-24T02:01:04Z login=alice hosts=web1: 5 refused tries of alice, 5 of them within 10m"
            ),
        "{message}"
    );
    assert!(socket.recv(&mut buffer).is_err(), "one message a finding");
    bare.run(&["collect", &syslog]).expect_code(DONE);
    assert!(socket.recv(&mut buffer).is_err());
    assert_eq!(told(&bare), "failure-spike None sent\n");
}
