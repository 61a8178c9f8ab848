//! The partitions of this node, by name and by id.
//!
//! A partition is here as soon as its file is; its id is known once the file was opened. A
//! partition whose file is gone stays until the process ends: the file may come back, and
//! its id must then be the same.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use nuda_core::site::PartitionId;

use crate::dir::DataDir;
use crate::error::{Error, Result};
use crate::partition::Partition;

#[derive(Default)]
struct Maps {
    by_name: HashMap<String, Arc<Partition>>,
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
        let mut all: Vec<_> = maps.by_name.values().map(Arc::clone).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}
