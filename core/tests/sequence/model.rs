//! The definition: FugueMax as its authors draw it, a tree of single characters.
//!
//! Every character ever typed is a node for ever. It is a child of its left or right neighbour
//! as its author saw them, deleted ones included; siblings on the left are ordered by
//! author, those on the right by what stood right of them, the farthest first, then by author. The
//! order of all nodes does not depend on who has which of them: what a replica shows is that
//! order, without what its edits do not contain or have deleted.

use std::cmp::Ordering;

/// A set of edits, by number.
pub(crate) type Set = u128;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    Shared(String),
    Site(u64),
}

#[derive(Debug)]
struct Node {
    what: char,
    name: Name,
    /// `None`: the beginning.
    parent: Option<usize>,
    is_right: bool,
    /// `None`: the end.
    right: Option<usize>,
    inserted: Set,
    deleted: Set,
}

/// Everything that was ever typed.
#[derive(Debug, Default)]
pub(crate) struct Model {
    nodes: Vec<Node>,
    // The order of all nodes.
    order: Vec<usize>,
}

impl Model {
    /// What a replica with these edits shows.
    pub(crate) fn text(&self, set: Set) -> String {
        self.shown(set).map(|n| self.nodes[n].what).collect()
    }

    fn shown(&self, set: Set) -> impl Iterator<Item = usize> + '_ {
        self.known(set)
            .filter(move |n| self.nodes[*n].deleted & set == 0)
    }

    fn known(&self, set: Set) -> impl Iterator<Item = usize> + '_ {
        self.order
            .iter()
            .copied()
            .filter(move |n| self.nodes[*n].inserted & set != 0)
    }

    /// Records that `edit`, knowing `saw`, inserted `text` after the `at`-th character that it
    /// saw. Characters typed by the same edit are part of `saw`.
    pub(crate) fn insert(&mut self, saw: Set, edit: usize, name: &Name, at: usize, text: &str) {
        let saw = saw | 1 << edit;
        let mut left = at
            .checked_sub(1)
            .map(|n| self.shown(saw).nth(n).expect("a position in the text"));
        for what in text.chars() {
            let right = self.next_known(saw, left);
            left = Some(self.add(saw, edit, name, left, right, what));
        }
    }

    /// As `insert` at the beginning, but text of this name at the same place counts once.
    /// Answers whether it was there.
    pub(crate) fn begin(&mut self, saw: Set, edit: usize, text: &str) -> bool {
        let right = self.next_known(saw, None);
        let name = Name::Shared(text.to_owned());
        let mut found = false;
        for node in &mut self.nodes {
            if node.name == name && node.right == right {
                node.inserted |= 1 << edit;
                found = true;
            }
        }
        let mut left = None;
        for what in text.chars().filter(|_| !found) {
            left = Some(self.add(saw | 1 << edit, edit, &name, left, right, what));
        }
        found
    }

    fn next_known(&self, saw: Set, left: Option<usize>) -> Option<usize> {
        let mut known = self.known(saw);
        match left {
            None => known.next(),
            Some(left) => known.skip_while(|n| *n != left).nth(1),
        }
    }

    fn add(
        &mut self,
        saw: Set,
        edit: usize,
        name: &Name,
        left: Option<usize>,
        right: Option<usize>,
        what: char,
    ) -> usize {
        let has_right_child = self
            .known(saw)
            .any(|n| self.nodes[n].is_right && self.nodes[n].parent == left);
        let (parent, is_right) = if has_right_child {
            (Some(right.expect("a right child follows")), false)
        } else {
            (left, true)
        };
        let number = self.nodes.len();
        self.nodes.push(Node {
            what,
            name: name.clone(),
            parent,
            is_right,
            right,
            inserted: 1 << edit,
            deleted: 0,
        });
        let place = self
            .order
            .partition_point(|other| self.compare(*other, number) == Ordering::Less);
        self.order.insert(place, number);
        number
    }

    /// Records that `edit`, knowing `saw`, deleted the character at `at`. Those that it deleted
    /// before count as still there.
    pub(crate) fn delete(&mut self, saw: Set, edit: usize, at: usize) {
        let node = self.shown(saw).nth(at).expect("a position in the text");
        self.nodes[node].deleted |= 1 << edit;
    }

    /// Records that `edit` deleted all that it saw.
    pub(crate) fn delete_all(&mut self, saw: Set, edit: usize) {
        let shown: Vec<usize> = self.shown(saw).collect();
        for node in shown {
            self.nodes[node].deleted |= 1 << edit;
        }
    }

    /// Records that `edit` deletes this letter, whether it saw it or not.
    #[allow(
        dead_code,
        reason = "only elements of lists inside documents go like this"
    )]
    pub(crate) fn delete_letter(&mut self, letter: char, edit: usize) {
        for node in self.nodes.iter_mut().filter(|node| node.what == letter) {
            node.deleted |= 1 << edit;
        }
    }

    fn path(&self, node: usize) -> Vec<usize> {
        let mut path = vec![node];
        while let Some(parent) = self.nodes[path[path.len() - 1]].parent {
            path.push(parent);
        }
        path.reverse();
        path
    }

    fn compare(&self, a: usize, b: usize) -> Ordering {
        let (pa, pb) = (self.path(a), self.path(b));
        let common = pa.iter().zip(&pb).take_while(|(x, y)| x == y).count();
        match (pa.get(common), pb.get(common)) {
            (None, None) => Ordering::Equal,
            (None, Some(y)) if self.nodes[*y].is_right => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(x), None) if self.nodes[*x].is_right => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(x), Some(y)) => self.siblings(*x, *y),
        }
    }

    fn siblings(&self, x: usize, y: usize) -> Ordering {
        let (x, y) = (&self.nodes[x], &self.nodes[y]);
        let farthest_first = match (x.right, y.right) {
            _ if !x.is_right || !y.is_right => Ordering::Equal,
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(r), Some(s)) => self.compare(s, r),
        };
        x.is_right
            .cmp(&y.is_right)
            .then(farthest_first)
            .then(x.name.cmp(&y.name))
    }
}
