//! Others' changes, brought into a file.

use rusqlite::params;
use serde::Deserialize;

use super::Replica;
use crate::error::Result;

/// What `nuda_apply` says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) applied: u64,
    /// What one that waits needs.
    #[serde(default)]
    pub(crate) needs: Option<Need>,
    #[serde(default)]
    pub(crate) reason: Option<String>,
}

/// What a changeset that waits needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Need {
    /// The rest of its parts.
    Parts,
    /// Changesets that it follows.
    Changes,
    /// A table as others have it.
    Schema,
    /// A newer version of this program.
    Upgrade,
    /// That its node is removed.
    Removal,
}

impl Replica {
    /// Applies one part, inside the caller's transaction; a changeset that had not seen
    /// `must_cover` is stale.
    pub(crate) fn apply(&self, part: &[u8], must_cover: &str) -> Result<Outcome> {
        let mut statement = self.conn.prepare_cached("SELECT nuda_apply(?, ?)")?;
        let text: String = statement.query_row(params![part, must_cover], |row| row.get(0))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Applies a list of parts, each after its length; answers the first that cannot be applied at all.
    pub(crate) fn apply_all(&self, list: &[u8]) -> Result<Option<Outcome>> {
        let mut statement = self.conn.prepare_cached("SELECT nuda_apply_all(?)")?;
        let text: Option<String> = statement.query_row([list], |row| row.get(0))?;
        Ok(text.as_deref().map(serde_json::from_str).transpose()?)
    }
}
