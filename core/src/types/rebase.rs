//! Edits of a text made again on another text than they were made of.
//!
//! That is needed when a replica is re-seeded: what it alone had written is written again, on what
//! the others made of the text meanwhile. The edits say where, but of a version that nobody has
//! any more; what is known is the text after them. Whatever they inserted is found in it, and goes
//! where the text around it is now. What they deleted is not deleted again: nobody knows what it
//! was, so it cannot be told from what others typed.

use crate::diff::text::{STEPS, diff};
use crate::row::Cell;
use crate::value::{OwnedValue, Value};

use super::sequence::Delta;
use super::text::{TextDelta, count, shown};

/// What several writes of one cell amount to.
enum Composed {
    Edit(TextDelta),
    Text(Option<String>),
}

/// The text `here` after these writes, in their order, were made again; `after` is the text that
/// their author had then.
#[must_use]
pub fn again(writes: &[Cell<'_>], after: Value<'_>, here: Value<'_>) -> OwnedValue {
    let (after, now) = (shown(after), shown(here));
    let text = match (composed(writes), now) {
        (Some(Composed::Text(Some(text))), None) => text,
        (Some(Composed::Text(Some(text))), Some(now)) if text == now => text,
        (Some(Composed::Text(Some(text))), Some(now)) => text + now,
        (Some(Composed::Text(None)), _) => return here.into(),
        (Some(Composed::Edit(edit)), None) => edit.inserted,
        (Some(Composed::Edit(edit)), Some(now)) => rebased(&edit, after.unwrap_or_default(), now),
        (None, now) => joined(now.unwrap_or_default(), after.unwrap_or_default()),
    };
    OwnedValue::Text(text.into_bytes())
}

/// `None` if the writes do not follow each other: others' came between.
fn composed(writes: &[Cell<'_>]) -> Option<Composed> {
    let mut all = Composed::Edit(TextDelta::default());
    for write in writes {
        all = match (*write, all) {
            (Cell::Text(edit), Composed::Edit(before)) => {
                Composed::Edit(before.then(&TextDelta::decode(edit).ok()?)?)
            }
            (Cell::Text(edit), Composed::Text(before)) => {
                let edit = TextDelta::decode(edit).ok()?;
                Composed::Text(Some(edit.apply(&before.unwrap_or_default())?))
            }
            (Cell::Value(value), _) => Composed::Text(shown(value).map(str::to_owned)),
            (_, all) => all,
        };
    }
    Some(all)
}

fn rebased(edit: &TextDelta, after: &str, now: &str) -> String {
    // Where the insertions are in the text after, and that text without them.
    let mut undo = Delta::new();
    for at in edit.delta.edits() {
        undo.keep(at.keep);
        undo.delete(at.insert);
    }
    let without = TextDelta {
        delta: undo.end(),
        inserted: String::new(),
    };
    let Some(base) = without.apply(after) else {
        return joined(now, after);
    };
    let mut places = Vec::new();
    let mut at = 0u64;
    for place in edit.delta.edits() {
        at = at.saturating_add(place.keep);
        places.push((at, place.insert));
    }
    let meanwhile = diff(&base, now, STEPS);
    let mut delta = Delta::new();
    let mut reached = 0;
    for (place, insert) in places {
        let there = moved(&meanwhile.delta, place);
        delta.keep(there.saturating_sub(reached));
        delta.insert(insert);
        reached = there.max(reached);
    }
    let insertions = TextDelta {
        delta: delta.end(),
        inserted: edit.inserted.clone(),
    };
    insertions.apply(now).unwrap_or_else(|| joined(now, after))
}

/// Where a place of the text before an edit is after it.
fn moved(edit: &Delta, place: u64) -> u64 {
    let (mut before, mut after) = (0u64, 0u64);
    for at in edit.edits() {
        if place < before.saturating_add(at.keep) {
            break;
        }
        before = before.saturating_add(at.keep);
        after = after.saturating_add(at.keep).saturating_add(at.insert);
        if place <= before.saturating_add(at.delete) && at.delete > 0 {
            return after;
        }
        before = before.saturating_add(at.delete);
    }
    after.saturating_add(place.saturating_sub(before))
}

/// Both texts: the first with what only the second has.
fn joined(now: &str, other: &str) -> String {
    let edit = diff(now, other, STEPS);
    let mut delta = Delta::new();
    for at in edit.delta.edits() {
        delta.keep(at.keep);
        delta.insert(at.insert);
        delta.keep(at.delete);
    }
    let insertions = TextDelta {
        delta: delta.end(),
        inserted: edit.inserted,
    };
    debug_assert!(count(now.as_bytes()) >= insertions.delta.needs());
    insertions.apply(now).unwrap_or_else(|| now.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Value<'_> {
        Value::Text(text.as_bytes())
    }

    fn edits(versions: &[&str]) -> Vec<Vec<u8>> {
        let pairs = versions.windows(2);
        pairs
            .map(|pair| {
                let mut bytes = Vec::new();
                diff(pair[0], pair[1], STEPS).encode(&mut bytes);
                bytes
            })
            .collect()
    }

    fn made(versions: &[&str], here: Value<'_>) -> OwnedValue {
        let edits = edits(versions);
        let cells: Vec<Cell<'_>> = edits.iter().map(|bytes| Cell::Text(bytes)).collect();
        again(&cells, text(versions.last().unwrap()), here)
    }

    fn shows(value: &str) -> OwnedValue {
        OwnedValue::Text(value.into())
    }

    #[test]
    fn insertions_go_where_the_text_around_them_is() {
        let mine = ["one two", "one and two", "one and two, three"];
        assert_eq!(made(&mine, text("one two")), shows("one and two, three"));
        assert_eq!(
            made(&mine, text("zero one two")),
            shows("zero one and two, three")
        );
        assert_eq!(made(&mine, Value::Null), shows("and , three"));
        // What was deleted is there again.
        let mine = ["x one two", "one two!"];
        assert_eq!(made(&mine, text("x one two 3")), shows("x one two 3!"));
    }

    #[test]
    fn an_assigned_text_stands_beside_the_other_one() {
        let mine = [Cell::Value(text("mine"))];
        assert_eq!(again(&mine, text("mine"), Value::Null), shows("mine"));
        assert_eq!(again(&mine, text("mine"), text("mine")), shows("mine"));
        assert_eq!(
            again(&mine, text("mine"), text("theirs")),
            shows("minetheirs")
        );
        let none = [Cell::Value(Value::Null)];
        assert_eq!(again(&none, Value::Null, text("x")), shows("x"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() })]

        /// Nothing that anybody typed is lost, whatever the texts.
        #[test]
        fn what_was_typed_is_there(
            base in "[a-f ]{0,30}", mine in "[a-f ]{0,8}", at in any::<prop::sample::Index>(),
            delete in 0usize..6, here in "[A-F ]{0,30}",
        ) {
            let at = at.index(base.len() + 1);
            let mut after = base.clone();
            after.replace_range(at..(at + delete).min(base.len()), &mine);
            let OwnedValue::Text(result) = made(&[&base, &after], text(&here)) else {
                panic!("no text");
            };
            let result = String::from_utf8(result).unwrap();
            let count = |s: &str, c: char| s.matches(c).count();
            for c in "ABCDEF".chars() {
                prop_assert_eq!(count(&result, c), count(&here, c));
            }
            let edit = diff(&base, &after, STEPS);
            for c in "abcdef".chars() {
                prop_assert!(count(&result, c) >= count(&edit.inserted, c));
            }
        }
    }
}
