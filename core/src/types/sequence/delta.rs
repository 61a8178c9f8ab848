//! The shape of an edit: how much is kept, inserted and deleted, in ascending order.
//!
//! A [`Delta`] has one form for each effect on positions: places follow each other with something
//! kept between them, each inserts or deletes something, and what follows the last is kept. At
//! one place the insertion comes before what is deleted. Contents are elsewhere: one stream
//! with all inserted elements in order, which several deltas of one edit share.

/// What happens at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Edit {
    /// Elements kept since the place before; 0 only at the beginning.
    pub keep: u64,
    /// Elements inserted here.
    pub insert: u64,
    /// Elements deleted after the inserted ones.
    pub delete: u64,
}

/// Places in ascending order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Delta {
    edits: Vec<Edit>,
    // Kept since the last place; the trailing part is not said.
    pending: u64,
}

impl Delta {
    /// An edit that does nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The places.
    #[must_use]
    pub fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// Whether it does nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Goes on over `n` elements.
    pub fn keep(&mut self, n: u64) {
        self.pending = self.pending.saturating_add(n);
    }

    /// Inserts `n` elements.
    pub fn insert(&mut self, n: u64) {
        if n > 0 {
            self.here(|edit| edit.insert = edit.insert.saturating_add(n));
        }
    }

    /// Deletes the next `n` elements.
    pub fn delete(&mut self, n: u64) {
        if n > 0 {
            self.here(|edit| edit.delete = edit.delete.saturating_add(n));
        }
    }

    /// Forgets what was kept last: two deltas are equal if their places are.
    #[must_use]
    pub fn end(mut self) -> Self {
        self.pending = 0;
        self
    }

    /// Elements it must find: those kept before the last place, and those deleted.
    #[must_use]
    pub fn needs(&self) -> u64 {
        self.edits.iter().fold(0, |sum, edit| {
            sum.saturating_add(edit.keep).saturating_add(edit.delete)
        })
    }

    /// Elements inserted.
    #[must_use]
    pub fn inserted(&self) -> u64 {
        self.edits
            .iter()
            .fold(0, |sum, edit| sum.saturating_add(edit.insert))
    }

    /// Elements deleted.
    #[must_use]
    pub fn deleted(&self) -> u64 {
        self.edits
            .iter()
            .fold(0, |sum, edit| sum.saturating_add(edit.delete))
    }

    fn here(&mut self, change: impl FnOnce(&mut Edit)) {
        if self.pending > 0 || self.edits.is_empty() {
            self.edits.push(Edit {
                keep: std::mem::take(&mut self.pending),
                ..Edit::default()
            });
        }
        if let Some(edit) = self.edits.last_mut() {
            change(edit);
        }
    }
}
