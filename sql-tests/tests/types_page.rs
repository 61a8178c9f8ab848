//! The examples of `docs/types.md`, executed: each ```sql block is a case of its own, and
//! `-- => x` says that the statement before it answers x.
#![allow(clippy::unwrap_used)]

use nuda_sql_tests::case::Case;
use nuda_sql_tests::driver::Driver;
use nuda_sql_tests::place;

/// The blocks, and the lines at which they begin.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut block: Option<(usize, String)> = None;
    for (n, line) in text.lines().enumerate() {
        match (&mut block, line) {
            (None, "```sql") => block = Some((n + 1, String::new())),
            (Some(_), "```") => found.extend(block.take()),
            (Some((_, content)), line) => {
                content.push_str(line);
                content.push('\n');
            }
            (None, _) => {}
        }
    }
    found
}

#[test]
fn the_examples_answer_as_they_say() {
    let text = std::fs::read_to_string(place::repository().join("docs/types.md")).unwrap();
    let blocks = blocks(&text);
    assert!(blocks.len() > 5, "docs/types.md has lost its examples");
    for (line, block) in blocks {
        let transcript = Case::of(&format!("docs/types.md:{line}"), &block).run(Driver::Shell);
        assert!(block.contains("-- => "), "line {line} promises nothing");
        assert!(!transcript.contains("DIFFER"), "{transcript}");
        let mut answers: Vec<&str> = Vec::new();
        for said in transcript.lines() {
            if let Some(answer) = said.strip_prefix("    ") {
                answers.push(answer);
            } else if let Some(wanted) = said.strip_prefix("-- => ") {
                let last = answers.last().copied();
                assert_eq!(last, Some(wanted), "line {line}:\n{transcript}");
            } else {
                answers.clear();
            }
        }
    }
}
