//! Finding, making and opening the ledger's file.

use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, Connection as _};

use crate::clock::{Clock, Entropy};
use crate::ledger::LedgerError;
use crate::ledger::row::RowExt as _;
use crate::ledger::schema;
use crate::ledger::tx::Tx;
use crate::names::printable;
use crate::token::id::{PersonId, ProjectId, RunId};

/// The ledger. Cheap to clone; all clones share one connection, one run and one lock.
#[derive(Debug, Clone)]
pub struct Ledger {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) pool: AnyPool,
    pub(super) path: PathBuf,
    pub(super) project: ProjectId,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    context: Mutex<Context>,
}

/// What every event of this process carries.
#[derive(Debug, Clone, Default)]
pub(super) struct Context {
    pub(super) run: Option<RunId>,
    pub(super) actor: Option<PersonId>,
    pub(super) claimed: bool,
    pub(super) lease: Option<String>,
}

/// Returns the file that a `state` setting or `--state` means: a path or a `sqlite:` URL, relative to `root`.
///
/// # Errors
/// When it is a URL of another kind.
pub fn locate(state: &str, root: &Path) -> Result<PathBuf, LedgerError> {
    let error = |why| LedgerError::Location {
        // What follows the scheme can hold a password.
        shown: match state.split_once("://") {
            Some((scheme, _)) => format!("{}://…", printable(scheme, 20)),
            None => printable(state, 80),
        },
        why,
    };
    let path = match state.strip_prefix("sqlite:") {
        Some(rest) => rest.strip_prefix("//").unwrap_or(rest),
        None if state.contains("://") => return Err(error("only SQLite files are supported")),
        None => state,
    };
    if path.is_empty() {
        return Err(error("it names no file"));
    }
    if path == ":memory:" || path.contains('?') {
        return Err(error(
            "secrets must survive the run, so only a plain file will do",
        ));
    }
    Ok(root.join(path))
}

impl Ledger {
    /// Opens an existing ledger.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`] where there is none: a mistyped path must not become an empty ledger.
    pub async fn open(
        path: &Path,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, LedgerError> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => {
                return Err(LedgerError::Location {
                    shown: printable(&path.display().to_string(), 80),
                    why: "it is not a regular file",
                });
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(LedgerError::NotFound(path.to_owned()));
            }
            Err(source) => return Err(io("read", path)(source)),
        }
        Self::connect(path, clock, entropy).await
    }

    /// Makes a new ledger, readable by nobody else, in a directory that is made likewise where missing.
    ///
    /// # Errors
    /// [`LedgerError::Exists`] where there is a file already.
    pub async fn create(
        path: &Path,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, LedgerError> {
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)
                .map_err(io("make the directory", parent))?;
        }
        // Made here, since SQLite would go by the umask; its -wal and -shm files take over this mode.
        let made = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        match made {
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(LedgerError::Exists(path.to_owned()));
            }
            Err(source) => return Err(io("make", path)(source)),
        }
        Self::connect(path, clock, entropy).await
    }

    async fn connect(
        path: &Path,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, LedgerError> {
        sqlx::any::install_default_drivers();
        let options = url(path)?
            .parse::<AnyConnectOptions>()?
            .disable_statement_logging();
        // Tried once by hand: where this fails (not a database, no rights), the pool would keep trying for half a minute.
        let mut probe = AnyConnection::connect_with(&options).await?;
        set_up(&mut probe).await?;
        probe.close().await?;
        let pool = AnyPoolOptions::new()
            // One writer at a time is all that SQLite has; more connections only wait inside it.
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(set_up(connection)))
            .connect_with(options)
            .await?;
        let project = prepare(&pool, entropy.as_ref()).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                pool,
                path: path.to_owned(),
                project,
                clock,
                entropy,
                context: Mutex::default(),
            }),
        })
    }

    /// Returns the project's id, which is written to every host.
    pub fn project_id(&self) -> &ProjectId {
        &self.inner.project
    }

    /// Returns the ledger's file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Closes the ledger; what was committed is on the disk already.
    pub async fn close(self) {
        self.inner.pool.close().await;
    }

    pub(super) fn context(&self) -> MutexGuard<'_, Context> {
        // The guarded value is plain data that no panic can leave half-changed.
        self.inner
            .context
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn begin(&self) -> Result<Tx, LedgerError> {
        Tx::begin(self, true).await
    }

    /// For what must be stored whoever holds the lock: the intent to revoke.
    pub(super) async fn begin_without_lock(&self) -> Result<Tx, LedgerError> {
        Tx::begin(self, false).await
    }
}

/// Sets what SQLite keeps per connection.
///
/// WAL: readers never wait for a writer. FULL: a commit is on the disk when it returns, since a secret that a host knows
/// and the ledger lost would lock its admin out. `secure_delete`: a deleted ciphertext is overwritten.
async fn set_up(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Migrates where needed and returns the project's id, which is made on first use.
async fn prepare(pool: &AnyPool, entropy: &dyn Entropy) -> Result<ProjectId, LedgerError> {
    let mut connection = pool.acquire().await?;
    if !schema::is_current(&mut connection).await? {
        drop(connection);
        let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
        schema::migrate(&mut tx).await?;
        sqlx::query(
            "INSERT INTO meta (key, value) VALUES ('project', $1) ON CONFLICT (key) DO NOTHING",
        )
        .bind(ProjectId::random(entropy)?.as_str().to_owned())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        connection = pool.acquire().await?;
    }
    let row = sqlx::query("SELECT value FROM meta WHERE key = 'project'")
        .fetch_optional(&mut *connection)
        .await?
        .ok_or_else(|| LedgerError::damaged("it names no project"))?;
    row.parsed("value")
}

/// The URL under which sqlx opens a file; every unusual character is escaped.
fn url(path: &Path) -> Result<String, LedgerError> {
    use std::fmt::Write as _;
    let path = std::path::absolute(path).map_err(io("find", path))?;
    let text = path.to_str().ok_or_else(|| LedgerError::Location {
        shown: printable(&path.display().to_string(), 80),
        why: "its path is not valid UTF-8",
    })?;
    let mut url = String::from("sqlite://");
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_') {
            url.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            _ = write!(url, "%{byte:02X}");
        }
    }
    url.push_str("?mode=rw");
    Ok(url)
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> LedgerError {
    let path = path.to_owned();
    move |source| LedgerError::Io { what, path, source }
}
