//! A web server that takes findings: one POST of JSON a run.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{HeaderName, HeaderValue, Uri};
use ureq::tls::{RootCerts, TlsConfig};

use crate::cli::enroll::read_line;
use crate::error::Error;
use crate::names::printable;
use crate::token::secret::Secret;

/// How long the whole exchange may take.
const LIMIT: Duration = Duration::from_secs(15);
/// A header is not longer than this.
const MAX_HEADER: u64 = 8192;

/// Where findings go. The URL may be a secret, so only its host is ever printed.
pub(super) struct Webhook {
    url: Uri,
    host: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl Webhook {
    /// Takes a URL, and the file of a header or `-` for standard input.
    ///
    /// # Errors
    /// When the URL is not one of HTTP or HTTPS, the header cannot be read or is none, or it would go unencrypted over a
    /// network.
    pub(super) fn open(url: &str, header: Option<PathBuf>) -> Result<Self, Error> {
        let no_url = |why: &str| Error::usage(format!("the webhook's URL {why}"));
        let url: Uri = url.trim().parse().map_err(|_| no_url("is none"))?;
        let secure = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(no_url("must begin with https:// or http://")),
        };
        let host = url.host().filter(|h| !h.is_empty());
        let host = host.ok_or_else(|| no_url("names no host"))?.to_owned();
        if url.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err(no_url("must hold no name and password").hinted(
                "put them into a header: --webhook-header FILE with `Authorization: Basic …`",
            ));
        }
        let header = header.map(|path| read_header(&path)).transpose()?;
        if header.is_some() && !secure && !is_here(&host) {
            return Err(
                no_url("would carry its header unencrypted over the network")
                    .hinted("use https://"),
            );
        }
        Ok(Self {
            host: printable(&host, 200),
            url,
            header,
        })
    }

    /// Sends a document.
    ///
    /// # Errors
    /// When the server is not reached or does not answer with success; a redirection is none, since the header is not for
    /// whoever it leads to.
    pub(super) fn post(&self, body: &str) -> Result<(), Error> {
        let failed = || {
            Error::failed(format!(
                "the webhook at `{}` did not take the findings",
                self.host
            ))
            .hinted("everything is stored; the next run with this webhook sends them again")
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            // An organisation's own authority is known to its machines, not to a list that was linked in.
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(LIMIT))
            .build()
            .new_agent();
        let mut request = agent
            .post(self.url.clone())
            .header("Content-Type", "application/json");
        if let Some((name, value)) = &self.header {
            request = request.header(name.clone(), value.clone());
        }
        let answer = request.send(body).map_err(|e| match e {
            // Its text may hold the URL.
            ureq::Error::BadUri(_) => failed(),
            other => failed().caused_by(other),
        })?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(failed().caused_by(format!("it answered {}", answer.status())))
    }
}

/// Whether a host is this machine, by what stands in the URL.
fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

fn read_header(path: &Path) -> Result<(HeaderName, HeaderValue), Error> {
    let line = if path.file_name().is_some_and(|name| name == "-") {
        read_line("the webhook's header")?
    } else {
        read_file(path)?
    };
    let invalid = || {
        Error::failed("the webhook's header is none")
            .hinted("write one line: `Authorization: Bearer …`")
    };
    let (name, value) = line.expose().trim().split_once(':').ok_or_else(invalid)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| invalid())?;
    let mut value = HeaderValue::from_str(value.trim()).map_err(|_| invalid())?;
    value.set_sensitive(true);
    Ok((name, value))
}

fn read_file(path: &Path) -> Result<Secret, Error> {
    let shown = path.display();
    let cannot =
        |e| Error::failed(format!("cannot read the webhook's header `{shown}`")).caused_by(e);
    let file = std::fs::File::open(path).map_err(cannot)?;
    // Asked of the open file, so that nobody can swap it in between.
    let mode = file.metadata().map_err(cannot)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::failed(format!(
            "others can read the webhook's header `{shown}` (mode {mode:o})"
        ))
        .hinted(format!("chmod 600 {shown}")));
    }
    let mut text = String::with_capacity(MAX_HEADER as usize);
    file.take(MAX_HEADER)
        .read_to_string(&mut text)
        .map_err(cannot)?;
    Ok(Secret::new(text))
}
