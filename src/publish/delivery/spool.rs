//! The batches on disk: one `redb` database for each backend. Once a write returns, its batches
//! survive a kill and a loss of power.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
};

use crate::limits::SPOOL_CACHE_BYTES;
use crate::proto::Wall;
use crate::publish::delivery::queue::{Body, Entry};
use crate::publish::{Batch, BatchId, Payload};

/// From a key to identity, kind, records, time of closing and body. The name of the table is the
/// version of the format.
const BATCHES: TableDefinition<'_, u64, Row<'_>> =
    TableDefinition::new("latency-monitor batches 1");

type Row<'a> = (u128, u8, u64, i64, &'a [u8]);

/// Why a spool cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// Another process has it.
    #[error(
        "the spool {} is in use by another process; give each daemon a spool_dir of its own",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is something else, or damaged.
    #[error(
        "the spool {} cannot be read ({reason}); move it away, or name another spool_dir",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system refused the file or its folder.
    #[error("cannot open the spool {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

/// The spool; see the [module](self).
pub(super) struct Spool {
    path: PathBuf,
    disk: Mutex<Disk>,
}

struct Disk {
    /// `None` after an error, until it is opened anew, and once it is closed.
    database: Option<Database>,
    is_closed: bool,
    /// Keys that are still to be removed, since an earlier attempt failed.
    stale: Vec<u64>,
}

impl Spool {
    /// Opens the spool of this name, or makes one. Returns it with the batches in it, in order.
    pub(super) fn open(folder: &Path, name: &str) -> Result<(Self, Vec<Entry>), SpoolError> {
        fs::create_dir_all(folder).map_err(|source| SpoolError::Io {
            path: folder.to_owned(),
            source,
        })?;
        let path = folder.join(format!("{name}.redb"));
        let database = open_database(&path, true)?;
        let unreadable = |error: redb::Error| SpoolError::Unreadable {
            path: path.clone(),
            reason: error.to_string(),
        };
        let found = list(&database).map_err(unreadable)?;
        let disk = Mutex::new(Disk {
            database: Some(database),
            is_closed: false,
            stale: Vec::new(),
        });
        Ok((Self { path, disk }, found))
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

fn open_database(path: &Path, check: bool) -> Result<Database, SpoolError> {
    builder(check).create(path).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            SpoolError::InUse {
                path: path.to_owned(),
            }
        }
        // This is the error for a file that is no database.
        DatabaseError::Storage(StorageError::Io(source))
            if source.kind() != io::ErrorKind::InvalidData
                && source.kind() != io::ErrorKind::UnexpectedEof =>
        {
            SpoolError::Io {
                path: path.to_owned(),
                source,
            }
        }
        error => SpoolError::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        },
    })
}

/// Returns what is in the database. One of another program is left as it is.
fn list(database: &Database) -> Result<Vec<Entry>, redb::Error> {
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
