//! `nuda_init`, `nuda_track`, `nuda_untrack`, `nuda_column`: what is replicated, and as what.
//!
//! Tracking a table is one transaction that is itself replicated: the definition and the rows
//! that are there already travel as one changeset, so that every replica starts from the same.

use std::rc::Rc;

use nuda_core::limits;
use nuda_core::row::TableRef;
use nuda_core::site::{PartitionId, is_valid_name};
use nuda_core::value::{OwnedValue, Value};

use crate::authority::{self, Authority};
use crate::blob_writes;
use crate::canonical;
use crate::capture;
use crate::connection::Connection;
use crate::constraints::{self, Unique};
use crate::definition::{Definition, SchemaChange};
use crate::drift::Drift;
use crate::early;
use crate::error::{Error, Result};
use crate::evolve;
use crate::ffi::db::{Db, Setting};
use crate::foreign_keys;
use crate::hidden;
use crate::identity;
use crate::inspect::{self, Shape};
use crate::keys;
use crate::net::Grown;
use crate::rebuilt;
use crate::savepoint::{atomically, in_savepoint};
use crate::shadow::{self, LAYOUT};
use crate::sql::folded_name;
use crate::tracked::{Column, GONE, Options, Table, encode_indexes, quote};
use crate::triggers;

/// `nuda_init([name])`: makes the open file a replica. Answers the partition's id.
pub(crate) fn init(connection: &Rc<Connection>, name: Option<&str>) -> Result<PartitionId> {
    let db = connection.db();
    if shadow::is_replica(db)? {
        let partition = shadow::state(db)?.partition;
        connection.look_for_replica();
        if !db.is_read_only() {
            ensure_wal(db)?;
            for table in blob_writes::open(db, &*connection.tables()?)? {
                blob_writes::refuse(db, &table)?;
            }
        }
        return Ok(partition);
    }
    if connection.path().is_empty() {
        return Err(Error::refused(
            "an in-memory or temporary database has no file to replicate; open a file",
        ));
    }
    if db.is_read_only() {
        return Err(Error::refused(format!(
            "{} is read-only",
            connection.path()
        )));
    }
    let stem = std::path::Path::new(connection.path())
        .file_stem()
        .map(|s| s.to_string_lossy().into_owned())
        .unwrap_or_default();
    let name = name.unwrap_or(&stem);
    if !is_valid_name(name) {
        return Err(Error::refused(format!(
            "'{name}' is no partition name: use letters, digits, '_', '-' and '.'"
        )));
    }
    ensure_wal(db)?;
    let partition = in_savepoint(db, || {
        db.exec(shadow::DEFINITIONS)?;
        let site = shadow::add_site(db, identity::new_site(db)?)?;
        db.run(
            "INSERT INTO main.nuda_state(id, layout, partition, name, site, identity) \
             VALUES (1, ?, randomblob(16), ?, ?, ?)",
            &[
                Value::Int(LAYOUT),
                Value::Text(name.as_bytes()),
                Value::Int(site),
                Value::Text(connection.identity().as_bytes()),
            ],
        )?;
        shadow::state(db).map(|state| state.partition)
    })?;
    connection.look_for_replica();
    Ok(partition)
}

/// Replication needs the write-ahead log: readers must not block the applier.
fn ensure_wal(db: Db) -> Result<()> {
    let mode = db
        .text("PRAGMA main.journal_mode", &[])?
        .unwrap_or_default();
    if mode == "wal" {
        return Ok(());
    }
    let advice = "end the transaction, or close other connections, and run \
                  PRAGMA journal_mode = WAL";
    if !db.is_autocommit() {
        return Err(Error::refused(format!(
            "the file is in journal mode {mode}; {advice}"
        )));
    }
    match db.text("PRAGMA main.journal_mode = WAL", &[])? {
        Some(mode) if mode == "wal" => Ok(()),
        mode => Err(Error::refused(format!(
            "the file stays in journal mode {}; {advice}",
            mode.unwrap_or_default()
        ))),
    }
}

/// `nuda_trackable(table[, options])`: why not, if not.
pub(crate) fn trackable(
    connection: &Rc<Connection>,
    name: &str,
    options: &str,
) -> Result<Option<String>> {
    shadow::state(connection.db())?;
    let db = connection.db();
    let options = choose("eventual", options)?;
    let looked = inspect::shape(db, name, options).and_then(|shape| {
        let options = foreign_keys::with_enforced(db, &shape.name, options)?;
        let table = table_of(&shape, 0, 1, options);
        foreign_keys::refuse(db, &table, &*connection.tables()?)
    });
    Ok(looked.err().map(Error::into_message))
}

/// `nuda_track(table[, kind[, options]])`. Answers a sentence.
pub(crate) fn track(
    connection: &Rc<Connection>,
    name: &str,
    kind: &str,
    options: &str,
) -> Result<String> {
    let db = connection.db();
    if !shadow::is_replica(db)? {
        init(connection, None)?;
    }
    authority::demand(&shadow::state(db)?, "tracks and changes tables")?;
    let options = choose(kind, options)?;
    let shape = inspect::shape(db, name, options)?;
    if let Some(table) = connection.tables()?.by_name(&shape.name) {
        if options != Options::default() && options != table.options {
            return Err(Error::refused(format!(
                "{0} is tracked already, with other options; nuda_untrack('{0}') it first",
                table.name
            )));
        }
        return Ok(format!("{} is tracked already", table.name));
    }
    let options = foreign_keys::with_enforced(db, &shape.name, options)?;
    refuse_mixed_references(connection, &shape.name, options.is_strong)?;
    let asked = table_of(&shape, 0, 1, options);
    let pending = foreign_keys::refuse(db, &asked, &*connection.tables()?)?;
    if options.keep_first && Unique::all(db, &shape.name)?.is_empty() {
        return Err(Error::refused(format!(
            "{} has no UNIQUE constraint besides its primary key, so unique=keep_first says nothing; \
             track it without",
            shape.name
        )));
    }
    if options.site_ranges {
        keys::refuse_unfit(db, &shape)?;
    }
    atomically(db, || {
        let number = db.int(
            "SELECT coalesce(max(number), 0) + 1 FROM main.nuda_table",
            &[],
        )?;
        let number = u32::try_from(number).map_err(|_| shadow::damaged("nuda_table"))?;
        let table = table_of(&shape, number, 1, options);
        record(db, &table)?;
        if table.may_hide() {
            hidden::prepare(db)?;
        }
        triggers::create(db, &table, shape.invents_keys, triggers::Tables::Create)?;
        blob_writes::refuse(db, &table)?;
        connection.forget_tables();
        triggers::touch(db)?;
        canonical::mend_existing(connection, &table)?;
        let definition = Definition {
            table: table.clone(),
            sql: shape.sql.clone(),
        };
        capture::define(
            connection,
            &SchemaChange::Define(Box::new(definition)).encode(),
        )?;
        let rows = capture_existing(connection, &table)?;
        Ok(answer((&table, rows), &shape, &pending))
    })
}

/// Both ends of a FOREIGN KEY are strong, or neither is.
fn refuse_mixed_references(connection: &Connection, name: &str, is_strong: bool) -> Result<()> {
    let tables = connection.tables()?;
    constraints::refuse_mixed_references(connection.db(), name, is_strong, |other| {
        tables.by_name(other).map(|table| table.options.is_strong)
    })
}

fn answer((table, rows): (&Table, u64), shape: &Shape, pending: &[String]) -> String {
    let mut answer = format!("tracking {} ({rows} rows)", table.name);
    if shape.invents_keys && !table.options.site_ranges && !table.options.is_strong {
        answer.push_str("; rows need explicit keys, nuda_uuid7() in a TEXT key is easiest");
    }
    answer.push_str(&foreign_keys::pending_advice(pending));
    for advice in &shape.advice {
        answer.push_str("; ");
        answer.push_str(advice);
    }
    answer
}

fn choose(kind: &str, options: &str) -> Result<Options> {
    match kind {
        "eventual" | "strong" => {}
        other => {
            return Err(Error::refused(format!(
                "'{other}' is no kind of table; use 'eventual' or 'strong'"
            )));
        }
    }
    let said = Options::parse(options).map_err(|unknown| {
        Error::refused(format!(
            "'{unknown}' is no option; there are delete_wins, foreign_keys, site_ranges, unique=keep_first"
        ))
    })?;
    if said.is_strong {
        return Err(Error::refused(
            "'strong' is a kind of table and not an option: nuda_track('t', 'strong')",
        ));
    }
    if said.keep_first && kind == "strong" {
        return Err(Error::refused(
            "unique=keep_first is for eventual tables; on a strong one UNIQUE simply holds",
        ));
    }
    if said.foreign_keys && kind == "strong" {
        return Err(Error::refused(
            "foreign_keys is for eventual tables; between strong ones a FOREIGN KEY simply holds",
        ));
    }
    Ok(Options {
        is_strong: kind == "strong",
        ..said
    })
}

/// The table that a shape becomes.
pub(crate) fn table_of(shape: &Shape, number: u32, version: u32, options: Options) -> Table {
    let columns = shape.columns.clone();
    Table {
        name: shape.name.clone(),
        at: TableRef {
            number,
            version,
            definition: Table::definition_hash(&columns, &shape.groups),
            key_columns: columns.iter().filter(|c| c.is_key).count(),
            columns: columns.len(),
        },
        columns,
        options,
        groups: shape.groups.clone(),
        indexes: shape.indexes.clone(),
        uniques: Vec::new(),
        drift: Drift::None,
    }
}

/// Writes a table's row and columns into the shadow tables.
pub(crate) fn record(db: Db, table: &Table) -> Result<()> {
    let number = Value::Int(i64::from(table.at.number));
    #[allow(clippy::cast_possible_wrap)]
    let definition = table.at.definition as i64;
    db.run(
        "INSERT INTO main.nuda_table(number, name, version, definition, options, indexes, kind) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
         ON CONFLICT(number) DO UPDATE SET name = ?2, version = ?3, definition = ?4, indexes = ?6",
        &[
            number,
            Value::Text(table.name.as_bytes()),
            Value::Int(i64::from(table.at.version)),
            Value::Int(definition),
            Value::Text(table.options.words().as_bytes()),
            Value::Blob(&encode_indexes(&table.indexes)),
            Value::Text(if table.options.is_strong {
                b"strong"
            } else {
                b"eventual"
            }),
        ],
    )?;
    db.run("DELETE FROM main.nuda_column WHERE number = ?", &[number])?;
    for (position, column) in table.columns.iter().enumerate() {
        db.run(
            "INSERT INTO main.nuda_column(number, position, name, type, is_key) \
             VALUES (?, ?, ?, ?, ?)",
            &[
                number,
                Value::Int(i64::try_from(position).unwrap_or(i64::MAX)),
                Value::Text(column.name.as_bytes()),
                Value::Text(column.type_text().as_bytes()),
                Value::Int(if column.is_gone {
                    GONE
                } else {
                    i64::from(column.is_key)
                }),
            ],
        )?;
    }
    Ok(())
}

/// Tables that plain DDL altered in a way that can be replicated, from here.
pub(crate) fn altered(connection: &Connection) -> Result<Vec<Rc<Table>>> {
    let db = connection.db();
    if !shadow::is_replica(db)? {
        return Ok(Vec::new());
    }
    let tables = connection.tables()?;
    let mut altered = tables.changed();
    let is_asked = !altered.is_empty() && tables.rebuilt().is_none();
    if !is_asked || authority::read(db)? == Authority::Founder {
        return Ok(Vec::new());
    }
    // What cannot be proposed is the next writer's to hear of, and no reason to stop the rest.
    altered.retain(|table| proposal(db, table).is_ok());
    Ok(altered)
}

/// `nuda_propose()`: replicates what plain DDL did to tracked tables, without waiting for the
/// next write to one. Answers how many tables changed.
pub(crate) fn propose(connection: &Connection) -> Result<usize> {
    let db = connection.db();
    rebuilt::close_open(connection)?;
    if shadow::is_replica(db)? && early::is_any(db)? {
        atomically(db, || early::write_again(connection))?;
    }
    let altered = altered(connection)?;
    if altered.is_empty() {
        return Ok(0);
    }
    atomically(db, || {
        triggers::touch(db)?;
        for table in &altered {
            let added = propose_changes(connection, table, triggers::Tables::Create)?;
            if let (Some(grown), Some(table)) = (added, connection.tables()?.get(table.at.number)) {
                early::ship(connection, table, grown)?;
            }
        }
        Ok(altered.len())
    })
}

/// What a changed table is to be from here on.
pub(crate) struct Proposal {
    table: Table,
    shape: Shape,
    /// The added columns, by position, and what they hold in rows that are there.
    defaults: Vec<(usize, OwnedValue)>,
}

impl Proposal {
    /// The added columns, and what they hold in rows that are there.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (&Column, &OwnedValue)> {
        let columns = self.defaults.iter();
        columns.filter_map(|(n, default)| Some((self.table.columns.get(*n)?, default)))
    }
}

/// What plain DDL made of a tracked table, or why that cannot be replicated.
pub(crate) fn proposal(db: Db, table: &Table) -> Result<Proposal> {
    let shape = inspect::shape(db, &table.name, table.options)?;
    let changed = evolve::to_shape(table, &shape)?;
    refuse_unfit_additions(db, table, &changed, &shape)?;
    let defaults = canonical::added_defaults(db, &changed, table.columns.len())?;
    Ok(Proposal {
        table: changed,
        shape,
        defaults,
    })
}

/// Refuses constraints on added columns that would not hold on all nodes together.
pub(crate) fn refuse_unfit_additions(
    db: Db,
    old: &Table,
    new: &Table,
    shape: &Shape,
) -> Result<()> {
    if new.options.is_strong {
        let kind = |name: &str| {
            let found = db.text(
                "SELECT kind FROM main.nuda_table WHERE name = ? COLLATE NOCASE",
                &[Value::Text(name.as_bytes())],
            );
            found.ok().flatten().map(|kind| kind == "strong")
        };
        return constraints::refuse_mixed_references(db, &new.name, true, kind);
    }
    if new.groups != old.groups || new.options.foreign_keys {
        constraints::refuse_added(db, old, new, &shape.sql)?;
    }
    Ok(())
}

/// Plain DDL added columns to a tracked table or changed its indexes: replicates that, at the
/// commit of the first transaction that writes a tracked table afterwards. Answers what was
/// added, if columns were.
pub(crate) fn propose_changes(
    connection: &Connection,
    table: &Table,
    tables: triggers::Tables,
) -> Result<Option<Grown>> {
    let db = connection.db();
    let Proposal {
        table: changed,
        shape,
        defaults,
    } = proposal(db, table)?;
    record(db, &changed)?;
    hidden::reshape(db, &changed, &defaults)?;
    if table.drift == Drift::Added {
        triggers::drop_all(db, table.at.number)?;
        triggers::create(db, &changed, shape.invents_keys, tables)?;
    }
    connection.forget_tables();
    if !defaults.is_empty() {
        canonical::mend_existing(connection, &changed)?;
    }
    let definition = Definition {
        table: changed,
        sql: shape.sql,
    };
    capture::define(
        connection,
        &SchemaChange::Define(Box::new(definition)).encode(),
    )?;
    Ok((table.drift == Drift::Added).then_some(Grown {
        table: table.at.number,
        defaults,
    }))
}

/// `nuda_problems()`: what keeps tracked tables from being replicated; `None` if nothing does.
pub(crate) fn problems(connection: &Connection) -> Result<Option<String>> {
    let db = connection.db();
    if !shadow::is_replica(db)? {
        return Ok(None);
    }
    let authority = authority::read(db)?;
    let mut problems = unfit_file(db)?;
    if !connection.is_dedicated() && !db.is_on(Setting::Triggers)? {
        problems.push(
            "triggers are switched off on this connection, so that what it writes is not \
             replicated; switch SQLITE_DBCONFIG_ENABLE_TRIGGER on, and compare with `nuda verify`"
                .to_owned(),
        );
    }
    for table in blob_writes::open(db, &*connection.tables()?)? {
        problems.push(format!(
            "{} takes incremental blob writes, which are not replicated; SELECT nuda_init() refuses \
             them from then on; compare with `nuda verify`",
            table.name
        ));
    }
    let tables = connection
        .tables()?
        .sorted()
        .iter()
        .filter_map(|table| {
            let what = match (&table.drift, table.drift.problem()) {
                (_, Some(what)) => what.to_owned(),
                (Drift::Added, _) if authority == Authority::Founder => {
                    format!("{} has columns that other nodes do not have", table.name)
                }
                (Drift::Added | Drift::Indexed, _) => proposal(db, table).err()?.into_message(),
                _ => return None,
            };
            Some(format!("{what}; {}", way_out(&table.name, authority)))
        })
        .collect::<Vec<String>>();
    problems.extend(tables);
    Ok((!problems.is_empty()).then(|| problems.join("\n")))
}

/// What keeps the file from being read and written by several.
fn unfit_file(db: Db) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    if db.is_read_only() {
        return Ok(problems);
    }
    for (pragma, wanted) in [("journal_mode", "wal"), ("locking_mode", "normal")] {
        let found = db.text(&format!("PRAGMA main.{pragma}"), &[])?;
        let found = found.unwrap_or_default();
        if found != wanted {
            problems.push(format!(
                "the file is in {pragma} {found}; close other connections and run \
                 PRAGMA {pragma} = {wanted}"
            ));
        }
    }
    Ok(problems)
}

/// What to do about a table that plain DDL broke.
pub(crate) fn way_out(table: &str, authority: Authority) -> String {
    if authority != Authority::Founder {
        format!(
            "undo that, and write it as SELECT nuda_exec('ALTER TABLE ...'), which does it on every \
             node; or stop replicating the table with SELECT nuda_untrack('{table}'), after which \
             nuda_track('{table}') begins anew"
        )
    } else {
        "undo that, or restore this replica from another node (only the founding node changes \
         tables)"
            .to_owned()
    }
}

/// Captures the rows that a table has already.
fn capture_existing(connection: &Connection, table: &Table) -> Result<u64> {
    let sql = format!("SELECT {} FROM {}", table.column_list(), table.quoted());
    let mut rows = connection.db().prepare(&sql)?;
    rows.bind(&[])?;
    let mut count = 0;
    while rows.step()? {
        capture::existing_row(connection, table, &rows.row())?;
        count += 1;
    }
    Ok(count)
}

/// `nuda_untrack(table)`: stops replicating it, everywhere. The rows stay.
pub(crate) fn untrack(connection: &Rc<Connection>, name: &str) -> Result<String> {
    let db = connection.db();
    authority::demand(&shadow::state(db)?, "untracks tables")?;
    let Some(table) = connection.tables()?.by_name(name).cloned() else {
        return Err(Error::refused(format!(
            "{name} is not tracked; see SELECT * FROM nuda_tables"
        )));
    };
    foreign_keys::refuse_untracked(db, &table, &*connection.tables()?)?;
    if !connection.capture()?.buffer.is_empty() {
        return Err(Error::refused(
            "commit the open transaction before untracking a table",
        ));
    }
    atomically(db, || {
        triggers::touch(db)?;
        capture::define(connection, &SchemaChange::Untrack(table.at.number).encode())?;
        let aside = forget(connection, table.at.number)?;
        Ok(format!(
            "{} is no longer replicated; its rows stay{}",
            table.name,
            aside.map_or_else(String::new, |name| {
                format!(", those that were hidden in {}", quote(&name))
            })
        ))
    })
}

/// Removes a table from the shadow tables, and its triggers. Answers where its hidden rows are,
/// if it had such.
pub(crate) fn forget(connection: &Connection, number: u32) -> Result<Option<String>> {
    let db = connection.db();
    let tables = connection.tables()?;
    let aside = match tables.get(number) {
        Some(table) => hidden::set_aside(db, table)?,
        None => None,
    };
    foreign_keys::let_go(db, &tables, number)?;
    let value = Value::Int(i64::from(number));
    triggers::drop_all(db, number)?;
    blob_writes::allow(db, number)?;
    // The row stays as a mark that the number was used, and for what: numbers are never given
    // twice, and a table tracked again takes the place of the one that was.
    db.run("DELETE FROM main.nuda_column WHERE number = ?", &[value])?;
    db.run(
        "UPDATE main.nuda_table SET name = 'untracked ' || number || ' ' || name, \
         kind = 'untracked' WHERE number = ? AND kind <> 'untracked'",
        &[value],
    )?;
    connection.forget_tables();
    Ok(aside)
}

/// `nuda_column(table, column, type[, rules])`: says the type where the declaration cannot.
pub(crate) fn set_column(
    connection: &Rc<Connection>,
    table: &str,
    column: &str,
    (kind, rules): (&str, Option<&str>),
) -> Result<String> {
    let db = connection.db();
    if !shadow::is_replica(db)? {
        init(connection, None)?;
    }
    let tables = connection.tables()?;
    let is_replicated = |table: &Rc<Table>| table.position(column).is_some();
    if tables.by_name(table).is_some_and(is_replicated) {
        return Err(Error::refused(format!(
            "{table}.{column} is replicated already, and a column keeps its type; set it before \
             nuda_track('{table}'), or in the transaction that adds the column"
        )));
    }
    let known = db.int(
        "SELECT count(*) FROM pragma_table_xinfo(?) WHERE name = ? COLLATE NOCASE",
        &[
            Value::Text(table.as_bytes()),
            Value::Text(column.as_bytes()),
        ],
    )?;
    if known == 0 {
        return Err(Error::refused(format!("no such column: {table}.{column}")));
    }
    let chosen = inspect::chosen_type(column, kind, rules)?;
    let name = folded_name(&format!("{table}.{column}"));
    evolve::choose(db, &name, &chosen)?;
    Ok(format!("{table}.{column} is {chosen}"))
}

/// `nuda_eject()`: removes every trace, and leaves the user's tables as they are.
pub(crate) fn eject(connection: &Rc<Connection>) -> Result<String> {
    let db = connection.db();
    let state = shadow::state(db)?;
    if !connection.capture()?.buffer.is_empty() {
        return Err(Error::refused("end the open transaction first"));
    }
    let mut kept = Vec::new();
    atomically(db, || {
        for table in connection.tables()?.sorted() {
            kept.extend(hidden::set_aside(db, &table)?.as_deref().map(quote));
        }
        let ours = db.all(
            "SELECT type, name FROM main.sqlite_schema WHERE \
             (type = 'trigger' AND name GLOB 'nuda_[0-9]*') \
             OR (type = 'table' AND name GLOB 'nuda_capture_[0-9]*')",
            &[],
        )?;
        for table in connection.tables()?.sorted() {
            blob_writes::allow(db, table.at.number)?;
        }
        for object in ours {
            if let [OwnedValue::Text(kind), OwnedValue::Text(name)] = object.as_slice() {
                let kind = String::from_utf8_lossy(kind);
                db.exec(&format!(
                    "DROP {kind} main.{}",
                    quote(&String::from_utf8_lossy(name))
                ))?;
            }
        }
        for (kind, name) in shadow::OBJECTS {
            db.exec(&format!("DROP {kind} IF EXISTS main.{name}"))?;
        }
        connection.forget_tables();
        Ok(())
    })?;
    connection.forget_statements();
    connection.look_for_replica();
    let unshipped = if state.node.is_empty() {
        ""
    } else {
        "; changes not shipped yet are gone"
    };
    let kept = if kept.is_empty() {
        String::new()
    } else {
        format!("; rows that were hidden are in {}", kept.join(", "))
    };
    Ok(format!("no trace of NUDA is left{unshipped}{kept}"))
}

/// Whether a name is short enough for a member list.
pub(crate) fn valid_members(members: &str) -> bool {
    members.len() <= limits::DEFINITION_BYTES
        && members.split(',').all(|name| is_valid_name(name.trim()))
}
