//! Opening the database: created if there is none, refused if it is newer, differently laid out, short of its mark, or not trusted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyport_protocol::LogEpoch;
use rocksdb::{ColumnFamilyDescriptor, DB, Options, WriteBatch};

use crate::column::{self, Column, Tuning};
use crate::committer::Committer;
use crate::distrust::Distrust;
use crate::engine::{Disk, Engine};
use crate::error::{OpenError, StoreError};
use crate::group::GroupId;
use crate::keeper::Keeper;
use crate::mark::{self, Mark, MarkError, MarkFile};
use crate::options::{StoreOptions, SyncMode};
use crate::{keys, reset, sealed};

/// Grows when an older program could misread what this one writes.
pub(crate) const STORE_FORMAT: u8 = 1;

/// Rows that tell of the whole store. The format is read before anything is unsealed, so it is not sealed itself.
const FORMAT_ROW: [u8; 2] = [0xFF, b'f'];

pub(crate) struct Opened {
    pub(crate) engine: Engine,
    pub(crate) mark: Mark,
    pub(crate) epoch: LogEpoch,
}

pub(crate) fn open(path: &Path, options: StoreOptions) -> Result<Opened, OpenError> {
    fs::create_dir_all(path).map_err(|cause| OpenError::Folder { path: path.to_owned(), cause })?;
    let distrust = Distrust::in_folder(path);
    distrust.check()?;
    let opening = Opening { folder: path.join("store"), mark: MarkFile::in_folder(path), options };
    let before = opening.mark_before()?;
    let tuning = Tuning::new(&opening.options);
    let db = opening.database(&before, &tuning)?;
    opening.finish(db, tuning, distrust, before)
}

struct Opening {
    folder: PathBuf,
    mark: MarkFile,
    options: StoreOptions,
}

impl Opening {
    /// The mark as the last run left it. A new store gets one before it gets anything else, so that a store without a mark is
    /// always one whose mark was lost.
    fn mark_before(&self) -> Result<Mark, OpenError> {
        let exists = self.folder.join("CURRENT").exists();
        match self.mark.read()? {
            Some(mark) if mark.store_format > STORE_FORMAT => {
                let path = self.folder.clone();
                Err(OpenError::NewerFormat { path, found: mark.store_format, known: STORE_FORMAT })
            }
            Some(mark) if !exists && mark.synced > 0 => Err(OpenError::ShortOfMark { store: 0, mark: mark.synced }),
            Some(mark) => Ok(mark),
            None if exists => Err(OpenError::MarkMissing { path: self.folder.clone() }),
            None => {
                let mark = self.mark_now(0);
                self.write_mark(&mark)?;
                Ok(mark)
            }
        }
    }

    fn groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        GroupId::all(self.options.registry_shards, self.options.partitions)
    }

    fn write_mark(&self, mark: &Mark) -> Result<(), OpenError> {
        let refused = |error: MarkError| OpenError::Mark { path: self.mark.path(), cause: error.into_cause() };
        self.mark.write(mark).map_err(refused)
    }

    fn mark_now(&self, synced: u64) -> Mark {
        let relaxed = matches!(self.options.sync, SyncMode::Relaxed { .. });
        Mark { store_format: STORE_FORMAT, synced, clean: false, relaxed, boot: mark::boot_id() }
    }

    /// Opens RocksDB with every column family the store is to have.
    fn database(&self, before: &Mark, tuning: &Tuning) -> Result<DB, OpenError> {
        let mut db_options = column::database(&self.options);
        let present = if self.folder.join("CURRENT").exists() {
            DB::list_cf(&Options::default(), &self.folder).map_err(|error| self.engine_error(&error))?
        } else {
            db_options.create_if_missing(true);
            vec!["default".to_owned()]
        };
        let families = present.iter().map(|name| ColumnFamilyDescriptor::new(name, tuning.of(name)));
        let db =
            DB::open_cf_descriptors(&db_options, &self.folder, families).map_err(|error| self.engine_error(&error))?;
        let reached = db.latest_sequence_number();
        if reached < before.synced {
            return Err(OpenError::ShortOfMark { store: reached, mark: before.synced });
        }
        // Written last when a store is created: if it is missing the creation was cut short, and goes on.
        if present.iter().any(|name| name == Column::State.name()) && self.check_rows(&db)? {
            reset::finish(&db, tuning, self.groups()).map_err(|error| self.engine_error(&error))?;
            return Ok(db);
        }
        let logs = self.groups().map(|group| group.to_string());
        for name in Column::ALL.iter().map(|column| column.name().to_owned()).chain(logs) {
            if !present.contains(&name) {
                db.create_cf(&name, &tuning.of(&name)).map_err(|error| self.engine_error(&error))?;
            }
        }
        self.write_rows(&db)?;
        Ok(db)
    }

    /// Whether the store was created whole. Refuses one of a newer format or of another layout.
    fn check_rows(&self, db: &DB) -> Result<bool, OpenError> {
        let Some(format) = self.row(db, FORMAT_ROW)? else { return Ok(false) };
        match format.as_slice() {
            [found] if *found <= STORE_FORMAT => {}
            found => {
                let found = found.first().copied().unwrap_or(u8::MAX);
                return Err(OpenError::NewerFormat { path: self.folder.clone(), found, known: STORE_FORMAT });
            }
        }
        let key = keys::store_row(b'l');
        let row = self.row(db, key)?.unwrap_or_default();
        let layout = sealed::unseal(&key, &row).ok().and_then(|body| <[u8; 4]>::try_from(body).ok());
        let Some([p0, p1, r0, r1]) = layout else {
            return Err(Engine::bad_row(Column::State, &key, "not a layout").into());
        };
        let stored = [u16::from_le_bytes([p0, p1]), u16::from_le_bytes([r0, r1])];
        let asked = [self.options.partitions, self.options.registry_shards];
        for ((what, stored), asked) in ["partitions", "registry shards"].into_iter().zip(stored).zip(asked) {
            if stored != asked {
                return Err(OpenError::Layout { path: self.folder.clone(), what, stored, asked });
            }
        }
        Ok(true)
    }

    fn write_rows(&self, db: &DB) -> Result<(), OpenError> {
        let state = db.cf_handle(Column::State.name()).expect("created before its rows are written");
        let key = keys::store_row(b'l');
        let mut layout = Vec::new();
        let [partitions, shards] = [self.options.partitions, self.options.registry_shards].map(u16::to_le_bytes);
        sealed::seal(&key, &[&partitions, &shards], &mut layout);
        let mut batch = WriteBatch::default();
        batch.put_cf(&state, key, layout);
        batch.put_cf(&state, FORMAT_ROW, [STORE_FORMAT]);
        db.write(batch).and_then(|()| db.flush_wal(true)).map_err(|error| self.engine_error(&error))
    }

    fn row(&self, db: &DB, key: [u8; 2]) -> Result<Option<Vec<u8>>, OpenError> {
        let state = db.cf_handle(Column::State.name()).expect("the caller saw it in the list");
        db.get_cf(&state, key).map_err(|error| self.engine_error(&error))
    }

    /// Begins this run: a new epoch if logs may have lost their end, a new mark, the threads.
    fn finish(&self, db: DB, tuning: Tuning, distrust: Distrust, before: Mark) -> Result<Opened, OpenError> {
        let disk = Arc::new(Disk::new(db, distrust, self.options.inject.clone()));
        let crashed = before.relaxed && !before.clean && mark::other_boot(&before, &mark::boot_id());
        let lost = self.options.new_epoch.or(crashed.then_some(LogEpoch(0)));
        let epoch = next_epoch(&disk, lost)?;
        disk.sync()?;
        let mark = self.mark_now(disk.synced());
        self.write_mark(&mark)?;
        let committer = Committer::start(Arc::clone(&disk), self.options.sync)?;
        let keeper = Keeper::start(Arc::clone(&disk), self.mark.clone(), mark)?;
        Ok(Opened { engine: Engine::new(disk, committer, keeper, tuning), mark, epoch })
    }

    fn engine_error(&self, error: &rocksdb::Error) -> OpenError {
        OpenError::Engine { path: self.folder.clone(), cause: error.to_string() }
    }
}

/// Reads the log epoch; if an end may have been lost a higher one, and at least the given. The caller syncs.
fn next_epoch(disk: &Disk, lost: Option<LogEpoch>) -> Result<LogEpoch, StoreError> {
    let key = keys::store_row(b'e');
    let state = disk.db.cf_handle(Column::State.name()).expect("every shared column family is open");
    let row = disk.db.get_cf(&state, key).map_err(|error| crate::engine::row_error(Column::State, &key, &error))?;
    let stored = match row {
        None => 0,
        Some(row) => {
            let body = sealed::unseal(&key, &row).map_err(|found| Engine::bad_row(Column::State, &key, found))?;
            let body = body.try_into().map_err(|_| Engine::bad_row(Column::State, &key, "not an epoch"))?;
            u32::from_le_bytes(body)
        }
    };
    let Some(at_least) = lost else { return Ok(LogEpoch(stored)) };
    let epoch = at_least.0.max(stored + 1);
    let mut value = Vec::new();
    sealed::seal(&key, &[&epoch.to_le_bytes()], &mut value);
    let mut batch = WriteBatch::default();
    batch.put_cf(&state, key, value);
    disk.write(batch)?;
    Ok(LogEpoch(epoch))
}
