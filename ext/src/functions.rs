//! The SQL functions, each documented by the SQL that the user types.

use std::rc::Rc;

use nuda_core::site::{Dot, Site};
use nuda_core::value::{OwnedValue, Value};
use nuda_core::version_vector::VersionVector;

use crate::alter;
use crate::apply::{self, Outcome};
use crate::authority::{self, Authority};
use crate::canonical;
use crate::changes;
use crate::collect;
use crate::connection::Connection;
use crate::digest;
use crate::early;
use crate::error::{Error, Result};
use crate::ffi::function::{Scalar, register};
use crate::ffi::rows_table;
use crate::ffi::value::Args;
use crate::hidden_rows;
use crate::history;
use crate::identity;
use crate::json;
use crate::mend;
use crate::noticed;
use crate::rebuilt;
use crate::reissue;
use crate::renumber;
use crate::savepoint::{atomically, if_asked};
use crate::shadow::{self, Sites};
use crate::strong::{exec as execution, levels};
use crate::told;
use crate::track;
use crate::visible;
use crate::waiting;

/// Name, number of arguments (-1: any), whether views may use it, and what it does.
type Definition = (&'static str, i32, bool, Scalar);

const FUNCTIONS: &[Definition] = &[
    ("nuda_version", 0, true, version),
    ("nuda_debug", 0, false, debug),
    ("nuda_init", -1, false, init),
    ("nuda_join", 1, false, join),
    ("nuda_track", -1, false, track_table),
    ("nuda_trackable", -1, false, trackable),
    ("nuda_untrack", 1, false, untrack),
    ("nuda_column", -1, false, column),
    ("nuda_propose", 0, false, propose),
    ("nuda_hand_over", 0, false, hand_over),
    ("nuda_altered", 0, false, altered),
    ("nuda_alter", 1, false, alter_tables),
    ("nuda_problems", 0, true, problems),
    ("nuda_eject", 0, false, eject),
    ("nuda_uuid7", 0, true, uuid7),
    ("nuda_site", 0, true, site),
    ("nuda_version_vector", 0, true, version_vector),
    ("nuda_apply", -1, false, apply_changeset),
    ("nuda_apply_all", 1, false, apply_all),
    ("nuda_applier", 1, false, applier),
    ("nuda_applying", 0, true, applying),
    ("nuda_nested", -1, true, nested),
    ("nuda_canonical", 3, true, canonical_form),
    ("nuda_is_canonical", 3, true, is_canonical),
    ("nuda_told", 2, false, told_whole),
    ("nuda_head", 2, false, head),
    ("nuda_new_site", 1, false, new_site),
    ("nuda_heed_note", 0, false, heed_note),
    ("nuda_stamp_ms", 0, false, stamp_ms),
    ("nuda_followed_ms", 1, false, followed_ms),
    ("nuda_restamp", 2, false, restamp),
    ("nuda_reissue", 1, false, reissue),
    ("nuda_waiting_vector", 0, false, waiting_vector),
    ("nuda_retry", 0, false, retry),
    ("nuda_drop_unstored", 0, false, drop_unstored),
    ("nuda_set_members", 2, false, set_members),
    ("nuda_acknowledge", 2, false, acknowledge),
    ("nuda_collect", -1, false, collect_log),
    ("nuda_settle", 0, false, settle),
    ("nuda_digest", 0, false, digest_tables),
    ("nuda_write_consistency", -1, false, write_consistency),
    ("nuda_read_consistency", -1, false, read_consistency),
    ("nuda_timeout", -1, false, timeout),
    ("nuda_max_staleness", -1, false, max_staleness),
    ("nuda_session", -1, false, session),
    ("nuda_last_commit", 0, false, last_commit),
    ("nuda_txn_status", 1, false, txn_status),
    ("nuda_exec", -1, false, exec),
    ("nuda_ran_for", 1, false, ran_for),
];

/// Registers all functions and table-valued functions.
pub(crate) fn register_all(connection: &Rc<Connection>) -> Result<()> {
    for (name, arity, innocuous, call) in FUNCTIONS {
        register(connection, name, *arity, *innocuous, *call)?;
    }
    rows_table::register(connection, &changes::CHANGES_SINCE)?;
    rows_table::register(connection, &changes::CHANGES)?;
    rows_table::register(connection, &history::HISTORY)?;
    rows_table::register(connection, &hidden_rows::HIDDEN_ROWS)?;
    // Connected once, so that it is disconnected before the connection closes: that is when
    // cached statements are dropped. That reads the schema, which another process may have locked:
    // then nothing is kept until a table of ours is connected for its own sake.
    let _ = connection.db().prepare("SELECT 1 FROM nuda_changes_since");
    Ok(())
}

fn text(text: impl Into<String>) -> Result<OwnedValue> {
    Ok(OwnedValue::Text(text.into().into_bytes()))
}

#[inline(never)]
fn required<'a>(args: &Args<'a>, n: usize, what: &str) -> Result<&'a str> {
    args.text(n)
        .ok_or_else(|| Error::refused(format!("{what} is missing; it is a text")))
}

/// `SELECT nuda_version()`
fn version(_: &Rc<Connection>, _: Args<'_>) -> Result<OwnedValue> {
    text(env!("CARGO_PKG_VERSION"))
}

/// `SELECT nuda_debug()`: build, host SQLite, VFS and capture as JSON.
fn debug(connection: &Rc<Connection>, _: Args<'_>) -> Result<OwnedValue> {
    let db = connection.db();
    let host = db.text("SELECT sqlite_version()", &[])?.unwrap_or_default();
    let number = crate::ffi::entry::host_version();
    let warning = if nuda_vfs::wal_reset_bug(number) {
        json::text(
            "this SQLite can lose a committed transaction when two connections write and \
             checkpoint at the same moment (WAL-reset bug); use 3.51.3, 3.50.7, 3.44.6 or later",
        )
    } else {
        "null".to_owned()
    };
    let vfs = connection.file_facts();
    // While strong reads are refused nothing can be read, and this says why.
    let refused_read = connection.refusal();
    let tracked = match shadow::is_replica(db) {
        Ok(true) => connection.tables()?.sorted().len(),
        Err(error) if refused_read.is_none() => return Err(error),
        _ => 0,
    };
    let problems = match &refused_read {
        Some(_) => None,
        None => track::problems(connection)?,
    };
    let problems = problems.map_or_else(|| "null".to_owned(), |text| json::text(&text));
    text(format!(
        "{{\"version\":{},\"sqlite\":{},\"warning\":{warning},\"file\":{},\"vfs\":{vfs},\
         \"tracked_tables\":{tracked},\"captured_commits\":{},\"problems\":{problems},\"refused_read\":{}}}",
        json::text(env!("CARGO_PKG_VERSION")),
        json::text(&host),
        json::text(connection.path()),
        connection.captured_commits(),
        refused_read.map_or_else(|| "null".to_owned(), |why| json::text(&why)),
    ))
}

/// `SELECT nuda_init(['name'])`
fn init(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    text(track::init(connection, args.text(0))?.to_string())
}

/// `SELECT nuda_join('node')`: this file is that node's replica from here on.
fn join(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    let node = required(&args, 0, "the node's name")?;
    if !nuda_core::site::is_valid_name(node) {
        return Err(Error::refused(format!("'{node}' is no node name")));
    }
    let db = connection.db();
    let state = shadow::state(db)?;
    if state.node == node {
        return text(node);
    }
    atomically(db, || {
        // The first node to join is the founder's; a snapshot keeps the founder's name.
        db.run(
            "UPDATE main.nuda_state SET node = ?1, \
             founder = CASE WHEN founder = '' THEN ?1 ELSE founder END",
            &[Value::Text(node.as_bytes())],
        )?;
        if !state.node.is_empty() {
            crate::record::renew_site(connection, &state)?;
            db.exec(
                "DELETE FROM main.nuda_peers; DELETE FROM main.nuda_protocol; \
                 DELETE FROM main.nuda_conflicts",
            )?;
            early::forget_donors(connection)?;
        }
        Ok(())
    })?;
    text(node)
}

/// `SELECT nuda_track('table' [, 'eventual' [, 'options']])`
fn track_table(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    let name = required(&args, 0, "the table's name")?;
    let kind = args.text(1).unwrap_or("eventual");
    text(track::track(
        connection,
        name,
        kind,
        args.text(2).unwrap_or_default(),
    )?)
}

/// `SELECT nuda_trackable('table'[, 'options'])`: NULL, or why not.
fn trackable(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    let name = required(&args, 0, "the table's name")?;
    match track::trackable(connection, name, args.text(1).unwrap_or_default())? {
        Some(reason) => text(reason),
        None => Ok(OwnedValue::Null),
    }
}

/// `SELECT nuda_untrack('table')`
fn untrack(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    text(track::untrack(
        connection,
        required(&args, 0, "the table's name")?,
    )?)
}

/// `SELECT nuda_column('table', 'column', 'COUNTER')`, `nuda_column(.., 'DOC', '$.n counter')`
fn column(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    let table = required(&args, 0, "the table's name")?;
    let column = required(&args, 1, "the column's name")?;
    let kind = required(&args, 2, "the type")?;
    let rules = match args.len() {
        3 => None,
        4 => Some(required(
            &args,
            3,
            "what is said about places of the document",
        )?),
        _ => {
            return Err(Error::refused(
                "nuda_column takes a table, a column, a type, and rules of a DOC",
            ));
        }
    };
    text(track::set_column(connection, table, column, (kind, rules))?)
}

/// `SELECT nuda_propose()`: how many tables were altered by plain DDL, which is replicated now.
fn propose(connection: &Rc<Connection>, _: Args<'_>) -> Result<OwnedValue> {
    let count = track::propose(connection)?;
    Ok(OwnedValue::Int(i64::try_from(count).unwrap_or(i64::MAX)))
}

/// `SELECT nuda_altered()`: 1 if plain DDL altered tables in a way that waits for `nuda_propose()`.
fn altered(connection: &Rc<Connection>, _: Args<'_>) -> Result<OwnedValue> {
    let db = connection.db();
    let is_altered = shadow::is_replica(db)?
        && (rebuilt::is_open(connection)?
            || !track::altered(connection)?.is_empty()
            || early::is_any(db)?);
    Ok(OwnedValue::Int(i64::from(is_altered)))
}

/// `SELECT nuda_alter('ALTER TABLE ...; CREATE INDEX ...')`: how many statements changed replicated
/// tables. In a cluster for the leader only: applications call `nuda_exec`.
fn alter_tables(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    let count = alter::alter(
        connection,
        required(&args, 0, "the statement")?,
        Authority::Log,
    )?;
    Ok(OwnedValue::Int(i64::try_from(count).unwrap_or(i64::MAX)))
}

/// `SELECT nuda_hand_over()`: 1 if definitions go through the replicated log from here on.
fn hand_over(connection: &Rc<Connection>, _: Args<'_>) -> Result<OwnedValue> {
    Ok(OwnedValue::Int(i64::from(authority::hand_over(
        connection,
    )?)))
}

/// `nuda_problems()`: NULL, or what keeps tracked tables from being replicated.
fn problems(connection: &Rc<Connection>, _: Args<'_>) -> Result<OwnedValue> {
    track::problems(connection)?.map_or(Ok(OwnedValue::Null), text)
}

/// `SELECT nuda_eject()`
fn eject(connection: &Rc<Connection>, _: Args<'_>) -> Result<OwnedValue> {
    text(track::eject(connection)?)
}

/// `SELECT nuda_uuid7()`: a key that sorts by time (RFC 9562).
fn uuid7(connection: &Rc<Connection>, _: Args<'_>) -> Result<OwnedValue> {
    let random = connection.random()?;
    let ms = u128::from(identity::now_ms()) & ((1 << 48) - 1);
    let bits = (ms << 80)
        | (7 << 76)
        | ((random >> 50) & 0xfff) << 64
        | (0b10 << 62)
        | (random & ((1 << 62) - 1));
    let hex = format!("{bits:032x}");
    let piece = |from, to| hex.get(from..to).unwrap_or_default();
    text(
        [
            piece(0, 8),
            piece(8, 12),
            piece(12, 16),
            piece(16, 20),
            piece(20, 32),
        ]
        .join("-"),
    )
}

/// `SELECT nuda_site()`
fn site(connection: &Rc<Connection>, _: Args<'_>) -> Result<OwnedValue> {
    let db = connection.db();
    let state = shadow::state(db)?;
    let sites = Sites::load(db)?;
    let site = sites
        .by_id(state.site_id)
        .ok_or_else(|| shadow::damaged("nuda_site"))?;
    text(site.site.to_string())
}

/// `SELECT nuda_version_vector()`
fn version_vector(connection: &Rc<Connection>, _: Args<'_>) -> Result<OwnedValue> {
    let db = connection.db();
    let state = shadow::state(db)?;
    text(changes::applied(db, &state, &Sites::load(db)?)?.to_string())
}

/// `SELECT nuda_apply(changeset [, 'vector that it must have seen'])`: answers JSON.
fn apply_changeset(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    let Value::Blob(bytes) = args.get(0) else {
        return Err(Error::refused(
            "nuda_apply takes a changeset, which is a BLOB",
        ));
    };
    let must_cover = VersionVector::parse(args.text(1).unwrap_or_default())
        .ok_or_else(|| Error::refused("the second argument is no version vector"))?;
    let (dot, outcome) = apply::apply(connection, bytes, &must_cover)?;
    became(dot, outcome)
}

/// `SELECT nuda_apply_all(changesets)`: for the daemon. Answers what became of the first that cannot be applied at
/// all, or NULL.
fn apply_all(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    let Value::Blob(list) = args.get(0) else {
        return Err(Error::refused(
            "nuda_apply_all takes changesets, each after its length, in one BLOB",
        ));
    };
    match apply::apply_all(connection, list)? {
        Some((dot, outcome)) => became(dot, outcome),
        None => Ok(OwnedValue::Null),
    }
}

/// What became of a changeset, as JSON.
fn became(dot: Dot, outcome: Outcome) -> Result<OwnedValue> {
    let mut needs = "";
    let (status, applied, reason) = match outcome {
        Outcome::Applied(n) => ("applied", n, None),
        Outcome::Duplicate => ("duplicate", 0, None),
        Outcome::Waiting(need, why) => {
            needs = need.word();
            ("waiting", 0, Some(why))
        }
        Outcome::Stale(why) => ("stale", 0, Some(why)),
        Outcome::Fork(why) => ("fork", 0, Some(why)),
        Outcome::Corrupt(why) => return Err(Error::corrupt(why)),
    };
    let needs = if needs.is_empty() {
        String::new()
    } else {
        format!(",\"needs\":\"{needs}\"")
    };
    let reason = reason.map_or_else(|| "null".to_owned(), |why| json::text(&why));
    text(format!(
        "{{\"status\":\"{status}\",\"dot\":\"{dot}\",\"applied\":{applied}{needs},\"reason\":{reason}}}"
    ))
}

/// `SELECT nuda_applier(1)`: this connection only applies.
fn applier(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    let on = args.int(0) == Some(1);
    connection.set_dedicated(on)?;
    Ok(OwnedValue::Int(i64::from(on)))
}

/// `nuda_applying()`, in guard triggers.
fn applying(connection: &Rc<Connection>, _: Args<'_>) -> Result<OwnedValue> {
    Ok(OwnedValue::Int(i64::from(connection.is_guarded())))
}

/// `nuda_nested(write, table, key...)`, in guard triggers.
fn nested(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    Ok(OwnedValue::Int(i64::from(connection.guard.is_nested(args))))
}

/// `nuda_canonical(table, column, value)`, in the triggers of tables with sets.
fn canonical_form(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    canonical::canonical(connection, args)
}

/// `nuda_is_canonical(table, column, value)`, in the triggers of tables with sets.
fn is_canonical(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    canonical::is_canonical(connection, args)
}

/// `SELECT nuda_head('site', seq)`: the chain hash there, or NULL.
fn head(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    let site = Site::parse(required(&args, 0, "the site")?)
        .ok_or_else(|| Error::refused("a site is 16 hexadecimal digits"))?;
    let seq = args.int(1).and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    match apply::head_hash(connection.db(), site, seq)? {
        Some(hash) => text(hash.to_string()),
        None => Ok(OwnedValue::Null),
    }
}

/// `SELECT nuda_new_site(keep)`
fn new_site(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    let keep = args
        .int(0)
        .and_then(|n| u64::try_from(n).ok())
        .ok_or_else(|| Error::refused("the last number to keep is missing"))?;
    let moved = renumber::renumber(connection, keep)?;
    text(format!("{{\"renumbered\":{moved}}}"))
}

/// `SELECT nuda_heed_note()`: 1 if the file took a new site because it is older than what the
/// daemon had noted of it.
fn heed_note(connection: &Rc<Connection>, _: Args<'_>) -> Result<OwnedValue> {
    let db = connection.db();
    let here = || {
        let state = shadow::state(db)?;
        let own = changes::own_head(db, &state)?;
        Ok((state, Sites::load(db)?, own.seq))
    };
    let heeded = if_asked(
        db,
        || {
            here()
                .and_then(|(state, sites, own)| noticed::is_behind(connection, &state, &sites, own))
        },
        || here().and_then(|(state, sites, own)| noticed::heed(connection, &state, &sites, own)),
    )?;
    Ok(OwnedValue::Int(i64::from(heeded)))
}

/// `SELECT nuda_stamp_ms()`: the wall time in the stamp of this file's newest own changeset.
fn stamp_ms(connection: &Rc<Connection>, _: Args<'_>) -> Result<OwnedValue> {
    let db = connection.db();
    let state = shadow::state(db)?;
    let own = changes::own_head(db, &state)?;
    Ok(OwnedValue::Int(shadow::to_i64(own.stamp.millis())))
}

/// `SELECT nuda_followed_ms(keep)`: the wall time in the latest stamp that own changesets after `keep` come after.
fn followed_ms(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    let Some(keep) = args.int(0).and_then(|n| u64::try_from(n).ok()) else {
        return Err(Error::refused("nuda_followed_ms takes a number to keep"));
    };
    let db = connection.db();
    let followed = mend::followed(db, &shadow::state(db)?, keep)?;
    Ok(OwnedValue::Int(shadow::to_i64(followed.millis())))
}

/// `SELECT nuda_restamp(keep, max_ms)`
fn restamp(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    let number = |n: usize| args.int(n).and_then(|n| u64::try_from(n).ok());
    let (Some(keep), Some(max_ms)) = (number(0), number(1)) else {
        return Err(Error::refused(
            "nuda_restamp takes a number to keep and milliseconds",
        ));
    };
    let count = mend::restamp(connection, keep, max_ms)?;
    text(format!("{{\"restamped\":{count}}}"))
}

/// `SELECT nuda_waiting_vector()`: up to where whole changesets wait, of each site of which some do.
fn waiting_vector(connection: &Rc<Connection>, _: Args<'_>) -> Result<OwnedValue> {
    text(waiting::vector(connection.db())?.to_string())
}

/// `SELECT nuda_drop_unstored()`: drops what came of changesets that do not count as stored.
fn drop_unstored(connection: &Rc<Connection>, _: Args<'_>) -> Result<OwnedValue> {
    let db = connection.db();
    atomically(db, || waiting::drop_unstored(db))?;
    Ok(OwnedValue::Null)
}

/// `SELECT nuda_retry()`: applies what waits and can be applied now.
fn retry(connection: &Rc<Connection>, _: Args<'_>) -> Result<OwnedValue> {
    let applied = apply::retry(connection)?;
    text(format!("{{\"applied\":{applied}}}"))
}

/// `SELECT nuda_reissue('path of the old file')`
fn reissue(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    let count = reissue::reissue(connection, required(&args, 0, "the old file's path")?)?;
    text(format!("{{\"reissued\":{count}}}"))
}

/// `SELECT nuda_set_members(version, 'a,b,c')`: the higher version wins.
fn set_members(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    let version = args
        .int(0)
        .ok_or_else(|| Error::refused("the list's version is missing"))?;
    let members = required(&args, 1, "the member list")?;
    if !track::valid_members(members) {
        return Err(Error::refused(format!(
            "'{members}' is no list of node names: 'a,b,c'"
        )));
    }
    let db = connection.db();
    shadow::state(db)?;
    db.run(
        "UPDATE main.nuda_state SET members = ?, members_version = ?2 WHERE members_version < ?2",
        &[Value::Text(members.as_bytes()), Value::Int(version)],
    )?;
    Ok(OwnedValue::Int(
        db.int("SELECT members_version FROM main.nuda_state", &[])?,
    ))
}

/// `SELECT nuda_acknowledge('node', 'vector')`: 1 if the report counts already.
fn acknowledge(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    let node = required(&args, 0, "the node's name")?;
    let accepted = collect::acknowledge(connection, node, required(&args, 1, "the vector")?)?;
    Ok(OwnedValue::Int(i64::from(accepted)))
}

/// `SELECT nuda_collect(['vector'])`
fn collect_log(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    let (dropped, frontier) = collect::collect(connection, args.text(0))?;
    text(format!(
        "{{\"dropped\":{dropped},\"frontier\":{}}}",
        json::text(&frontier)
    ))
}

/// `SELECT nuda_told(told, base)`: a header or body of `nuda_log` that is told by another one.
fn told_whole(_: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    told::whole(args.get(0), args.get(1)).map(OwnedValue::Blob)
}

/// `SELECT nuda_settle()`: shows the rows that what was written here has set free; 1 if it looked.
fn settle(connection: &Rc<Connection>, _: Args<'_>) -> Result<OwnedValue> {
    let db = connection.db();
    if !shadow::is_replica(db)? {
        return Ok(OwnedValue::Int(0));
    }
    let looked = if_asked(
        db,
        || visible::is_unsettled(connection),
        || visible::settle_own(connection),
    )?;
    Ok(OwnedValue::Int(i64::from(looked)))
}

/// `SELECT nuda_digest()`
fn digest_tables(connection: &Rc<Connection>, _: Args<'_>) -> Result<OwnedValue> {
    text(digest::digest(connection)?)
}

/// `SELECT nuda_write_consistency(['level'])`
fn write_consistency(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    text(connection.setting(levels::WRITE, args.text(0))?)
}

/// `SELECT nuda_read_consistency(['level'])`
fn read_consistency(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    text(connection.setting(levels::READ, args.text(0))?)
}

/// `SELECT nuda_timeout([ms])`
fn timeout(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    milliseconds(connection, levels::TIMEOUT, args)
}

/// `SELECT nuda_max_staleness([ms])`
fn max_staleness(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    milliseconds(connection, levels::STALENESS, args)
}

fn milliseconds(connection: &Rc<Connection>, name: &str, args: Args<'_>) -> Result<OwnedValue> {
    let number = args.int(0).map(|ms| ms.to_string());
    let value = args.text(0).or(number.as_deref());
    text(connection.setting(name, value)?)
}

/// `SELECT nuda_session(['token'])`: joins the token; the token of what was seen and written here.
fn session(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    let token = (args.len() > 0).then(|| required(&args, 0, "the token"));
    let session = connection.session();
    text(session.token(connection.db(), token.transpose()?)?)
}

/// `SELECT nuda_last_commit()`: this connection's last commit as JSON, or NULL.
fn last_commit(connection: &Rc<Connection>, _: Args<'_>) -> Result<OwnedValue> {
    match connection.session().last_commit() {
        Some(json) => text(json),
        None => Ok(OwnedValue::Null),
    }
}

/// `SELECT nuda_exec('sql', args...)`: runs it at the leader, as a strong transaction of its own.
fn exec(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    let sql = required(&args, 0, "the statement")?;
    text(execution::exec(connection, sql, args.skip(1))?)
}

/// `nuda_ran_for(statements)`: the daemon says for whom it runs the transaction, at its beginning and when
/// it is about to commit.
fn ran_for(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    let Value::Blob(encoded) = args.get(0) else {
        return Err(Error::refused(
            "the statements are missing; they are a blob",
        ));
    };
    connection.session().ran_for(encoded)?;
    Ok(OwnedValue::Null)
}

/// `SELECT nuda_txn_status('id')`: committed, aborted or expired.
fn txn_status(connection: &Rc<Connection>, args: Args<'_>) -> Result<OwnedValue> {
    let id = required(&args, 0, "the transaction's id")?;
    text(connection.session().txn_status(connection.db(), id)?)
}
