//! What the extension remembers of one connection.
//!
//! Shared by all functions and tables registered on it. SQLite holds the connection's mutex
//! while any of them runs, so there is one user at a time; the cells only guard against a
//! callback that runs inside another. Cached statements are dropped when one of our tables is
//! disconnected, which SQLite does to all of them before it closes: none blocks `close()`.

use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::sync::Arc;

use nuda_core::changeset::ChainHash;
use nuda_core::hlc::Stamp;
use nuda_vfs::{AttachError, Attached};

use crate::capture::{self, Capture};
use crate::error::{Error, Result};
use crate::ffi::db::{Db, Setting, Stmt};
use crate::ffi::value::Args;
use crate::guard::Guard;
use crate::identity;
use crate::json;
use crate::keys;
use crate::log;
use crate::remembered::Remembered;
use crate::replaced::Replaced;
use crate::shadow::{self, Sites, State};
use crate::signal::Signal;
use crate::strong::Session;
use crate::told::Bases;
use crate::tracked::{Table, Tables};

/// State of the extension for one connection.
pub(crate) struct Connection {
    db: Db,
    path: String,
    identity: OnceCell<String>,
    capture: RefCell<Capture>,
    /// Whether what `capture` holds is of a transaction that is gone: it was rolled back by a
    /// statement that ran while the capture was in use.
    rolled_back: Cell<bool>,
    statements: RefCell<Statements>,
    bases: RefCell<Bases>,
    remembered: Remembered,
    /// Hash and stamp of the own site's latest record when it was last looked at. They stay right: a hash names one
    /// record.
    pub(crate) own_stamp: Cell<Option<(ChainHash, Stamp)>>,
    tables: RefCell<CachedTables>,
    /// While set, triggers' calls are ignored: what is written comes from elsewhere.
    applying: Cell<bool>,
    /// While set, what user triggers write to tracked tables is suppressed, as while applying,
    /// but what is written is captured.
    reissuing: Cell<bool>,
    /// While set, triggers' calls are ignored: a row is put in the way of an invented key.
    placing: Cell<bool>,
    /// Whether this connection has begun a record: a file is put back between connections.
    recorded: Cell<bool>,
    /// Whether this connection was declared the applier's own.
    dedicated: Cell<bool>,
    signal: Arc<Signal>,
    session: Arc<Session>,
    attached: RefCell<Option<std::result::Result<Attached, AttachError>>>,
    /// Keeps user triggers from writing tracked tables while changes are applied.
    pub(crate) guard: Guard,
    /// Tables whose rows were set aside by the changeset being applied.
    pub(crate) replaced: RefCell<Vec<Replaced>>,
    /// What the applier remembers between calls.
    pub(crate) applier: RefCell<crate::apply::Applier>,
}

/// Random bits that no other connection has.
fn boot() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // Keys of the operating system's randomness, and what else differs.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.write_u64(identity::now_ms());
    hasher.finish()
}

/// Tracked tables, and the schema for which they were read.
#[derive(Debug, Default)]
struct CachedTables {
    schema: i64,
    tables: Option<Rc<Tables>>,
}

impl Connection {
    pub(crate) fn new(db: Db) -> Rc<Self> {
        let session = Session::new(&db.path(), boot());
        Rc::new(Self {
            db,
            path: db.path(),
            identity: OnceCell::new(),
            capture: RefCell::default(),
            rolled_back: Cell::new(false),
            statements: RefCell::default(),
            bases: RefCell::default(),
            remembered: Remembered::default(),
            own_stamp: Cell::default(),
            tables: RefCell::default(),
            applying: Cell::new(false),
            reissuing: Cell::new(false),
            placing: Cell::new(false),
            recorded: Cell::new(false),
            dedicated: Cell::new(false),
            signal: Arc::new(Signal::new(db, Arc::clone(&session))),
            session,
            attached: RefCell::default(),
            guard: Guard::default(),
            replaced: RefCell::default(),
            applier: RefCell::default(),
        })
    }

    pub(crate) fn db(&self) -> Db {
        self.db
    }

    /// Path of the main database's file.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// True once: when the connection begins its first record.
    pub(crate) fn is_first_record(&self) -> bool {
        !self.recorded.replace(true)
    }

    /// What the file's site holds for (see [`crate::identity`]).
    pub(crate) fn identity(&self) -> &str {
        self.identity.get_or_init(|| identity::of_file(&self.path))
    }

    #[inline(never)]
    pub(crate) fn capture(&self) -> Result<RefMut<'_, Capture>> {
        self.idle_capture()
            .ok_or_else(|| Error::internal("capture inside capture"))
    }

    /// The capture, unless it is in use: a statement on the shadow tables that it runs itself opens
    /// and ends savepoints too, and no event comes of such a statement.
    pub(crate) fn idle_capture(&self) -> Option<RefMut<'_, Capture>> {
        let mut capture = self.capture.try_borrow_mut().ok()?;
        if self.rolled_back.take() {
            capture.wrote = false;
            capture.reset();
        }
        Some(capture)
    }

    pub(crate) fn statements(&self) -> Result<RefMut<'_, Statements>> {
        self.statements
            .try_borrow_mut()
            .map_err(|_| Error::internal("a statement inside itself"))
    }

    /// What is remembered of the file.
    pub(crate) fn remembered(&self) -> &Remembered {
        &self.remembered
    }

    /// What is remembered of the records written here.
    pub(crate) fn bases(&self) -> Result<RefMut<'_, Bases>> {
        self.bases
            .try_borrow_mut()
            .map_err(|_| Error::internal("a record inside itself"))
    }

    /// The tracked tables, as of the present schema.
    pub(crate) fn tables(&self) -> Result<Rc<Tables>> {
        let schema = {
            let mut statements = self.statements()?;
            let query = statements.schema_version(self.db)?;
            query.bind(&[])?;
            let schema = if query.step()? { query.int(0) } else { 0 };
            query.reset();
            schema
        };
        if let CachedTables {
            schema: of,
            tables: Some(tables),
        } = &*self.tables.borrow()
            && *of == schema
        {
            return Ok(Rc::clone(tables));
        }
        // It names a column, which may have another name by now.
        self.statements()?.greatest_key.clear();
        // Not held meanwhile: reading may end in a rollback, which forgets them.
        let tables = Rc::new(Tables::load(self.db)?);
        *self.tables.borrow_mut() = CachedTables {
            schema,
            tables: Some(Rc::clone(&tables)),
        };
        Ok(tables)
    }

    /// The shadow tables of definitions were written: read them again.
    pub(crate) fn forget_tables(&self) {
        *self.tables.borrow_mut() = CachedTables::default();
    }

    /// The table that a trigger names. Within a transaction the cached one is right: the
    /// schema cannot change under a statement that runs, and the commit looks again.
    pub(crate) fn table(&self, number: u32) -> Result<Rc<Table>> {
        let find = |tables: &Tables| tables.get(number).cloned();
        let locked = self.signal.locked();
        let is_fresh =
            self.capture()?.buffer.is_empty() && !self.remembered.is_same_schema(self.db, locked);
        if !is_fresh && let Some(table) = self.tables.borrow().tables.as_deref().and_then(find) {
            return Ok(table);
        }
        find(&*self.tables()?).ok_or_else(|| {
            Error::refused(format!(
                "a capture trigger names table {number}, which is not tracked; \
                 run SELECT nuda_untrack() on the table and track it again"
            ))
        })
    }

    // What SQLite tells the capture tables.

    pub(crate) fn captured(&self, args: Args<'_>) -> Result<()> {
        if self.applying.get() || self.placing.get() {
            Ok(())
        } else {
            capture::captured(self, args)
        }
    }

    pub(crate) fn flush_capture(&self) -> Result<()> {
        capture::flush(self)
    }

    pub(crate) fn capture_committed(&self) {
        self.remembered.committed(self.db);
        if let Some(mut capture) = self.idle_capture() {
            let wrote = std::mem::take(&mut capture.wrote);
            if wrote {
                self.signal.set_pending(true, self.session.is_in_log());
                self.session.wrote(|| capture.written());
            }
            self.session.committed(wrote);
            capture.reset();
        }
        // The VFS reports the commit too; whoever comes second finds nothing pending.
        self.signal.commit();
    }

    pub(crate) fn capture_rolled_back(&self) {
        self.rolled_back.set(true);
        self.remembered.forget();
        self.signal.rolled_back();
        drop(self.idle_capture());
        // A new site may have gone with it.
        self.recorded.set(false);
        self.signal.set_pending(false, false);
        self.session.rolled_back();
        self.arm_barrier();
        self.forget_tables();
    }

    pub(crate) fn capture_savepoint(&self, id: i32) -> Result<()> {
        capture::savepoint(self, id)
    }

    pub(crate) fn capture_release(&self, id: i32) -> Result<()> {
        keys::released(self, id)?;
        if let Some(mut capture) = self.idle_capture() {
            capture.buffer.release(id);
        }
        Ok(())
    }

    pub(crate) fn capture_rollback_to(&self, id: i32) {
        if let Some(mut capture) = self.idle_capture() {
            capture.rollback_to(id);
        }
        self.remembered.undone();
        self.recorded.set(false);
    }

    /// Drops all cached statements: SQLite disconnects tables before it closes, and a
    /// statement that is left would keep the connection from closing.
    pub(crate) fn forget_statements(&self) {
        if let Ok(mut statements) = self.statements.try_borrow_mut() {
            *statements = Statements::default();
        }
        if let Ok(mut applier) = self.applier.try_borrow_mut() {
            *applier = crate::apply::Applier::default();
        }
    }

    /// Runs `body` with capture switched off.
    pub(crate) fn while_applying<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = self.applying.replace(true);
        let result = body();
        self.applying.set(before);
        result
    }

    /// Runs `body` with capture on and what user triggers add to it switched off.
    pub(crate) fn while_reissuing<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = self.reissuing.replace(true);
        let result = body();
        self.reissuing.set(before);
        result
    }

    /// Runs `body`, whose changes are no changes of the user's.
    pub(crate) fn while_placing<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = self.placing.replace(true);
        let result = body();
        self.placing.set(before);
        result
    }

    /// Whether a row is being put in the way of an invented key, or taken away again.
    pub(crate) fn is_placing(&self) -> bool {
        self.placing.get()
    }

    // The file.

    /// What the file's VFS calls.
    pub(crate) fn signal(&self) -> Arc<Signal> {
        Arc::clone(&self.signal)
    }

    /// What is in force for strong transactions.
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Runs the read barrier before the next transactions, or no longer.
    pub(crate) fn arm_barrier(&self) {
        if let Some(Ok(attached)) = &*self.attached.borrow() {
            attached.arm_barrier(self.session.wants_barrier());
        }
    }

    /// Shows or sets a level.
    pub(crate) fn setting(&self, name: &str, value: Option<&str>) -> Result<String> {
        let waits = ["strong", "quorum", "bounded", "session"];
        if value.is_some_and(|v| {
            waits
                .iter()
                .any(|level| v.trim().eq_ignore_ascii_case(level))
        }) && !matches!(&*self.attached.borrow(), Some(Ok(_)))
        {
            return Err(Error::refused(format!(
                "the file of this connection is not watched (see nuda_debug()), so this level \
                 cannot be kept; {name} stays eventual"
            )));
        }
        // What the file says of itself is read without the level that is left: it may be one that
        // cannot be kept just now.
        if let (Some(_), Some(Ok(attached))) = (value, &*self.attached.borrow()) {
            attached.arm_barrier(false);
        }
        let answer = self
            .session
            .setting(self.db, name, value)
            .ok_or_else(|| Error::refused(format!("no such setting: {name}")));
        self.arm_barrier();
        answer?
    }

    /// Why the last read was refused: SQLite itself can only say "interrupted".
    pub(crate) fn refusal(&self) -> Option<String> {
        match &*self.attached.borrow() {
            Some(Ok(attached)) => attached.take_refusal(),
            _ => None,
        }
    }

    pub(crate) fn set_attached(&self, attached: std::result::Result<Attached, AttachError>) {
        *self.attached.borrow_mut() = Some(attached);
    }

    /// Looks whether the file is a replica. One that cannot be read now is asked when it is used.
    pub(crate) fn look_for_replica(&self) {
        self.signal
            .set_replica(shadow::is_replica(self.db).unwrap_or(false));
    }

    /// How the file is watched, as JSON.
    pub(crate) fn file_facts(&self) -> String {
        match &*self.attached.borrow() {
            Some(Ok(attached)) => {
                let mode = attached.mode();
                format!(
                    "{{\"origin\":\"{:?}\",\"inner\":{},\"commits\":{}}}",
                    mode.origin,
                    json::text(&mode.inner_vfs),
                    mode.commits_seen
                )
            }
            Some(Err(why)) => format!("{{\"not_attached\":{}}}", json::text(&why.to_string())),
            None => "null".to_owned(),
        }
    }

    pub(crate) fn captured_commits(&self) -> u64 {
        self.signal.captured()
    }

    /// 64 random bits and then some.
    pub(crate) fn random(&self) -> Result<u128> {
        let mut statements = self.statements()?;
        let query = statements.random(self.db)?;
        query.bind(&[])?;
        #[allow(clippy::cast_sign_loss)]
        let bits = if query.step()? {
            (u128::from(query.int(0) as u64) << 64) | u128::from(query.int(1) as u64)
        } else {
            0
        };
        query.reset();
        Ok(bits)
    }

    /// Whether what user triggers write to tracked tables has to be suppressed right now.
    pub(crate) fn is_guarded(&self) -> bool {
        self.applying.get() || self.reissuing.get()
    }

    /// Whether this connection was declared to do nothing but apply.
    pub(crate) fn is_dedicated(&self) -> bool {
        self.dedicated.get()
    }

    /// This connection only applies (or no longer does): triggers need not fire at all while
    /// none of them is the user's.
    pub(crate) fn set_dedicated(&self, on: bool) -> Result<()> {
        self.dedicated.set(on);
        self.signal.set_dedicated(on);
        self.guard.look_again();
        self.db.switch(Setting::Triggers, true)?;
        Ok(())
    }
}

/// Statements that every captured transaction runs, prepared once.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    insert_log: Option<Stmt>,
    state: Option<Stmt>,
    sites: Option<Stmt>,
    last_record: Option<Stmt>,
    schema_version: Option<Stmt>,
    random: Option<Stmt>,
    /// The greatest key of each table that invents keys.
    greatest_key: HashMap<u32, Stmt>,
    /// What a REPLACE is about to remove, by the query's text.
    row_by_key: HashMap<String, Stmt>,
}

fn cached<'a>(slot: &'a mut Option<Stmt>, db: Db, sql: &str) -> Result<&'a mut Stmt> {
    let statement = match slot.take() {
        Some(statement) => statement,
        None => db.prepare(sql)?,
    };
    Ok(slot.insert(statement))
}

impl Statements {
    pub(crate) fn insert_log(&mut self, db: Db) -> Result<&mut Stmt> {
        cached(&mut self.insert_log, db, log::INSERT)
    }

    pub(crate) fn state(&mut self, db: Db) -> Result<&mut Stmt> {
        cached(&mut self.state, db, State::QUERY)
    }

    pub(crate) fn sites(&mut self, db: Db) -> Result<&mut Stmt> {
        cached(&mut self.sites, db, Sites::QUERY)
    }

    pub(crate) fn last_record(&mut self, db: Db) -> Result<&mut Stmt> {
        cached(&mut self.last_record, db, log::LAST_RECORD)
    }

    pub(crate) fn schema_version(&mut self, db: Db) -> Result<&mut Stmt> {
        cached(&mut self.schema_version, db, "PRAGMA main.schema_version")
    }

    /// `sql` is only made when the statement is not there yet.
    pub(crate) fn greatest_key(
        &mut self,
        db: Db,
        table: u32,
        sql: impl FnOnce() -> Result<String>,
    ) -> Result<&mut Stmt> {
        match self.greatest_key.entry(table) {
            Entry::Occupied(there) => Ok(there.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(db.prepare(&sql()?)?)),
        }
    }

    pub(crate) fn row_by_key(&mut self, db: Db, sql: String) -> Result<&mut Stmt> {
        match self.row_by_key.entry(sql) {
            Entry::Occupied(there) => Ok(there.into_mut()),
            Entry::Vacant(place) => {
                let statement = db.prepare(place.key())?;
                Ok(place.insert(statement))
            }
        }
    }

    pub(crate) fn random(&mut self, db: Db) -> Result<&mut Stmt> {
        cached(&mut self.random, db, "SELECT random(), random()")
    }
}
