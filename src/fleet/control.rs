//! The private directory of control sockets, and what earlier runs left behind.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::fleet::FleetError;

/// A directory for one run: `<base>/fleetotp-<pid>-<random>`; removed at the end.
///
/// Paths are short on purpose: ssh adds 18 characters to a control path, and a Unix socket's may have 107.
#[derive(Debug)]
pub struct ControlDir {
    dir: TempDir,
    next: AtomicU32,
}

impl ControlDir {
    /// Makes the directory, and removes those of runs that are no more.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new() -> Result<Self, FleetError> {
        let base = base();
        sweep(&base);
        let dir = tempfile::Builder::new()
            .prefix(&format!("fleetotp-{}-", std::process::id()))
            .rand_bytes(6)
            .tempdir_in(&base)
            .map_err(FleetError::local(format!(
                "cannot make a directory in {}",
                base.display()
            )))?;
        Ok(Self {
            dir,
            next: AtomicU32::new(0),
        })
    }

    /// Makes a directory for one connection's socket and log.
    pub(crate) fn connection(&self) -> Result<TempDir, FleetError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        tempfile::Builder::new()
            .prefix(&format!("{number:x}"))
            .rand_bytes(0)
            .tempdir_in(self.dir.path())
            .map_err(FleetError::local(
                "cannot make a directory for a connection",
            ))
    }
}

/// The user's runtime directory where there is one, else the temporary directory, if short enough and without
/// characters that mean something to ssh (`%h`, `~`) or to the shell that it starts a `ProxyCommand` with.
fn base() -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .into_iter()
        .chain([std::env::temp_dir()])
        .find(|p| {
            let bytes = p.as_os_str().as_encoded_bytes();
            let plain = |b: &u8| b.is_ascii_alphanumeric() || b"/._-+".contains(b);
            bytes.len() <= 40 && bytes.iter().all(plain) && p.is_absolute() && p.is_dir()
        })
        .unwrap_or_else(|| PathBuf::from("/tmp"))
}

/// Removes directories of dead runs. Their masters end by themselves, thirty seconds after the last request.
fn sweep(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else {
        return;
    };
    let me = std::fs::metadata("/proc/self").map(|m| m.uid());
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|n| n.strip_prefix("fleetotp-"))
            .and_then(|n| n.split('-').next())
            .and_then(|n| n.parse::<u32>().ok());
        let Some(pid) = pid else { continue };
        let mine = entry
            .metadata()
            .is_ok_and(|m| m.is_dir() && me.as_ref().is_ok_and(|me| m.uid() == *me));
        if mine && !Path::new(&format!("/proc/{pid}")).exists() {
            // Best effort: the next run tries again.
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}
