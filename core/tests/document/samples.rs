//! Random documents.

use nuda_core::types::doc::document::Json;
use proptest::prelude::*;

fn scalar() -> impl Strategy<Value = Json> {
    prop_oneof![
        (-2i64..6).prop_map(|n| Json::Scalar(n.to_string())),
        Just(Json::Scalar("null".to_owned())),
        "[ab€]{0,2}".prop_map(|text| Json::Scalar(format!("\"{text}\""))),
        Just(Json::Scalar("1.5".to_owned())),
    ]
}

/// Any value.
pub(crate) fn json() -> impl Strategy<Value = Json> {
    scalar().prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
            prop::collection::btree_map("\"[abc]\"", inner, 0..4).prop_map(Json::Object),
        ]
    })
}

/// A scalar, or little more.
pub(crate) fn small() -> impl Strategy<Value = Json> {
    prop_oneof![
        scalar(),
        prop::collection::vec(scalar(), 0..3).prop_map(Json::Array),
        prop::collection::btree_map("\"[abc]\"", scalar(), 0..3).prop_map(Json::Object),
    ]
}

/// Two documents of which the second comes from the first by a few edits.
pub(crate) fn related() -> impl Strategy<Value = (Json, Json)> {
    let edits = prop::collection::vec((any::<u64>(), json()), 0..4);
    (json(), edits).prop_map(|(old, edits)| {
        let mut new = old.clone();
        for (way, value) in edits {
            edit(&mut new, way, value);
        }
        (old, new)
    })
}

/// Changes something on a way through the document.
pub(crate) fn edit(document: &mut Json, way: u64, value: Json) {
    let (turn, way) = ((way % 16) as usize, way / 16);
    match document {
        Json::Object(members) if !members.is_empty() && turn < 12 => {
            let key = members.keys().nth(turn % members.len()).unwrap().clone();
            match turn {
                0 => drop(members.remove(&key)),
                1 => drop(members.insert("\"d\"".to_owned(), value)),
                _ => edit(members.get_mut(&key).unwrap(), way, value),
            }
        }
        Json::Array(elements) if !elements.is_empty() && turn < 12 => {
            let at = turn % elements.len();
            match turn {
                0 => drop(elements.remove(0)),
                1 => elements.insert(0, value),
                2 => elements.push(value),
                3 => drop(elements.pop()),
                _ => edit(&mut elements[at], way, value),
            }
        }
        other => *other = value,
    }
}
