//! What a replica keeps besides what it applied, and under which sites it wrote.
//!
//! Both matter when a member begins anew: what its donor keeps of it will be applied, and only what
//! it wrote itself is made again, by it alone.

use nuda_core::version_vector::VersionVector;

use super::{EARLIER_SITES, OWN_SITES, Replica, vector};
use crate::error::Result;

/// As which node, and from which version of the list on, this content is a member's.
const LIFE: &str = "life";

impl Replica {
    /// Up to where whole changesets wait, of each site of which some do.
    pub(crate) fn waiting_vector(&self) -> Result<VersionVector> {
        let mut statement = self.conn.prepare_cached("SELECT nuda_waiting_vector()")?;
        let text: String = statement.query_row([], |row| row.get(0))?;
        vector(&text)
    }

    /// The list's version when this node joined with the content that the file has; `None` if the file does not say.
    pub(crate) fn life(&self, node: &str) -> Result<Option<u64>> {
        let kept = self.kept_text(LIFE)?;
        let life = kept.split_once(' ').filter(|(_, of)| *of == node);
        Ok(life.and_then(|(joined, _)| joined.parse().ok()))
    }

    /// Keeps that.
    pub(crate) fn keep_life(&self, node: &str, joined: u64) -> Result<()> {
        self.keep(LIFE, &format!("{joined} {node}"))
    }

    /// Drops what came of changesets that do not count as stored.
    pub(crate) fn drop_unstored(&self) -> Result<()> {
        let drop = "SELECT nuda_drop_unstored()";
        Ok(self.conn.query_row(drop, [], |_| Ok(()))?)
    }

    /// Applies what waits and can be applied now; answers how many changesets.
    pub(crate) fn retry(&self) -> Result<u64> {
        let retry = "SELECT nuda_retry() ->> 'applied'";
        Ok(self.conn.query_row(retry, [], |row| row.get(0))?)
    }

    /// All sites under which this replica ever wrote, also before it was re-seeded, as
    /// [`Self::keep_earlier_sites`] takes them.
    pub(crate) fn all_sites(&self) -> Result<String> {
        let (own, earlier) = (self.kept_text(OWN_SITES)?, self.kept_text(EARLIER_SITES)?);
        let present = self.site()?.to_string();
        let all: Vec<&str> = [earlier.as_str(), own.as_str(), present.as_str()]
            .into_iter()
            .filter(|sites| !sites.is_empty())
            .collect();
        Ok(all.join(","))
    }

    /// Keeps, in a snapshot that is to be this replica, the sites under which it wrote before.
    pub(crate) fn keep_earlier_sites(&self, sites: &str) -> Result<()> {
        self.keep(EARLIER_SITES, sites)
    }
}
