//! Looks over the directory now and then: a wake-up may have been lost, a file may be new.
//!
//! Only names, sizes and times are read (`stat`); opening a database file here would drop
//! SQLite's locks on it in this process. A file that did not change costs one `stat`; with very
//! many files the looks become rarer, so that they take a bounded part of a core.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::dir::DataDir;
use crate::node::Node;
use crate::partition::Job;

type Mark = (u64, i64, i64);

/// What the last look found: the mark of each `NAME.db-wal` and `NAME.db`.
#[derive(Default)]
struct Seen {
    marks: HashMap<String, Mark>,
}

impl Seen {
    /// The partitions whose files changed since the last look.
    fn changed(&mut self, dir: &DataDir) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(dir.root()) else {
            return Vec::new();
        };
        let mut changed = Vec::new();
        for entry in entries.flatten() {
            let file = entry.file_name();
            let Some(name) = file.to_str().and_then(DataDir::partition_of) else {
                continue;
            };
            let Ok(meta) = entry.metadata() else { continue };
            if !meta.is_file() {
                continue;
            }
            let mark = (meta.len(), meta.mtime(), meta.mtime_nsec());
            let file = file.to_string_lossy();
            if self.marks.get(file.as_ref()) != Some(&mark) {
                changed.push(name.to_owned());
                self.marks.insert(file.into_owned(), mark);
            }
        }
        changed.sort_unstable();
        changed.dedup();
        changed
    }
}

/// Makes the partitions known whose files are there, before anybody asks for one.
pub(crate) fn begin(node: &Node) {
    for name in Seen::default().changed(&node.dir) {
        if let Err(e) = node.partitions.enter(&node.dir, &name) {
            tracing::warn!(file = name, error = %e, "ignored a file");
        }
    }
}

/// Adds a partition whose file has appeared.
pub(crate) fn enter(node: &Arc<Node>, name: &str) {
    let Ok(path) = node.dir.partition_file(name) else {
        return;
    };
    if !path.is_file() {
        return;
    }
    match node.partitions.enter(&node.dir, name) {
        Ok(partition) => {
            partition.post(node, Job::Wake);
        }
        Err(e) => tracing::warn!(file = name, error = %e, "ignored a file"),
    }
}

/// A look may take this part of the time until the next one.
const SHARE: u32 = 1_000;

/// The pause after a look that took so long; never more than ten times the configured one.
fn pause(configured: Duration, took: Duration) -> Duration {
    (took * SHARE).clamp(configured, configured * 10)
}

/// Scans for ever.
pub(crate) async fn run(node: Arc<Node>) {
    let mut seen = Seen::default();
    loop {
        let dir = node.dir.clone();
        let began = Instant::now();
        let look = tokio::task::spawn_blocking(move || {
            let changed = seen.changed(&dir);
            (seen, changed)
        });
        let Ok((back, changed)) = look.await else {
            tracing::error!("the directory scan failed; changes are found by wake-ups only");
            return;
        };
        seen = back;
        let pause = pause(node.config.scan, began.elapsed());
        for name in changed {
            match node.partitions.get(&name) {
                Some(partition) => {
                    partition.post(&node, Job::Wake);
                }
                None => enter(&node, &name),
            }
        }
        node.scanned.store(true, Ordering::Release);
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_looks_are_rarer_within_bounds() {
        let ms = Duration::from_millis;
        assert_eq!(pause(ms(1_000), ms(0)), ms(1_000));
        assert_eq!(pause(ms(1_000), ms(3)), ms(3_000));
        assert_eq!(pause(ms(1_000), ms(500)), ms(10_000));
    }

    #[test]
    fn only_what_changed() {
        let home = tempfile::tempdir().unwrap();
        let dir = DataDir::at(home.path());
        let mut seen = Seen::default();
        for file in ["a.db", "b.db", "b.db-shm", "note.txt", ".x.db"] {
            std::fs::write(home.path().join(file), "1").unwrap();
        }
        assert_eq!(seen.changed(&dir), ["a", "b"]);
        assert!(seen.changed(&dir).is_empty());
        std::fs::write(home.path().join("b.db-wal"), "22").unwrap();
        assert_eq!(seen.changed(&dir), ["b"]);
        assert!(seen.changed(&dir).is_empty());
    }
}
