//! What strong writes make of eventual ones: which writes of a register stand.
//!
//! Strong transactions have one order, the log's positions. A strong write of a cell beats every
//! eventual one that had not seen it, whatever the stamps; so does everything that had seen it. In other
//! words, a write counts by the last strong write of the cell that it knew (a strong one by its
//! own), and only among equals by its rank. This is a total order in which whatever a write saw comes
//! before it, like the order of ranks alone; so the greatest write may be found step by step.
//!
//! It needs the strong writes that one of two writes knew and the other did not: they are in the
//! log as long as the latter is (see [`crate::merge`]). What all know makes no difference.

use crate::merge::{Event, Lost, Reason};
use crate::site::Seq;
use crate::types::{ColumnType, Wrote, frontier};

/// The strong writes of one cell, those of dead changes included: what had lost to one does not
/// return when an INSERT begins the row anew.
pub(crate) struct StrongWrites<'a, 'e> {
    /// By position.
    writes: Vec<Wrote<'a, 'e>>,
}

/// The writes that stand, and whether `mine` is one.
pub(crate) struct Standing<'a, 'e> {
    pub(crate) mine: Option<Wrote<'a, 'e>>,
    pub(crate) others: Vec<Wrote<'a, 'e>>,
}

impl<'a, 'e> StrongWrites<'a, 'e> {
    pub(crate) fn new(writes: impl Iterator<Item = Wrote<'a, 'e>>) -> Self {
        let mut writes: Vec<_> = writes.filter(|write| write.event.is_strong()).collect();
        crate::sorted::by_key(&mut writes, |write| write.event.position());
        Self { writes }
    }

    /// The position of the last one that this event knew; 0 if it knew none of them.
    pub(crate) fn known_to(&self, event: &Event<'_>) -> Seq {
        let positions = self.writes.iter().map(|write| write.event.position());
        positions
            .take_while(|position| *position <= event.position())
            .last()
            .unwrap_or(0)
    }

    /// Which of these writes of a column of this type stand.
    pub(crate) fn stand(
        &self,
        (kind, column): (ColumnType, usize),
        mine: Option<Wrote<'a, 'e>>,
        mut others: Vec<Wrote<'a, 'e>>,
        lost: &mut Vec<Lost<'a>>,
    ) -> Standing<'a, 'e> {
        if self.writes.is_empty() || !kind.is_register() {
            return Standing { mine, others };
        }
        let known = |write: &Wrote<'a, 'e>| self.known_to(write.event);
        let theirs = others.iter().map(known).max();
        let best = mine.as_ref().map(known).max(theirs).unwrap_or(0);
        match mine {
            Some(mine) if known(&mine) < best => {
                others.retain(|write| known(write) == best);
                let shown = shown(kind, &others);
                if let Some(winner) = self.writes.last()
                    && shown.iter().all(|write| write.value() != mine.value())
                {
                    lost.push(beaten(column, &mine, winner));
                }
                return Standing { mine: None, others };
            }
            // What lost to a strong write that an eventual one saw was told when it lost.
            Some(mine) if mine.event.is_strong() => {
                others.retain(|write| theirs == Some(known(write)));
                if theirs < Some(best) {
                    let losers = shown(kind, &others);
                    let losers = losers.iter().filter(|loser| loser.value() != mine.value());
                    lost.extend(losers.map(|loser| beaten(column, loser, &mine)));
                }
            }
            _ => {}
        }
        others.retain(|write| known(write) == best);
        Standing { mine, others }
    }
}

/// The writes among equals that the column shows.
fn shown<'a, 'e>(kind: ColumnType, writes: &[Wrote<'a, 'e>]) -> Vec<Wrote<'a, 'e>> {
    if kind == ColumnType::MvReg {
        return frontier(writes.iter()).into_iter().copied().collect();
    }
    let latest = writes.iter().max_by_key(|write| write.event.order());
    latest.copied().into_iter().collect()
}

fn beaten<'a>(column: usize, loser: &Wrote<'a, '_>, winner: &Wrote<'a, '_>) -> Lost<'a> {
    Lost {
        column,
        winner: winner.event.rank(),
        loser: loser.event.rank(),
        value: loser.value(),
        kept: winner.value(),
        reason: Reason::Strong,
    }
}
