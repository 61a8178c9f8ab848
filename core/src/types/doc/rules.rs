//! What a user may say about places of a document: counters, and what names an element.
//!
//! A place is written as a path: `$`, then `.key` or `.*` for each step, where `*` stands for
//! any key and any element. `$.stock.*` are all members of the object `stock`; `$.lines.*.id` is
//! the `id` of each element of the list `lines`.

/// A path with wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<Option<String>>);

/// A step of a path through a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A member, by key as it is written, with its quotes.
    Key(&'a str),
    /// An element.
    Element,
}

impl Path {
    /// Reads a path; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix('$')?;
        if rest.is_empty() {
            return Some(Self(Vec::new()));
        }
        let steps = rest.strip_prefix('.')?.split('.');
        steps
            .map(|step| match step {
                "" => None,
                "*" => Some(None),
                key if key.contains(['"', '\\', '[', ']']) => None,
                key => Some(Some(format!("\"{key}\""))),
            })
            .collect::<Option<Vec<_>>>()
            .map(Self)
    }

    fn matches(&self, place: &[Step<'_>]) -> bool {
        self.0.len() == place.len()
            && self
                .0
                .iter()
                .zip(place)
                .all(|(mine, step)| match (mine, step) {
                    (None, _) => true,
                    (Some(key), Step::Key(other)) => key == other,
                    (Some(_), Step::Element) => false,
                })
    }
}

/// All that was said about a column's documents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Integers here are counters.
    pub counters: Vec<Path>,
    /// Elements of the lists here are the same if their members of this key are.
    pub identities: Vec<(Path, String)>,
}

impl Rules {
    /// Whether integers at this place are counters.
    #[must_use]
    pub fn counts(&self, place: &[Step<'_>]) -> bool {
        self.counters.iter().any(|path| path.matches(place))
    }

    /// The key, with its quotes, that names the elements of the list at this place.
    #[must_use]
    pub fn identity(&self, place: &[Step<'_>]) -> Option<String> {
        let (_, key) = self
            .identities
            .iter()
            .find(|(path, _)| path.matches(place))?;
        Some(format!("\"{key}\""))
    }
}
