//! The demonstration: three real nodes, concurrent writers, a cut, a crash, and the proof.
//!
//! Everything happens as a user would do it: separate `nuda serve` processes, writers with
//! plain SQLite connections that load the extension, the control socket for the rest. In
//! reading order: this file is the script, `cluster` the processes, `writer` the load,
//! `latency` the stopwatch.

mod cluster;
mod latency;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster::Cluster;
use writer::Writer;

use crate::control::Request;
use crate::error::{Error, Result};
use crate::sql::Replica;
use crate::status::NodeStatus;
use crate::task::create::Created;
use crate::task::verify::{Verdict, Verification};

const PARTITION: &str = "demo";
const NODES: [&str; 3] = ["a", "b", "c"];

/// Set by Ctrl-C: the script ends at the next step and cleans up.
type Interrupted = Arc<AtomicBool>;

/// Runs the demonstration; true if all replicas ended equal.
pub(crate) fn run(from: Option<PathBuf>, writing: Duration, keep: bool) -> Result<bool> {
    crate::extension::register()?;
    let interrupted = watch_interrupt();
    let home = tempfile::Builder::new().prefix("nuda-demo-").tempdir()?;
    let from = from.map(std::path::absolute).transpose()?;
    let mut cluster = Cluster::new(home.path());
    let equal = script(&mut cluster, from, writing, &interrupted);
    drop(cluster);
    if keep {
        say(&format!("kept in {}", home.keep().display()));
    }
    equal
}

fn script(
    cluster: &mut Cluster,
    from: Option<PathBuf>,
    writing: Duration,
    interrupted: &Interrupted,
) -> Result<bool> {
    for node in NODES {
        cluster.start(node)?;
    }
    say("three nodes a, b, c are running, each its own process");
    let created: Created = cluster.ask(
        "a",
        &Request::Create {
            name: PARTITION.to_owned(),
            on: NODES.map(str::to_owned).to_vec(),
            from,
            timeout_ms: 15_000,
        },
    )?;
    for (_, reason) in &created.untracked {
        say(&format!("not replicated: {reason}"));
    }
    for (_, reason) in &created.unkept {
        say(&format!("replicated without its FOREIGN KEYs: {reason}"));
    }
    let replica = Replica::open(&cluster.file("a"))?;
    writer::make_table(&replica)?;
    writer::await_table(&[cluster.file("b"), cluster.file("c")])?;
    let tables = created.tracked.len() + 1;
    say(&format!(
        "partition \"{PARTITION}\" with {tables} replicated tables is on all three"
    ));
    let latency = latency::measure(&cluster.file("a"), &cluster.file("b"), 200)?;
    say(&format!("a commit on a is visible on b after {latency}"));

    let writers = NODES
        .map(|node| Writer::start(node, cluster.file(node)))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let third = writing / 3;
    say("all three write: new rows, the same rows, the same counters");
    pause(third, interrupted)?;
    say("cut: c cannot talk to a and b; everybody goes on writing");
    cluster.cut("c", &["a", "b"])?;
    pause(third, interrupted)?;
    say("healed; now b's daemon is killed (kill -9) while its application writes on");
    cluster.cut("c", &[])?;
    cluster.kill("b")?;
    pause(third / 2, interrupted)?;
    cluster.start("b")?;
    say("b's daemon is back");
    pause(third / 2, interrupted)?;

    let mut written = Vec::new();
    for writer in writers {
        written.push(writer.finish()?);
    }
    say("writers stopped; waiting until all have seen the same changes");
    let began = Instant::now();
    let found: Verification = cluster.ask(
        "a",
        &Request::Verify {
            partition: PARTITION.to_owned(),
            timeout_ms: 60_000,
        },
    )?;
    let converged = began.elapsed();
    summary(cluster, &written, &latency, &found, converged)?;
    Ok(found.verdict == Verdict::Equal)
}

fn summary(
    cluster: &Cluster,
    written: &[writer::Written],
    latency: &latency::Latency,
    found: &Verification,
    converged: Duration,
) -> Result<()> {
    let mut bytes = 0;
    let mut conflicts = Vec::new();
    for node in NODES {
        let status: NodeStatus = cluster.ask(
            node,
            &Request::Status {
                partition: Some(PARTITION.to_owned()),
            },
        )?;
        bytes += status
            .counters
            .get("bytes_sent")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0);
        let counts = status.partitions.into_iter().filter_map(|p| p.counts);
        conflicts.push(counts.map(|c| c.conflicts).sum::<u64>().to_string());
    }
    let transactions: Vec<String> = written.iter().map(|w| w.transactions.to_string()).collect();
    let increments: i64 = written.iter().map(|w| w.increments).sum();
    let counted = writer::counter(&cluster.file("a"))?;
    say("");
    say(&format!(
        "transactions written on a, b, c   {}",
        transactions.join(", ")
    ));
    say(&format!(
        "conflicts recorded on a, b, c     {}",
        conflicts.join(", ")
    ));
    say(&format!(
        "counter: increments made, shown   {increments}, {counted}"
    ));
    say(&format!("replication latency when idle     {latency}"));
    say(&format!(
        "sent between nodes                {} kB",
        bytes / 1_000
    ));
    say(&format!(
        "time to converge after the load   {} ms",
        converged.as_millis()
    ));
    let verdict = match found.verdict {
        Verdict::Equal => "equal",
        Verdict::Different => "DIFFERENT",
        Verdict::Unknown => "not known",
    };
    say(&format!(
        "proof                             {verdict}: {}",
        found.why
    ));
    for member in &found.members {
        if let Some(digest) = &member.answer {
            let rows: u64 = digest.tables.iter().map(|t| t.rows).sum();
            say(&format!(
                "  {}: {} ({rows} rows)",
                member.node, digest.digest
            ));
        }
    }
    if increments != counted {
        return Err(Error::internal(
            "the counter lost increments; please report this with --keep",
        ));
    }
    Ok(())
}

fn say(text: &str) {
    eprintln!("{text}");
}

/// Sleeps, unless somebody pressed Ctrl-C.
fn pause(time: Duration, interrupted: &Interrupted) -> Result<()> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        if interrupted.load(Ordering::Relaxed) {
            return Err(Error::refused("interrupted; everything is cleaned up"));
        }
        std::thread::sleep(Duration::from_millis(20).min(time));
    }
    Ok(())
}

fn watch_interrupt() -> Interrupted {
    let interrupted = Interrupted::default();
    let flag = Arc::clone(&interrupted);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        if let Ok(runtime) = runtime
            && runtime.block_on(tokio::signal::ctrl_c()).is_ok()
        {
            flag.store(true, Ordering::Relaxed);
        }
    });
    interrupted
}
