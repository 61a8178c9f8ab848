//! What people really typed, as texts to be written by plain UPDATEs.
//!
//! The recordings lie outside of the repository, in `../shared/data` beside it or where `NUDA_TRACES`
//! says, as github.com/josephg/editing-traces publishes them. Whoever asks for one that is not
//! there is told where it was looked for, and says so aloud. Nothing here knows SQL.

use std::io::Read as _;
use std::path::PathBuf;

use serde_json::Value;

/// One person's edit, and what it was made of.
#[derive(Debug)]
pub struct Typed {
    /// Who.
    pub agent: usize,
    /// The edits that it had seen, and what those had.
    pub parents: Vec<usize>,
    /// Position, deleted characters, inserted text; one after the other.
    pub patches: Vec<(usize, usize, String)>,
}

/// A recording.
#[derive(Debug)]
pub struct Trace {
    /// In an order that respects the parents.
    pub edits: Vec<Typed>,
    /// The text in the end.
    pub end: String,
}

/// Reads a recording.
///
/// # Errors
/// It is not there, or cannot be read; in words.
pub fn load(name: &str) -> Result<Trace, String> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let folder = std::env::var_os("NUDA_TRACES").map_or(beside.into(), PathBuf::from);
    let file = std::fs::File::open(folder.join(name))
        .map_err(|_| format!("{name} is not in {} (NUDA_TRACES)", folder.display()))?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .map_err(|e| format!("{name}: {e}"))?;
    let all: Value = serde_json::from_str(&text).map_err(|e| format!("{name}: {e}"))?;
    let edits = all["txns"].as_array().into_iter().flatten().map(typed);
    Ok(Trace {
        edits: edits.collect(),
        end: all["endContent"].as_str().unwrap_or_default().to_owned(),
    })
}

fn typed(edit: &Value) -> Typed {
    let parents = edit["parents"].as_array().into_iter().flatten();
    let patches = edit["patches"].as_array().into_iter().flatten();
    Typed {
        agent: number(&edit["agent"]),
        parents: parents.map(number).collect(),
        patches: patches
            .map(|patch| {
                let text = patch[2].as_str().unwrap_or_default().to_owned();
                (number(&patch[0]), number(&patch[1]), text)
            })
            .collect(),
    }
}

fn number(value: &Value) -> usize {
    value
        .as_u64()
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or_default()
}

impl Typed {
    /// The text after the edit: what a program would store.
    pub fn apply(&self, text: &mut String) {
        for (at, deleted, inserted) in &self.patches {
            let start = byte_of(text, *at);
            let end = start + byte_of(&text[start..], *deleted);
            text.replace_range(start..end, inserted);
        }
    }
}

fn byte_of(text: &str, characters: usize) -> usize {
    text.char_indices()
        .nth(characters)
        .map_or(text.len(), |(at, _)| at)
}
