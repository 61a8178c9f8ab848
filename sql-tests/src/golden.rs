//! Comparing a transcript with its `.expected`, and rewriting that when asked to.

use std::path::Path;

/// Whether expectations are to be rewritten (`NUDA_BLESS=1`).
#[must_use]
pub fn blessing() -> bool {
    std::env::var_os("NUDA_BLESS").is_some_and(|value| value == "1")
}

/// Compares `found` with the `.expected` beside `path`; rewrites it instead if `may_bless`
/// and blessing.
///
/// # Errors
/// The first difference, with what surrounds it.
pub fn check(path: &Path, found: &str, may_bless: bool) -> Result<(), String> {
    let file = path.with_extension("expected");
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    if expected == found {
        return Ok(());
    }
    if may_bless && blessing() {
        return std::fs::write(&file, found).map_err(|e| format!("{}: {e}", file.display()));
    }
    Err(difference(&expected, found))
}

fn difference(expected: &str, found: &str) -> String {
    let (left, right): (Vec<&str>, Vec<&str>) =
        (expected.lines().collect(), found.lines().collect());
    let same = left.iter().zip(&right).take_while(|(l, r)| l == r).count();
    let mut text = format!("differs from line {} on\n", same + 1);
    let show = |sign: &str, lines: &[&str], from: usize, count: usize| -> String {
        lines
            .iter()
            .skip(from)
            .take(count)
            .map(|line| format!("  {sign} {line}\n"))
            .collect()
    };
    let before = same.saturating_sub(3);
    text.push_str(&show(" ", &left, before, same - before));
    text.push_str(&show("- expected", &left, same, 5));
    text.push_str(&show("+ found   ", &right, same, 5));
    text
}
