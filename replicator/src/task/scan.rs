//! Looks over the directory now and then: a wake-up may have been lost, a file may be new.
//!
//! Only names, sizes and times are read (`stat`); opening a database file here would drop
//! SQLite's locks on it in this process. A file that did not change costs one `stat`.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

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

/// Scans for ever.
pub(crate) async fn run(node: Arc<Node>) {
    let mut seen = Seen::default();
    loop {
        let dir = node.dir.clone();
        let look = tokio::task::spawn_blocking(move || {
            let changed = seen.changed(&dir);
            (seen, changed)
        });
        let Ok((back, changed)) = look.await else {
            tracing::error!("the directory scan failed; changes are found by wake-ups only");
            return;
        };
        seen = back;
        for name in changed {
            match node.partitions.get(&name) {
                Some(partition) => {
                    partition.post(&node, Job::Wake);
                }
                None => enter(&node, &name),
            }
        }
        node.scanned.store(true, Ordering::Release);
        tokio::time::sleep(node.config.scan).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
