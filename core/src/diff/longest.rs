//! The longest common subsequence of two lists, within a bounded number of steps.
//!
//! Myers' greedy algorithm over numbers that stand for equal things. What occurs in one of
//! the lists only is left out first: it can't be common, and a rewritten text consists of it.

/// What is common: `len` things, at `old` here and at `new` there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) old: usize,
    pub(super) new: usize,
    pub(super) len: usize,
}

/// The common blocks in ascending order. The numbers are dense, from 0. `None` if more than `steps`
/// would be needed, of which the used ones are taken.
pub(super) fn common(old: &[u32], new: &[u32], steps: &mut u64) -> Option<Vec<Block>> {
    let here = marked(old);
    let there = marked(new);
    let shared = |list: &[u32], others: &[bool]| -> (Vec<usize>, Vec<u32>) {
        list.iter()
            .enumerate()
            .filter(|(_, thing)| others.get(**thing as usize) == Some(&true))
            .map(|(n, thing)| (n, *thing))
            .unzip()
    };
    let (old_at, old) = shared(old, &there);
    let (new_at, new) = shared(new, &here);
    let mut blocks: Vec<Block> = Vec::new();
    for (o, n) in matches(&old, &new, steps)? {
        let (Some(old), Some(new)) = (old_at.get(o), new_at.get(n)) else {
            continue;
        };
        match blocks.last_mut() {
            Some(last) if last.old + last.len == *old && last.new + last.len == *new => {
                last.len += 1;
            }
            _ => blocks.push(Block {
                old: *old,
                new: *new,
                len: 1,
            }),
        }
    }
    Some(blocks)
}

/// Which numbers occur.
fn marked(list: &[u32]) -> Vec<bool> {
    let most = list.iter().max().map_or(0, |most| *most as usize + 1);
    let mut marks = vec![false; most];
    for thing in list {
        if let Some(mark) = marks.get_mut(*thing as usize) {
            *mark = true;
        }
    }
    marks
}

/// Pairs of equal things, ascending.
fn matches(old: &[u32], new: &[u32], steps: &mut u64) -> Option<Vec<(usize, usize)>> {
    // Row d holds, for each diagonal k = -d, -d + 2, .. d, how far d edits lead: the position in
    // `old`; the one in `new` is k less. Rows lie one after the other, for the way back.
    let mut rows: Vec<u32> = Vec::new();
    let mut start = 0;
    for d in 0..=old.len() + new.len() {
        let before = start;
        start = rows.len();
        for i in 0..=d {
            let reached = |n: usize| rows.get(before + n).map_or(0, |x| *x as usize);
            let from = match (d, i) {
                (0, _) => 0,
                (_, 0) => reached(0),
                _ if i == d => reached(i - 1) + 1,
                _ => reached(i).max(reached(i - 1) + 1),
            };
            let mut x = from;
            // y = x - k; a diagonal that lies outside has none.
            if let Some(mut y) = (x + d).checked_sub(2 * i) {
                while let (Some(a), Some(b)) = (old.get(x), new.get(y)) {
                    if a != b {
                        break;
                    }
                    x += 1;
                    y += 1;
                }
                if x >= old.len() && y >= new.len() {
                    *steps = steps.saturating_sub((x - from) as u64);
                    return Some(way_back(&rows, d, i, (old.len(), new.len())));
                }
            }
            *steps = steps.checked_sub(1 + (x - from) as u64)?;
            rows.push(u32::try_from(x).ok()?);
        }
    }
    None
}

/// The equal pairs on the way that ends at `end` on diagonal number `i` of row `d`.
fn way_back(rows: &[u32], d: usize, i: usize, end: (usize, usize)) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let (mut d, mut i) = (d, i);
    let (mut x, mut y) = end;
    loop {
        // Rows 0 to d - 2 come before row d - 1.
        let before = d.saturating_sub(1) * d / 2;
        let reached = |n: usize| rows.get(before + n).map_or(0, |x| *x as usize);
        let down = i == 0 || (i < d && reached(i) > reached(i - 1));
        let (px, from) = match d {
            0 => (0, 0),
            _ if down => (reached(i), reached(i)),
            _ => (reached(i - 1), reached(i - 1) + 1),
        };
        while x > from && y > 0 {
            x -= 1;
            y -= 1;
            pairs.push((x, y));
        }
        if d == 0 {
            break;
        }
        if down {
            y = y.saturating_sub(1);
        } else {
            i -= 1;
        }
        x = px;
        d -= 1;
    }
    pairs.reverse();
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The length of the longest common subsequence, by the table of all prefixes.
    fn longest(old: &[u32], new: &[u32]) -> usize {
        let mut table = vec![vec![0; new.len() + 1]; old.len() + 1];
        for (i, a) in old.iter().enumerate() {
            for (j, b) in new.iter().enumerate() {
                table[i + 1][j + 1] = if a == b {
                    table[i][j] + 1
                } else {
                    table[i][j + 1].max(table[i + 1][j])
                };
            }
        }
        table[old.len()][new.len()]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..Default::default() })]

        #[test]
        fn it_is_common_and_the_longest(
            old in prop::collection::vec(0u32..6, 0..24),
            new in prop::collection::vec(0u32..6, 0..24),
        ) {
            let blocks = common(&old, &new, &mut 10_000).unwrap();
            let (mut at_old, mut at_new, mut length) = (0, 0, 0);
            for block in blocks {
                prop_assert!(block.old >= at_old && block.new >= at_new && block.len > 0);
                at_old = block.old + block.len;
                at_new = block.new + block.len;
                length += block.len;
                prop_assert_eq!(&old[block.old..at_old], &new[block.new..at_new]);
            }
            prop_assert_eq!(length, longest(&old, &new));
        }
    }

    #[test]
    fn steps_are_counted() {
        let old: Vec<u32> = (0..1_000).collect();
        let new: Vec<u32> = (0..1_000).rev().collect();
        let mut steps = 5_000;
        assert_eq!(common(&old, &new, &mut steps), None);
        let mut steps = 2_000;
        assert!(common(&old, &old, &mut steps).is_some());
        assert!((900..1_500).contains(&steps), "{steps}");
    }
}
