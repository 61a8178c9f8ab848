//! The measures that need running daemons, by name.

use std::path::Path;

use crate::cluster;
use crate::finding::Finding;
use crate::{Result, beside, clients, distance, failover, fair, idle, latency, strong};

/// In the order of the table.
pub(crate) const NAMES: [&str; 8] = [
    "latency", "idle", "strong", "clients", "failover", "fair", "beside", "distance",
];

/// Runs one of them. Without the program it says so and measures nothing.
pub(crate) fn run(name: &'static str, quick: bool) -> Result<Vec<Finding>> {
    let program = match cluster::program() {
        Ok(program) => program,
        Err(why) => return Ok(vec![Finding::skipped(name, name, &why)]),
    };
    measure(name, &program, quick)
}

fn measure(name: &'static str, program: &Path, quick: bool) -> Result<Vec<Finding>> {
    match name {
        "latency" => latency::run(program),
        "idle" => idle::run(program, quick),
        "strong" => strong::run(program),
        "clients" => clients::run(program),
        "failover" => failover::run(program),
        "fair" => fair::run(program),
        "beside" => beside::run(program),
        "distance" => distance::run(program),
        _ => Err(format!("no measure {name}").into()),
    }
}
