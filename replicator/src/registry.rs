//! The partitions of this node, by name and by id.
//!
//! A partition is here as soon as its file is; its id is known once the file was opened. A
//! partition whose file is gone stays until the process ends: the file may come back, and
//! its id must then be the same.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use nuda_core::site::PartitionId;

use crate::dir::DataDir;
use crate::error::{Error, Result};
use crate::partition::Partition;

#[derive(Default)]
struct Maps {
    by_name: BTreeMap<String, Arc<Partition>>,
    by_id: HashMap<PartitionId, String>,
}

/// All partitions.
#[derive(Default)]
pub(crate) struct Registry {
    maps: RwLock<Maps>,
}

impl Registry {
    /// The partition of this name, added if it is new.
    pub(crate) fn enter(&self, dir: &DataDir, name: &str) -> Result<Arc<Partition>> {
        if let Some(partition) = self.get(name) {
            return Ok(partition);
        }
        let path = dir.partition_file(name)?;
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        let partition = maps
            .by_name
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(Partition::new(name.to_owned(), path)));
        Ok(Arc::clone(partition))
    }

    /// The partition of this name.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Partition>> {
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        maps.by_name.get(name).map(Arc::clone)
    }

    /// The partition of this name, or a refusal that helps.
    pub(crate) fn expect_name(&self, name: &str) -> Result<Arc<Partition>> {
        self.get(name).ok_or_else(|| {
            Error::not_found(format!(
                "there is no partition {} on this node; see `nuda status` for those it holds",
                name.chars().take(100).collect::<String>().escape_debug()
            ))
        })
    }

    /// The partition of this name and id, or a refusal that helps.
    pub(crate) fn expect(&self, name: &str, id: &str) -> Result<Arc<Partition>> {
        let partition = self.expect_name(name)?;
        match partition.id() {
            Some(own) if own.to_string() == id => Ok(partition),
            Some(own) => Err(Error::refused(format!(
                "the partition {name} here is another one ({own}, not {}); rename one of the two files",
                id.chars().take(40).collect::<String>().escape_debug()
            ))),
            None => Err(Error::retry(format!(
                "the partition {name} is not opened here yet; try again"
            ))),
        }
    }

    /// The partition of this id.
    pub(crate) fn by_id(&self, id: PartitionId) -> Option<Arc<Partition>> {
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        let name = maps.by_id.get(&id)?;
        maps.by_name.get(name).map(Arc::clone)
    }

    /// Notes which id a partition's file carries.
    pub(crate) fn learn_id(&self, id: PartitionId, name: &str) {
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = maps.by_id.insert(id, name.to_owned())
            && other != name
        {
            tracing::error!(
                partition = name,
                other,
                "two files hold the same partition; remove the copy"
            );
        }
    }

    /// All partitions, ordered by name.
    pub(crate) fn all(&self) -> Vec<Arc<Partition>> {
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        maps.by_name.values().map(Arc::clone).collect()
    }

    /// The partitions whose id is known, besides these. None costs nothing.
    pub(crate) fn besides(&self, these: &HashSet<PartitionId>) -> Vec<Arc<Partition>> {
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        // An id that was learned stays.
        if maps.by_id.len() == these.len() {
            return Vec::new();
        }
        let others = maps.by_id.iter().filter(|(id, _)| !these.contains(id));
        others
            .filter_map(|(_, name)| maps.by_name.get(name).map(Arc::clone))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn besides_are_those_with_an_id_that_are_not_among_these() {
        let dir = DataDir::at(std::path::Path::new("/nowhere"));
        let registry = Registry::default();
        let mut known = HashSet::new();
        for (name, byte) in [("a", 1), ("b", 2), ("c", 3)] {
            registry.enter(&dir, name).unwrap();
            let id = PartitionId([byte; 16]);
            if name != "c" {
                registry.learn_id(id, name);
            }
        }
        let names = |known: &HashSet<PartitionId>| {
            let mut names: Vec<_> = registry
                .besides(known)
                .iter()
                .map(|p| p.name.clone())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(&known), ["a", "b"]);
        known.insert(PartitionId([1; 16]));
        assert_eq!(names(&known), ["b"]);
        known.insert(PartitionId([2; 16]));
        assert!(names(&known).is_empty());
        registry.learn_id(PartitionId([3; 16]), "c");
        assert_eq!(names(&known), ["c"]);
    }
}
