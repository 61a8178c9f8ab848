//! For tests: a daemon that breaks one rule of the ordered log on purpose, so that the proofs can
//! show that they notice.
//!
//! A proof that cannot fail proves nothing. `replicator/tests/controls.rs` and the power cuts among
//! the histories run the same scenario with and without each of these. The environment variable
//! [`VARIABLE`] names the rules to break, by commas, for the whole process. It exists in builds for
//! tests only (`debug_assertions`): a release build refuses to start with it, so that nobody can
//! believe a proof that broke nothing, and no rule can be broken where it counts.

use crate::error::{Error, Result};

/// Names what is broken.
const VARIABLE: &str = "NUDA_BROKEN";

/// A rule that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Nothing is acknowledged before it has been fsynced.
    Fsync,
    /// Only a voter's own answer counts as its acknowledgement.
    Majority,
    /// The first decision on a transaction id stands.
    Deduplication,
    /// Decisions are taken when an entry is applied.
    Certification,
    /// What a transaction saw travels with it, or is in the log.
    Dependencies,
    /// What members collect is in the log first.
    Collection,
    /// What a replica writes again is fenced off in the log first.
    Fence,
    /// A bounded read asks what a majority has.
    Staleness,
}

const RULES: [(&str, Rule); 8] = [
    ("fsync", Rule::Fsync),
    ("majority", Rule::Majority),
    ("deduplication", Rule::Deduplication),
    ("certification", Rule::Certification),
    ("dependencies", Rule::Dependencies),
    ("collection", Rule::Collection),
    ("fence", Rule::Fence),
    ("staleness", Rule::Staleness),
];

/// Whether this process breaks a rule.
#[cfg(debug_assertions)]
pub(crate) fn is(rule: Rule) -> bool {
    static BROKEN: std::sync::OnceLock<Vec<Rule>> = std::sync::OnceLock::new();
    BROKEN
        .get_or_init(|| asked().unwrap_or_default())
        .contains(&rule)
}

/// Whether this process breaks a rule: not in a build for users.
#[cfg(not(debug_assertions))]
pub(crate) const fn is(_: Rule) -> bool {
    false
}

/// Says aloud what is broken; an error if that cannot be done.
pub(crate) fn announce() -> Result<()> {
    let rules = asked()?;
    if rules.is_empty() {
        return Ok(());
    }
    if cfg!(not(debug_assertions)) {
        return Err(Error::refused(format!(
            "{VARIABLE} is set; this is no build for tests and keeps every rule; unset it"
        )));
    }
    tracing::error!(?rules, "this daemon breaks rules on purpose");
    Ok(())
}

fn asked() -> Result<Vec<Rule>> {
    let text = std::env::var(VARIABLE).unwrap_or_default();
    text.split(',')
        .filter(|name| !name.is_empty())
        .map(|name| {
            let known = RULES.iter().find(|(known, _)| *known == name);
            known.map(|(_, rule)| *rule).ok_or_else(|| {
                let known = RULES.map(|(name, _)| name).join(", ");
                Error::refused(format!(
                    "{VARIABLE}: there is no rule {}; there are {known}",
                    name.escape_debug()
                ))
            })
        })
        .collect()
}
