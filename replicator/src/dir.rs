//! A node's directory: partitions as `NAME.db`, everything of the daemon in `.nuda/`.
//!
//! What lives where, the lock that admits one daemon per directory, and the node's lasting
//! identity (a name for people, a random id that tells two nodes of one name apart). No
//! other file builds a path from a name; names are checked here, so none can leave the
//! directory.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nuda_core::site::is_valid_name;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Who a node is, for as long as its directory lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The name in membership lists.
    pub(crate) name: String,
    /// Random; two nodes that claim one name differ here.
    pub(crate) id: String,
}

/// The directory of one node.
#[derive(Debug, Clone)]
pub(crate) struct DataDir {
    root: PathBuf,
}

impl DataDir {
    /// Names the directory; touches nothing.
    pub(crate) fn at(root: &Path) -> Self {
        Self {
            root: std::path::absolute(root).unwrap_or_else(|_| root.to_path_buf()),
        }
    }

    /// Makes the directory and `.nuda/` in it.
    pub(crate) fn create(&self) -> Result<()> {
        let private = self.private();
        fs::create_dir_all(&self.root)
            .and_then(|()| {
                let mut builder = fs::DirBuilder::new();
                builder.recursive(true).mode(0o700);
                builder.create(&private)?;
                builder.create(self.temporary())
            })
            .map_err(|e| {
                Error::refused(format!(
                    "cannot make the directory {}; {e}; choose one you may write with --dir",
                    private.display()
                ))
            })
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn private(&self) -> PathBuf {
        self.root.join(".nuda")
    }

    /// Snapshots on their way in or out.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.private().join("tmp")
    }

    /// The socket of the command line.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.private().join("control.sock")
    }

    /// The socket that writers poke.
    pub(crate) fn strong_socket(&self) -> PathBuf {
        self.private().join(nuda_core::control::SOCKET)
    }

    /// The socket on which wake-ups arrive.
    pub(crate) fn wake_socket(&self) -> PathBuf {
        self.private().join("wake.sock")
    }

    /// The known nodes.
    pub(crate) fn nodes_file(&self) -> PathBuf {
        self.private().join("nodes.json")
    }

    /// The default configuration file.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.root.join("nuda.toml")
    }

    /// A copy of a replica made before it was re-seeded.
    pub(crate) fn set_aside_file(&self, partition: &str, now_ms: u64) -> PathBuf {
        self.private().join(format!("{partition}.{now_ms}.aside"))
    }

    /// How far the daemon has read a partition's own site; the extension looks at it too.
    pub(crate) fn head_note(&self, partition: &str) -> PathBuf {
        self.private().join(format!("{partition}.head"))
    }

    /// The set-aside copy of this file name, which was read from a partition's file.
    pub(crate) fn set_aside(&self, file: &str) -> Result<PathBuf> {
        if file.ends_with(".aside") && !file.contains('/') {
            Ok(self.private().join(file))
        } else {
            Err(Error::refused(format!(
                "\"{}\" is no set-aside file",
                file.escape_debug()
            )))
        }
    }

    /// Keeps a set-aside copy for people, under a name that nothing here removes.
    pub(crate) fn keep_set_aside(&self, aside: &Path) -> Result<PathBuf> {
        let kept = aside.with_extension("kept");
        if aside.is_file() {
            fs::rename(aside, &kept)?;
        }
        Ok(kept)
    }

    /// Removes set-aside copies of a partition that an interrupted re-seed left: its file does
    /// not need them.
    pub(crate) fn clear_set_aside(&self, partition: &str) {
        let Ok(entries) = fs::read_dir(self.private()) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            // With the companions that SQLite gave it.
            let leftover = name.to_str().and_then(|n| n.split_once(".aside"));
            let of = leftover
                .and_then(|(n, _)| n.rsplit_once('.'))
                .map(|(of, _)| of);
            if of == Some(partition)
                && let Err(e) = fs::remove_file(entry.path())
            {
                tracing::warn!(file = %entry.path().display(), error = %e, "cannot remove a leftover file");
            }
        }
    }

    /// The file of a partition.
    pub(crate) fn partition_file(&self, name: &str) -> Result<PathBuf> {
        if is_valid_name(name) {
            Ok(self.root.join(format!("{name}.db")))
        } else {
            Err(Error::refused(format!(
                "\"{}\" is no partition name; use 1 to 100 of A-Z a-z 0-9 _ - . and begin with a letter or digit",
                name.chars().take(120).collect::<String>().escape_debug()
            )))
        }
    }

    /// The partition that a file name belongs to: `x.db`, `x.db-wal`.
    pub(crate) fn partition_of(file_name: &str) -> Option<&str> {
        let name = file_name
            .strip_suffix("-wal")
            .unwrap_or(file_name)
            .strip_suffix(".db")?;
        is_valid_name(name).then_some(name)
    }

    /// Admits one daemon: the lock is held as long as the answer lives.
    pub(crate) fn lock(&self) -> Result<File> {
        let path = self.private().join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => Err(Error::refused(format!(
                "{} is served already; another nuda process holds its lock; stop that one or use another --dir",
                self.root.display()
            ))),
            Err(fs::TryLockError::Error(e)) => Err(e.into()),
        }
    }

    /// Removes what an earlier process left half-made.
    pub(crate) fn clear_temporary(&self) {
        if let Ok(entries) = fs::read_dir(self.temporary()) {
            for entry in entries.flatten() {
                if let Err(e) = fs::remove_file(entry.path()) {
                    tracing::warn!(file = %entry.path().display(), error = %e, "cannot remove a leftover file");
                }
            }
        }
    }

    /// When this process began, later than every earlier one of this directory said: of two
    /// addresses others believe the later one, also if the clock was set back in between.
    pub(crate) fn boot_ms(&self, wall_ms: u64) -> Result<u64> {
        let path = self.private().join("boot");
        let before = fs::read_to_string(&path).ok();
        let before: Option<u64> = before.and_then(|text| text.trim().parse().ok());
        let boot_ms = before.map_or(wall_ms, |before| wall_ms.max(before.saturating_add(1)));
        write_atomically(&path, format!("{boot_ms}\n").as_bytes())?;
        Ok(boot_ms)
    }

    /// The node's identity: read, or made at the first start. `name` is what the user said.
    pub(crate) fn identity(&self, name: Option<&str>) -> Result<Identity> {
        let path = self.private().join("node.json");
        if let Ok(text) = fs::read(&path) {
            let known: Identity =
                serde_json::from_slice(&text).map_err(|e| Error::from(e).during(path.display()))?;
            return match name {
                Some(wanted) if wanted != known.name => Err(Error::refused(format!(
                    "this node is called {} and cannot be renamed to {wanted}; other nodes know it by that name; start it with --name {}",
                    known.name, known.name
                ))),
                _ => Ok(known),
            };
        }
        let from_dir = self.root.file_name().and_then(|n| n.to_str());
        let name = name.or(from_dir).unwrap_or_default().to_owned();
        if !is_valid_name(&name) {
            return Err(Error::refused(format!(
                "\"{}\" is no node name; use 1 to 100 of A-Z a-z 0-9 _ - .; give one with --name",
                name.escape_debug()
            )));
        }
        let identity = Identity {
            name,
            id: crate::random::hex128(),
        };
        write_atomically(&path, &serde_json::to_vec_pretty(&identity)?)?;
        Ok(identity)
    }
}

/// Replaces a small file of the daemon's own so that a crash leaves the old or the new one.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    if let Some(parent) = path.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        let dir = DataDir::at(Path::new("/data/a"));
        for bad in ["../x", "a/b", "", ".nuda", "a\0b", &"x".repeat(101)] {
            assert!(dir.partition_file(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            dir.partition_file("org42").unwrap(),
            Path::new("/data/a/org42.db")
        );
        assert_eq!(DataDir::partition_of("org42.db-wal"), Some("org42"));
        assert_eq!(DataDir::partition_of("org42.db-shm"), None);
        assert_eq!(DataDir::partition_of("../org42.db"), None);
    }

    #[test]
    fn one_daemon_and_one_identity_per_directory() {
        let home = tempfile::tempdir().unwrap();
        let dir = DataDir::at(&home.path().join("a"));
        dir.create().unwrap();
        let first = dir.lock().unwrap();
        assert!(dir.lock().is_err());
        drop(first);
        assert!(dir.lock().is_ok());
        let identity = dir.identity(None).unwrap();
        assert_eq!(identity.name, "a");
        assert_eq!(dir.identity(Some("a")).unwrap(), identity);
        assert!(dir.identity(Some("b")).is_err());
        let boots = [1_000, 5, 2_000].map(|wall_ms| dir.boot_ms(wall_ms).unwrap());
        assert_eq!(boots, [1_000, 1_001, 2_000]);
    }
}
