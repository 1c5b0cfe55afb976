//! The batches on disk: one `redb` database for each backend. Once a write returns, its batches
//! survive a kill and a loss of power.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

use crate::limits::SPOOL_CACHE_BYTES;
use crate::proto::{Mono, Wall};
use crate::publish::delivery::queue::{Body, Entry};
use crate::publish::{Batch, BatchId, Payload};

/// From a key to identity, kind, records, time of closing and body. The name of the table is the
/// version of the format.
const BATCHES: TableDefinition<'_, u64, Row<'_>> =
    TableDefinition::new("latency-monitor batches 1");

type Row<'a> = (u128, u8, u64, i64, &'a [u8]);

/// The spool; see the [module](self).
pub(super) struct Spool {
    path: PathBuf,
    disk: Mutex<Disk>,
}

struct Disk {
    /// `None` until it is opened, after an error, until it is opened anew, and once it is closed.
    database: Option<Database>,
    /// What an earlier run left is known, so that a new key cannot be one of its keys.
    is_listed: bool,
    is_closed: bool,
    /// Keys that are still to be removed, since an earlier attempt failed.
    stale: Vec<u64>,
}

/// A spool that was opened.
pub(super) struct Opened {
    /// The batches in it, in order.
    pub(super) found: Vec<Entry>,
    /// What was wrong with the file that was there, and where it is now.
    pub(super) damage: Option<String>,
}

impl Spool {
    /// The spool of this name, which is not open yet.
    pub(super) fn new(folder: &Path, name: &str) -> Self {
        Self {
            path: folder.join(format!("{name}.redb")),
            disk: Mutex::new(Disk {
                database: None,
                is_listed: false,
                is_closed: false,
                stale: Vec::new(),
            }),
        }
    }

    /// Opens the file, or makes one. A file that cannot be read is set aside. The error says what
    /// the system refused; the spool then takes nothing until this is called again.
    pub(super) fn open(&self) -> Result<Opened, String> {
        let path = self.path.display();
        let mut damage = None;
        let opened = match self.find() {
            Err(Fault::Damaged(reason)) => {
                let aside = self.path.with_extension("redb.damaged");
                fs::rename(&self.path, &aside).map_err(|error| {
                    format!("the spool {path} cannot be read ({reason}), nor set aside: {error}")
                })?;
                damage = Some(format!(
                    "the spool {path} cannot be read ({reason}); it is now {}, and a new one begins",
                    aside.display()
                ));
                self.find()
            }
            opened => opened,
        };
        let (database, found) = opened.map_err(|fault| match fault {
            Fault::InUse => format!(
                "the spool {path} is in use by another process; give each daemon a spool_dir of \
                 its own"
            ),
            Fault::Damaged(reason) => format!("the spool {path} cannot be read ({reason})"),
            Fault::Io(error) => format!("cannot open the spool {path}: {error}"),
        })?;
        let mut disk = self.disk.lock();
        disk.database = Some(database);
        disk.is_listed = true;
        Ok(Opened { found, damage })
    }

    fn find(&self) -> Result<(Database, Vec<Entry>), Fault> {
        let database = if self.path.try_exists()? {
            builder(true).open(&self.path)?
        } else {
            self.make()?
        };
        let found = list(&database)?;
        Ok((database, found))
    }

    /// Makes the file under another name, so that a kill or a full disk leaves a whole spool or
    /// none. Whoever has the lock on that name may begin it anew.
    fn make(&self) -> Result<Database, Fault> {
        let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(folder)?;
        let fresh = self.path.with_extension("redb.new");
        let file = (fs::OpenOptions::new().read(true).write(true))
            .create(true)
            .truncate(false)
            .open(&fresh)?;
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => return Err(Fault::InUse),
            locked => locked.map_err(io::Error::from)?,
        }
        file.set_len(0)?;
        let database = builder(false).create_with_backend(FileBackend::new(file)?)?;
        write(&database, &[], &[])?;
        // Another process may have made it before we had the lock.
        if self.path.try_exists()? {
            return Err(Fault::InUse);
        }
        fs::rename(&fresh, &self.path)?;
        fs::File::open(folder)?.sync_all()?;
        Ok(database)
    }

    /// Says what is wrong with a file that is there, and changes nothing.
    pub(super) fn look(&self) -> Option<String> {
        let path = self.path.display();
        if !self.path.exists() {
            return None;
        }
        let opened = match builder(true).open_read_only(&self.path) {
            // A daemon that was killed leaves work in it, which the next one does.
            Err(DatabaseError::RepairAborted) => return None,
            opened => opened.map_err(Fault::from),
        };
        match opened.and_then(|database| Ok(list(&database)?)).err()? {
            // A daemon that runs has it.
            Fault::InUse => None,
            Fault::Io(error) => Some(format!("the spool {path} cannot be opened: {error}")),
            Fault::Damaged(reason) => Some(format!(
                "the spool {path} cannot be read ({reason}): the daemon will set it aside and \
                 begin a new one"
            )),
        }
    }

    /// True once it was opened.
    pub(super) fn is_listed(&self) -> bool {
        self.disk.lock().is_listed
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Inserts and removes in one transaction.
    pub(super) fn write(
        &self,
        insert: &[(u64, Wall, &Batch)],
        remove: &[u64],
    ) -> Result<(), redb::Error> {
        let mut disk = self.disk.lock();
        if !disk.is_listed {
            // These keys may be those of batches that an earlier run left, which must stay.
            return Err(redb::Error::DatabaseClosed);
        }
        disk.stale.extend_from_slice(remove);
        let stale = std::mem::take(&mut disk.stale);
        let result = disk.with(&self.path, |database| write(database, insert, &stale));
        if result.is_err() {
            // Whether these were written is not known, and they wait in memory: so they are
            // removed.
            disk.stale = stale;
            disk.stale.extend(insert.iter().map(|(key, _, _)| *key));
        }
        result
    }

    /// Removes one batch. If that fails, the next write tries it again.
    pub(super) fn remove(&self, key: u64) -> Result<(), redb::Error> {
        self.write(&[], &[key])
    }

    /// Returns the batch of this key, if it is there.
    pub(super) fn read(&self, key: u64) -> Result<Option<Batch>, redb::Error> {
        let mut disk = self.disk.lock();
        disk.with(&self.path, |database| read(database, key))
    }

    /// Closes the file. Nothing is read or written after this.
    pub(super) fn close(&self) {
        let mut disk = self.disk.lock();
        disk.is_closed = true;
        disk.database = None;
    }
}

impl Disk {
    /// Calls `act` with the database. After an error the database refuses all work, so it is
    /// opened anew the next time.
    fn with<T>(
        &mut self,
        path: &Path,
        act: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        if self.is_closed {
            return Err(redb::Error::DatabaseClosed);
        }
        let database = match self.database.take() {
            Some(database) => database,
            None => builder(false).open(path)?,
        };
        let result = act(&database);
        if result.is_ok() {
            self.database = Some(database);
        }
        result
    }
}

fn builder(check: bool) -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(SPOOL_CACHE_BYTES);
    // A file that another program changed is detected here.
    builder.set_check_integrity_on_open(check);
    builder
}

/// Why a spool cannot be opened.
enum Fault {
    /// Another process has it.
    InUse,
    /// The file is something else, or damaged.
    Damaged(String),
    /// The system refused the file or its folder.
    Io(io::Error),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        match error.into() {
            // These are the kinds for a file that is no database.
            redb::Error::Io(error) if !matches!(error.kind(), InvalidData | UnexpectedEof) => {
                Self::Io(error)
            }
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::InUse,
            error => Self::Damaged(error.to_string()),
        }
    }
}

/// Returns what is in the database. One of another program is left as it is.
fn list(database: &impl ReadableDatabase) -> Result<Vec<Entry>, redb::Error> {
    let reading = database.begin_read()?;
    let table = match reading.open_table(BATCHES) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => {
            if reading.list_tables()?.next().is_some() {
                let other = "it is a database of another program";
                return Err(redb::Error::Corrupted(other.to_owned()));
            }
            return Ok(Vec::new());
        }
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for row in table.iter()? {
        let (key, value) = row?;
        let (_, _, records, created, body) = value.value();
        found.push(Entry {
            key: key.value(),
            records,
            bytes: body.len() as u64,
            created: Wall::from_unix_nanos(created),
            since: Mono::ZERO,
            attempts: 0,
            body: Body::Spooled,
        });
    }
    Ok(found)
}

fn write(
    database: &Database,
    insert: &[(u64, Wall, &Batch)],
    remove: &[u64],
) -> Result<(), redb::Error> {
    let writing = database.begin_write()?;
    {
        let mut table = writing.open_table(BATCHES)?;
        for key in remove {
            table.remove(key)?;
        }
        for (key, created, batch) in insert {
            let Payload {
                kind,
                body,
                records,
            } = &batch.payload;
            let created = created.as_unix_nanos();
            table.insert(key, (batch.id.0, *kind, *records, created, body.as_slice()))?;
        }
    }
    writing.commit()?;
    Ok(())
}

fn read(database: &Database, key: u64) -> Result<Option<Batch>, redb::Error> {
    let reading = database.begin_read()?;
    let table = reading.open_table(BATCHES)?;
    let Some(value) = table.get(key)? else {
        return Ok(None);
    };
    let (id, kind, records, _, body) = value.value();
    Ok(Some(Batch {
        id: BatchId(id),
        payload: Payload {
            kind,
            body: body.to_vec(),
            records,
        },
    }))
}
