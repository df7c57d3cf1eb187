//! An evidence pack: a directory of files, a manifest of their hashes, and the means to check them without fleetotp.
//!
//! Everything is written beside the place it goes to and moved there as one, so a directory with a pack's name is a
//! whole pack. Paths in it are letters, digits and `./_-` only: the manifest is then plain lines to `sha256sum`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

/// The manifest's name, in the form that `sha256sum -c` reads.
pub const MANIFEST: &str = "MANIFEST.sha256";
/// The namespace of a manifest's signature, for `ssh-keygen -Y verify -n`.
pub const NAMESPACE: &str = "fleetotp-pack";
/// The name of the keys that may have signed, as ssh-keygen(1) reads them.
pub const SIGNERS: &str = "allowed_signers";

/// The script that checks a pack.
const VERIFY: &str = include_str!("../../templates/pack-verify.sh");

/// A pack that is being written.
#[derive(Debug)]
pub struct Pack {
    place: PathBuf,
    partial: tempfile::TempDir,
    files: BTreeMap<String, String>,
}

impl Pack {
    /// Begins a pack that will stand at `place`.
    ///
    /// # Errors
    /// When there is something at `place` already (a pack is never mixed with another), or nothing can be written beside it.
    pub fn begin(place: &Path) -> io::Result<Self> {
        if place.symlink_metadata().is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "something is there already",
            ));
        }
        let parent = match place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(parent)?;
        let partial = tempfile::Builder::new()
            .prefix(".pack-")
            .tempdir_in(parent)?;
        let mut pack = Self {
            place: place.to_owned(),
            partial,
            files: BTreeMap::new(),
        };
        pack.add("verify.sh", |out| out.write_all(VERIFY.as_bytes()))?;
        Ok(pack)
    }

    /// Writes a file of the pack.
    ///
    /// # Errors
    /// When the path has other characters than a pack's paths have, is there already, or cannot be written.
    pub fn add(
        &mut self,
        path: &str,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let fits = path.split('/').all(|part| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        });
        if !fits || self.files.contains_key(path) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{path}` cannot be a file's name in a pack"),
            ));
        }
        let full = self.partial.path().join(path);
        if let Some(dir) = full.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut out = Hashing {
            to: BufWriter::new(File::create_new(&full)?),
            hash: Sha256::new(),
        };
        write(&mut out)?;
        out.to
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        self.files
            .insert(path.to_owned(), HEXLOWER.encode(&out.hash.finalize()));
        Ok(())
    }

    /// The manifest: one line for each file, by name.
    pub fn manifest(&self) -> String {
        self.files
            .iter()
            .map(|(path, hash)| format!("{hash}  {path}\n"))
            .collect()
    }

    /// Returns how many files there are, the manifest not counted.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Returns whether there are none; never the case, since every pack has its script.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Writes the manifest, and its armoured signature where there is one, and moves everything to its place.
    ///
    /// # Errors
    /// When that cannot be written, or something has come to that place meanwhile.
    pub fn finish(self, signature: Option<&str>) -> io::Result<()> {
        let at = self.partial.path();
        fs::write(at.join(MANIFEST), self.manifest())?;
        if let Some(signature) = signature {
            fs::write(at.join(format!("{MANIFEST}.sig")), signature)?;
        }
        // A temporary directory is its owner's alone; a pack is for others, as the user's umask has it for new files.
        open_up(at)?;
        fs::rename(at, &self.place)
    }
}

/// Gives a directory the mode that the user's umask gives to new ones.
fn open_up(dir: &Path) -> io::Result<()> {
    let probe = dir.join(".mode");
    fs::create_dir(&probe)?;
    let mode = fs::metadata(&probe)?.permissions();
    fs::remove_dir(&probe)?;
    fs::set_permissions(dir, mode)
}

/// Writes on, and hashes what passes.
struct Hashing {
    to: BufWriter<File>,
    hash: Sha256,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hash.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
