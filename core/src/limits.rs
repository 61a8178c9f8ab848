//! Every bound of the system, each with its reason.
//!
//! A bound is checked before memory is allocated for what it bounds. The numbers are part of
//! the format: a node refuses what exceeds them, so raising one needs a new format version.

/// Largest body of one part of a changeset, in bytes. A transaction of any size is written
/// and shipped as parts, so that no step needs the whole of it in memory.
pub const PART_BYTES: usize = 64 << 20;

/// The writer starts a new part once its buffer holds this many bytes (a single row may
/// exceed it). Small against the 64 MiB that a transaction may add to the writer's memory.
pub const SPILL_BYTES: usize = 1 << 20;

/// Parts per changeset: 14 bits of the log's key. Part numbers are below it.
pub const PARTS: u32 = 1 << 14;

/// Sequence numbers per site: 34 bits of the log's key. Every number is below it.
pub const SEQ: u64 = 1 << 34;

/// Site incarnations that one file can know: 15 bits of the log's key.
pub const SITES: u32 = 1 << 15;

/// One value. SQLite's own default limit is 1,000,000,000; a part must hold a whole row.
pub const VALUE_BYTES: usize = 48 << 20;

/// What one change can add to a counter, either way: the distance between the least and the
/// greatest 64-bit integer. A sum of such differences would need 2^63 of them to leave 128
/// bits, so sums never overflow and never depend on the order of arrival.
pub const DIFFERENCE: u64 = u64::MAX;

/// Arrays and objects within each other in one JSON value: SQLite's own limit.
pub const JSON_DEPTH: usize = 1_000;

/// The same in a document that is merged by path. Its tree is walked by recursion, with up to 6 kB of
/// stack for a level; a host's thread may have 2 MB.
pub const DOCUMENT_DEPTH: usize = 250;

/// Columns of a table: SQLite's own default.
pub const COLUMNS: usize = 2_000;

/// Columns of a primary key.
pub const KEY_COLUMNS: usize = 64;

/// Length of a table or column name, in bytes.
pub const NAME_BYTES: usize = 1_024;

/// Length of a definition (the text of CREATE TABLE), in bytes.
pub const DEFINITION_BYTES: usize = 1 << 20;

/// Entries of a version vector in one message.
pub const VECTOR_ENTRIES: usize = SITES as usize;

/// Length of an author's name, in bytes.
pub const AUTHOR_BYTES: usize = 255;

/// A changeset's header: dependencies are the only part that grows.
pub const HEADER_BYTES: usize = 1 << 20;

/// A stamp this far ahead of a node's clock raises an alarm, in milliseconds.
pub const CLOCK_AHEAD_MS: u64 = 60_000;

/// Rows kept in `nuda_conflicts`; the oldest go first.
pub const CONFLICTS: u64 = 10_000;

/// Bytes of a value that are kept in `nuda_conflicts`; of a longer one the beginning.
pub const CONFLICT_BYTES: usize = 64 << 10;

/// One strong transaction as it is proposed, with the eventual changes it saw that the log
/// lacks. Every voter writes it to its log before anybody is answered, and the local file's
/// write lock is held for that long.
pub const PROPOSAL_BYTES: usize = 16 << 20;

/// Outcomes of transactions that a consensus group keeps: minutes under load, and some
/// megabytes. An older id is answered `expired`.
pub const OUTCOMES: usize = 1 << 16;

/// Sites that ever wrote a quorum transaction of a partition: a file knows no more sites.
pub const LANES: usize = SITES as usize;

/// What one statement that is run for a client may answer. It travels in the log.
pub const RESULT_BYTES: usize = 1 << 20;

/// Answers of such statements that a consensus group keeps in all; the oldest go first.
pub const RESULTS_BYTES: usize = 4 << 20;

/// The text of such a statement or batch, and its arguments, in bytes.
pub const STATEMENT_BYTES: usize = 8 << 20;

/// Arguments of one call: SQLite's own limit.
pub const ARGUMENTS: usize = 32_766;

/// Statements of clients that are run in one transaction.
pub const GROUPED_STATEMENTS: usize = 256;

/// Partitions that one consensus group orders.
pub const GROUP_PARTITIONS: usize = 1 << 20;
