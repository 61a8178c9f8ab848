//! The `nuda` program: daemon and command line.
//!
//! In reading order: `cli` (what is typed), `config`, `dir` (what lies where), `daemon` (the
//! life of a node), `node` (what its tasks share), `partition` (one partition's worker),
//! `sql` (the contract with the extension), `task` (background actions), `transport` (bytes
//! between nodes), `consensus` (the log of strong transactions), `peers` (the address list),
//! `control` (the command line's socket),
//! `status`, `health`, `metrics` (what can be seen). Replication decisions are in
//! `nuda_core::protocol`; capture and apply are in the extension. `broken` is for tests.

mod broken;
mod cli;
mod clock;
mod config;
mod consensus;
mod control;
mod daemon;
mod demo;
mod dir;
mod error;
mod extension;
mod health;
mod limits;
mod logging;
mod metrics;
mod node;
mod partition;
mod peers;
mod private_socket;
mod random;
mod registry;
mod sql;
mod status;
mod task;
mod transport;

/// Also SQLite's, since it takes the place of `malloc`. A daemon makes very many small things on one
/// thread and drops them on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run()
}
