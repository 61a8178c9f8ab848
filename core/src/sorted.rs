//! Stable sorting, compiled once.
//!
//! The standard library's sort is made anew for every type and every order, 8 kB each time; in a
//! library that applications load, twenty of them are a tenth of its size. Here one function sorts
//! places, whatever they are places of, and what is sorted already, the usual case, costs one
//! look at it. Equal items keep their order.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Sorts by an order.
pub fn by<T>(items: &mut Vec<T>, mut compare: impl FnMut(&T, &T) -> Ordering) {
    let is_sorted = items.windows(2).all(|pair| match pair {
        [a, b] => compare(a, b) != Ordering::Greater,
        _ => true,
    });
    if is_sorted {
        return;
    }
    let order = places(
        items.len(),
        &mut |a, b| match (items.get(a), items.get(b)) {
            (Some(a), Some(b)) => compare(a, b),
            _ => Ordering::Equal,
        },
    );
    let mut taken: Vec<Option<T>> = items.drain(..).map(Some).collect();
    let next = |place: usize| taken.get_mut(place).and_then(Option::take);
    items.extend(order.into_iter().filter_map(next));
}

/// Sorts by a key.
pub fn by_key<T, K: Ord>(items: &mut Vec<T>, key: impl Fn(&T) -> K) {
    by(items, |a, b| key(a).cmp(&key(b)));
}

/// Sorts from the least on.
pub fn ascending<T: Ord>(items: &mut Vec<T>) {
    by(items, T::cmp);
}

/// A map of these, the last of those with one key. Collecting a map sorts what it is made of.
pub fn map<K: Ord, V>(items: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    for (key, value) in items {
        map.insert(key, value);
    }
    map
}

/// The places of so many items in their order.
#[inline(never)]
fn places(count: usize, compare: &mut dyn FnMut(usize, usize) -> Ordering) -> Vec<usize> {
    let mut places: Vec<usize> = (0..count).collect();
    places.sort_by(|a, b| compare(*a, *b));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_as_the_standard_library_does() {
        let mut next = 1_u64;
        for count in 0..200 {
            let mut items = Vec::new();
            for place in 0..count {
                next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                items.push(((next >> 33) % 17, place.to_string()));
            }
            let mut expected = items.clone();
            expected.sort_by_key(|(key, _)| *key);
            by_key(&mut items, |(key, _)| *key);
            assert_eq!(items, expected);
        }
    }
}
