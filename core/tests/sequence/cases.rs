//! The smallest examples.

use nuda_core::site::{Dot, Site};
use nuda_core::types::sequence::{Delta, Sequence};
use nuda_core::types::text::TextDelta;
use nuda_core::version_vector::VersionVector;

fn site(n: u64) -> Site {
    Site::from_u64(100 + n).unwrap()
}

fn dot(n: u64, seq: u64) -> Dot {
    Dot { site: site(n), seq }
}

fn edit(keep: u64, insert: &str, delete: u64) -> TextDelta {
    let mut delta = Delta::new();
    delta.keep(keep);
    delta.insert(insert.chars().count() as u64);
    delta.delete(delete);
    TextDelta {
        delta,
        inserted: insert.to_owned(),
    }
}

/// Edits of authors who saw nothing of each other, only their own.
fn merged(base: &str, edits: &[(u64, u64, TextDelta)]) -> String {
    let mut state = Sequence::new(base.chars().count() as u64);
    let mut text = base.to_owned();
    for (author, seq, delta) in edits {
        let none = VersionVector::new();
        let answer = state
            .integrate(dot(*author, *seq), &none, &delta.delta)
            .unwrap();
        text = delta.clone().placed(answer).apply(&text).unwrap();
    }
    text
}

#[test]
fn both_edits_are_kept() {
    let edits = [(1, 1, edit(5, ", dear", 0)), (2, 1, edit(6, "World", 5))];
    assert_eq!(merged("Hello world", &edits), "Hello, dear World");
}

#[test]
fn words_typed_at_one_place_do_not_interleave() {
    // Forwards at one, backwards at the other.
    let mut edits = Vec::new();
    for (n, c) in ["a", "b", "c"].into_iter().enumerate() {
        edits.push((1, n as u64 + 1, edit(n as u64, c, 0)));
        edits.push((2, n as u64 + 1, edit(0, ["z", "y", "x"][n], 0)));
    }
    let text = merged("", &edits);
    assert!(text == "abcxyz" || text == "xyzabc", "{text}");
    // Backwards at both.
    let mut edits = Vec::new();
    for (n, c) in ["c", "b", "a"].into_iter().enumerate() {
        edits.push((1, n as u64 + 1, edit(0, c, 0)));
        edits.push((2, n as u64 + 1, edit(0, ["z", "y", "x"][n], 0)));
    }
    assert_eq!(merged("", &edits), "abcxyz");
}

#[test]
fn what_two_delete_is_deleted_once() {
    let edits = [(1, 1, edit(1, "", 3)), (2, 1, edit(2, "", 3))];
    assert_eq!(merged("abcdef", &edits), "af");
}

#[test]
fn typing_is_one_run() {
    let mut state = Sequence::new(10);
    let none = VersionVector::new();
    for seq in 1..=1_000 {
        let delta = edit(4 + seq, "x", 0).delta;
        state.integrate(dot(1, seq), &none, &delta).unwrap();
    }
    assert!(state.runs() <= 3, "{}", state.runs());
    // And so is erasing it.
    for seq in 1..=1_000 {
        let delta = edit(1_005 - seq, "", 1).delta;
        state.integrate(dot(1, 1_000 + seq), &none, &delta).unwrap();
    }
    assert!(state.runs() <= 40, "{}", state.runs());
    assert_eq!(state.visible(), 10);
    let stable: VersionVector = [(site(1), 2_000)].into_iter().collect();
    state.collapse(&stable);
    assert!(state.is_trivial());
    assert_eq!(state.runs(), 1);
}

#[test]
fn an_edit_that_does_not_fit_is_none() {
    let mut state = Sequence::new(3);
    let before = state.clone();
    let none = VersionVector::new();
    assert_eq!(
        state.integrate(dot(1, 1), &none, &edit(2, "", 2).delta),
        None
    );
    assert_eq!(state, before);
    assert!(
        state
            .integrate(dot(1, 1), &none, &edit(2, "", 1).delta)
            .is_some()
    );
}

#[test]
fn identical_beginnings_count_once() {
    let mut state = Sequence::unknown();
    let none = VersionVector::new();
    let key = *b"sixteen bytes...";
    state.assign(dot(1, 1), &none, 5, key);
    assert_eq!(state.visible(), 5);
    let answer = state.assign(dot(2, 1), &none, 5, key);
    assert!(answer.is_empty(), "{answer:?}");
    assert_eq!(state.visible(), 5);
    // Another beginning is kept beside it.
    let answer = state.assign(dot(3, 1), &none, 2, *b"other bytes.....");
    assert_eq!(answer.inserted(), 2);
    assert_eq!(state.visible(), 7);
    // Both authors of the shared one see it as theirs.
    let answer = state.integrate(dot(2, 2), &none, &edit(4, "", 1).delta);
    assert_eq!(answer.unwrap().deleted(), 1);
    assert_eq!(state.visible(), 6);
}

#[test]
fn an_edit_of_the_life_before_survives() {
    // A row with a long text is deleted and inserted anew; meanwhile somebody typed into it.
    let mut state = Sequence::unknown();
    let none = VersionVector::new();
    state.assign(dot(1, 1), &none, 3, [7; 16]);
    let answer = state.integrate(dot(2, 1), &none, &edit(500, "!", 2).delta);
    let typed = TextDelta {
        delta: answer.unwrap(),
        inserted: "!".to_owned(),
    };
    assert_eq!(typed.apply("new").unwrap(), "new!");
}

#[test]
fn a_renumbered_site_is_the_same_author() {
    let none = VersionVector::new();
    let mut state = Sequence::new(4);
    for seq in 1..=6 {
        state
            .integrate(dot(1, seq), &none, &edit(seq, "x", 0).delta)
            .unwrap();
    }
    state
        .integrate(dot(1, 7), &none, &edit(0, "", 3).delta)
        .unwrap();
    state.renumber(site(1), 4, site(9));
    // Somebody who saw the first four of the old and two of the new.
    let seen: VersionVector = [(site(1), 4), (site(9), 2)].into_iter().collect();
    let answer = state
        .integrate(dot(2, 1), &seen, &edit(7, "y", 0).delta)
        .unwrap();
    assert_eq!(answer.edits()[0].keep, 4);
    // And the new site goes on.
    let seen: VersionVector = [(site(1), 4), (site(2), 1)].into_iter().collect();
    assert!(
        state
            .integrate(dot(9, 4), &seen, &edit(7, "", 1).delta)
            .is_some()
    );
}

#[test]
fn a_state_is_kept_for_an_edit_that_left_no_trace() {
    let none = VersionVector::new();
    let mut state = Sequence::new(4);
    state
        .integrate(dot(1, 1), &none, &edit(1, "", 1).delta)
        .unwrap();
    // The same character again: nothing is left of it once the first is stable.
    state
        .integrate(dot(2, 1), &none, &edit(1, "", 1).delta)
        .unwrap();
    state.collapse(&[(site(1), 1)].into_iter().collect());
    assert_eq!(state.runs(), 1);
    assert!(!state.is_trivial());
    state.collapse(&[(site(1), 1), (site(2), 1)].into_iter().collect());
    assert!(state.is_trivial());
}
