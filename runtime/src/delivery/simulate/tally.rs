//! Tally: what the ledger says, what the rows say, and that both say the same.
//!
//! The ledger is written by what happens, as the real one is by deltas; the tally where a row changes its state. Holding one
//! against the other costs some additions, so it is done at every step; now and then the tally itself is counted anew.

use super::store::State;

/// What a customer has made of a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Switch {
    On,
    /// Events wait.
    Paused,
    /// New events are filtered, what is owed waits.
    Disabled,
    /// What is owed and what comes is filtered.
    Deleted,
}

/// The sums that must hold: `accepted = delivered + dead + filtered + pending`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Ledger {
    pub accepted: u64,
    pub delivered: u64,
    pub dead: u64,
    pub filtered: u64,
    pub pending: u64,
}

/// How many rows stand in each state, and how many of each destination's are open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Tally {
    delivered: u64,
    dead: u64,
    filtered: u64,
    pub open_of: Vec<u64>,
    pub open: u64,
    /// Those of the open ones that are never due by themselves.
    pub held: u64,
}

impl Tally {
    pub fn new(destinations: usize) -> Self {
        Self { delivered: 0, dead: 0, filtered: 0, open_of: vec![0; destinations], open: 0, held: 0 }
    }

    fn of(&mut self, state: State) -> &mut u64 {
        match state {
            State::Fresh | State::Again(_) => &mut self.open,
            State::Delivered => &mut self.delivered,
            State::Dead => &mut self.dead,
            State::Filtered => &mut self.filtered,
        }
    }

    /// A row is there.
    pub fn added(&mut self, destination: usize, state: State) {
        *self.of(state) += 1;
        self.open_of[destination] += u64::from(state.is_open());
        self.held += u64::from(state == State::Again(None));
    }

    /// A row is in another state.
    pub fn moved(&mut self, destination: usize, from: State, to: State) {
        *self.of(from) -= 1;
        self.open_of[destination] -= u64::from(from.is_open());
        self.held -= u64::from(from == State::Again(None));
        self.added(destination, to);
    }

    /// What the ledger says must be what the rows say.
    pub fn check(&self, ledger: Ledger) -> Result<(), String> {
        let Self { delivered, dead, filtered, open, .. } = *self;
        let accepted = delivered + dead + filtered + open;
        let rows = Ledger { accepted, delivered, dead, filtered, pending: open };
        if rows == ledger { Ok(()) } else { Err(format!("the ledger says {ledger:?}, the rows say {rows:?}")) }
    }
}
