//! Sheets on disk: private, written once, whole or not at all.
//!
//! The order for the caller: record the sheet as `rendering`, [`stage`], record the hash, [`publish`], record it as
//! `issued`. After a crash, [`verify`] tells whether the file that the ledger speaks of is there.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::error::SheetError;

/// End of the names of temporary files.
const TEMPORARY: &str = ".pdf.tmp";

/// What a sheet file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// A PDF, plain or with a passphrase: `.pdf`.
    Pdf,
    /// A PDF encrypted by age: `.pdf.age`.
    PdfAge,
}

impl Extension {
    /// Returns the end of the file's name, with its dot.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pdf => ".pdf",
            Self::PdfAge => ".pdf.age",
        }
    }
}

/// A sheet that is on disk under a temporary name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// SHA-256 of the file, in lower-case hexadecimal digits.
    pub sha256: String,
    /// Where the file is.
    pub temp_path: PathBuf,
    /// Where the file will be.
    pub final_path: PathBuf,
}

/// Returns where a sheet is or will be.
///
/// # Errors
/// [`SheetError::SheetId`] when the id is none, so that no id can lead out of the directory.
pub fn path_of(dir: &Path, sheet_id: &str, extension: Extension) -> Result<PathBuf, SheetError> {
    let valid = !sheet_id.is_empty()
        && sheet_id.len() <= 64
        && sheet_id
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-');
    if !valid {
        return Err(SheetError::SheetId(sheet_id.to_owned()));
    }
    Ok(dir.join(format!("{sheet_id}{}", extension.as_str())))
}

/// Writes a sheet to a private temporary file beside its final place, down to the disk.
///
/// The directory is made where it is missing, for its owner only. A left-over temporary file of the same sheet is
/// replaced.
///
/// # Errors
/// [`SheetError::SheetId`], [`SheetError::Exists`] when the sheet is already there, or [`SheetError::Io`].
pub fn stage(
    dir: &Path,
    sheet_id: &str,
    extension: Extension,
    bytes: &[u8],
) -> Result<Staged, SheetError> {
    let final_path = path_of(dir, sheet_id, extension)?;
    let temp_path = dir.join(format!(".{sheet_id}{TEMPORARY}"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(SheetError::io("create the directory", dir))?;
    if final_path.symlink_metadata().is_ok() {
        return Err(SheetError::Exists(final_path));
    }
    if temp_path.symlink_metadata().is_ok() {
        remove(&temp_path)?;
    }
    let write = || -> std::io::Result<()> {
        // A new file only: whoever placed a link here gets an error, not a copy.
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temp_path)?;
        // The mode of open(2) is subject to the umask, which may be odd but never wider.
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    if let Err(source) = write() {
        // Best effort: what failed to be written, for want of room perhaps, must not stay half there.
        drop(remove(&temp_path));
        return Err(SheetError::io("write", &temp_path)(source));
    }
    Ok(Staged {
        sha256: HEXLOWER.encode(&Sha256::digest(bytes)),
        temp_path,
        final_path,
    })
}

/// Gives a staged sheet its final name; never over a file that is there already.
///
/// # Errors
/// [`SheetError::Exists`], or [`SheetError::Io`].
pub fn publish(staged: &Staged) -> Result<(), SheetError> {
    // A second name fails where the name is taken, which rename(2) would silently replace.
    match std::fs::hard_link(&staged.temp_path, &staged.final_path) {
        Ok(()) => std::fs::remove_file(&staged.temp_path)
            .map_err(SheetError::io("remove", &staged.temp_path))?,
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            return Err(SheetError::Exists(staged.final_path.clone()));
        }
        // Some file systems have no links: then the check and the rename are two steps.
        Err(e)
            if matches!(
                e.kind(),
                ErrorKind::PermissionDenied | ErrorKind::Unsupported
            ) =>
        {
            if staged.final_path.symlink_metadata().is_ok() {
                return Err(SheetError::Exists(staged.final_path.clone()));
            }
            std::fs::rename(&staged.temp_path, &staged.final_path)
                .map_err(SheetError::io("rename", &staged.temp_path))?;
        }
        Err(e) => return Err(SheetError::io("publish", &staged.final_path)(e)),
    }
    sync_dir_of(&staged.final_path)
}

/// Returns whether the file is there with exactly this hash (SHA-256, lower-case hexadecimal digits).
pub fn verify(path: &Path, sha256: &str) -> bool {
    let hash = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let mut hasher = Sha256::new();
        let mut buffer = [0u8; 16 * 1024];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(HEXLOWER.encode(&hasher.finalize()));
            }
            hasher.update(buffer.get(..read).unwrap_or_default());
        }
    };
    hash().is_ok_and(|found| found == sha256)
}

/// Overwrites and removes a file; returns whether it was there.
///
/// It takes the name of an unfinished file first: once its bytes are gone its hash no longer tells what it was, and whoever
/// is killed before the end leaves what [`sweep_temps`] and [`removal_was_cut_short`] find.
///
/// This is removal, not erasure: copies in backups, snapshots and in the cells of a flash disk stay.
///
/// # Errors
/// [`SheetError::Io`].
pub fn remove(path: &Path) -> Result<bool, SheetError> {
    let Some(unfinished) = unfinished_name(path) else {
        return erase(path);
    };
    let cut_short = erase(&unfinished)?;
    if !path.symlink_metadata().is_ok_and(|m| is_single_file(&m)) {
        return Ok(erase(path)? || cut_short);
    }
    std::fs::rename(path, &unfinished).map_err(SheetError::io("rename", path))?;
    sync_dir_of(path)?;
    erase(&unfinished).inspect_err(|_| {
        // Best effort: whoever is told to delete it by hand finds it where it was.
        drop(std::fs::rename(&unfinished, path));
    })
}

/// Tells whether the removal of a sheet's file has begun and did not come to its end.
pub fn removal_was_cut_short(path: &Path) -> bool {
    unfinished_name(path).is_some_and(|name| name.symlink_metadata().is_ok())
}

/// The name that a sheet's file has before it is published and while it is removed; nothing for such a name itself.
fn unfinished_name(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let id = name.split('.').next().filter(|id| !id.is_empty())?;
    Some(path.with_file_name(format!(".{id}{TEMPORARY}")))
}

/// A link's target is not ours, and neither is a file with a second name.
fn is_single_file(metadata: &std::fs::Metadata) -> bool {
    metadata.is_file() && std::os::unix::fs::MetadataExt::nlink(metadata) == 1
}

fn erase(path: &Path) -> Result<bool, SheetError> {
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(SheetError::io("examine", path)(e)),
    };
    if is_single_file(&metadata) {
        let overwrite = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().write(true).open(path)?;
            std::io::copy(&mut std::io::repeat(0).take(metadata.len()), &mut file)?;
            file.sync_all()
        };
        overwrite().map_err(SheetError::io("overwrite", path))?;
    }
    std::fs::remove_file(path).map_err(SheetError::io("remove", path))?;
    sync_dir_of(path)?;
    Ok(true)
}

/// Removes temporary files that an interrupted run left; returns their paths.
///
/// Only for the holder of the state's lock: another run's file may be in the making otherwise.
///
/// # Errors
/// [`SheetError::Io`]. A directory that is not there has no such files.
pub fn sweep_temps(dir: &Path) -> Result<Vec<PathBuf>, SheetError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(SheetError::io("read", dir)(e)),
    };
    let mut swept = Vec::new();
    for entry in entries {
        let entry = entry.map_err(SheetError::io("read", dir))?;
        let name = entry.file_name();
        let ours = name
            .to_str()
            .is_some_and(|n| n.starts_with('.') && n.ends_with(TEMPORARY));
        if ours && entry.file_type().is_ok_and(|t| !t.is_dir()) {
            remove(&entry.path())?;
            swept.push(entry.path());
        }
    }
    swept.sort();
    Ok(swept)
}

/// Makes a change of names in a directory survive a power failure.
fn sync_dir_of(path: &Path) -> Result<(), SheetError> {
    let dir = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(SheetError::io("sync the directory", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_sheet_is_private_and_written_once() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/sheets");
        let staged = stage(&dir, "S-1", Extension::PdfAge, b"secret").unwrap();
        assert!(!staged.final_path.exists());
        assert_eq!((mode(&dir), mode(&staged.temp_path)), (0o700, 0o600));
        publish(&staged).unwrap();
        assert_eq!(staged.final_path, dir.join("S-1.pdf.age"));
        assert_eq!(mode(&staged.final_path), 0o600);
        assert!(!staged.temp_path.exists());
        assert!(verify(&staged.final_path, &staged.sha256));
        assert!(!verify(&staged.final_path, &"0".repeat(64)));
        assert!(!verify(&dir.join("S-2.pdf"), &staged.sha256));
        assert!(matches!(
            stage(&dir, "S-1", Extension::PdfAge, b"other"),
            Err(SheetError::Exists(_))
        ));
        assert_eq!(std::fs::read(&staged.final_path).unwrap(), b"secret");
    }

    #[test]
    fn publishing_never_replaces_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let staged = stage(dir.path(), "S-1", Extension::Pdf, b"new").unwrap();
        std::fs::write(&staged.final_path, b"old").unwrap();
        assert!(matches!(publish(&staged), Err(SheetError::Exists(_))));
        assert_eq!(std::fs::read(&staged.final_path).unwrap(), b"old");
    }

    #[test]
    fn an_id_cannot_lead_out_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        for id in [
            "",
            "../S-1",
            "S/1",
            "s-1",
            "S-1\0",
            ".",
            "S 1",
            &"A".repeat(65),
        ] {
            assert!(
                matches!(
                    stage(dir.path(), id, Extension::Pdf, b""),
                    Err(SheetError::SheetId(_))
                ),
                "{id}"
            );
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_link_in_the_way_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("victim");
        std::fs::write(&target, b"precious").unwrap();
        std::os::unix::fs::symlink(&target, dir.path().join(".S-1.pdf.tmp")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("nowhere"), dir.path().join("S-2.pdf")).unwrap();
        stage(dir.path(), "S-1", Extension::Pdf, b"secret").unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"precious");
        assert!(matches!(
            stage(dir.path(), "S-2", Extension::Pdf, b"x"),
            Err(SheetError::Exists(_))
        ));
    }

    #[test]
    fn an_interrupted_run_is_swept_up() {
        let dir = tempfile::tempdir().unwrap();
        let done = stage(dir.path(), "S-1", Extension::Pdf, b"done").unwrap();
        publish(&done).unwrap();
        let left = stage(dir.path(), "S-2", Extension::Pdf, b"left").unwrap();
        std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        assert_eq!(sweep_temps(dir.path()).unwrap(), [left.temp_path]);
        assert_eq!(
            sweep_temps(&dir.path().join("missing")).unwrap(),
            Vec::<PathBuf>::new()
        );
        assert!(done.final_path.exists() && dir.path().join("notes.txt").exists());
    }

    #[test]
    fn removal_overwrites_the_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let staged = stage(dir.path(), "S-1", Extension::Pdf, b"secret").unwrap();
        publish(&staged).unwrap();
        let mut still_open = File::open(&staged.final_path).unwrap();
        assert!(remove(&staged.final_path).unwrap());
        assert!(!remove(&staged.final_path).unwrap());
        let mut bytes = Vec::new();
        still_open.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, [0u8; 6]);
    }

    #[test]
    fn a_removal_that_was_cut_short_is_finished() {
        for extension in [Extension::Pdf, Extension::PdfAge] {
            let dir = tempfile::tempdir().unwrap();
            let sheet = stage(dir.path(), "S-1", extension, b"secret").unwrap();
            publish(&sheet).unwrap();
            assert!(!removal_was_cut_short(&sheet.final_path));
            // Whoever removed it was killed: no name tells that it was published, and no hash what it was.
            std::fs::rename(&sheet.final_path, &sheet.temp_path).unwrap();
            std::fs::write(&sheet.temp_path, [0u8; 6]).unwrap();
            assert!(removal_was_cut_short(&sheet.final_path));
            assert!(remove(&sheet.final_path).unwrap());
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn what_cannot_be_overwritten_is_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let sheet = dir.path().join("S-1.pdf");
        std::fs::copy("/bin/sleep", &sheet).unwrap();
        // Whoever is run cannot be written to, whoever writes (execve(2), ETXTBSY).
        let mut running = std::process::Command::new(&sheet)
            .arg("60")
            .spawn()
            .unwrap();
        let error = remove(&sheet).unwrap_err();
        running.kill().unwrap();
        running.wait().unwrap();
        assert!(error.to_string().contains("overwrite"), "{error}");
        assert!(sheet.is_file() && !removal_was_cut_short(&sheet));
    }

    #[test]
    fn a_removal_follows_no_link_and_spares_a_second_name() {
        let dir = tempfile::tempdir().unwrap();
        let (kept, linked, also) = (
            dir.path().join("kept"),
            dir.path().join("S-1.pdf"),
            dir.path().join("S-2.pdf"),
        );
        std::fs::write(&kept, b"precious").unwrap();
        std::os::unix::fs::symlink(&kept, &linked).unwrap();
        std::fs::hard_link(&kept, &also).unwrap();
        assert!(remove(&linked).unwrap() && remove(&also).unwrap());
        assert_eq!(std::fs::read(&kept).unwrap(), b"precious");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
