//! The delivery blocks of a workspace as one list, the newest first.
//!
//! An index over workspaces would be a further page to write for each block. A workspace's blocks are those of its destinations, whose
//! indexes are in order: merging them reads what is asked for, and a few blocks of each destination.

use std::collections::{BinaryHeap, VecDeque};

use rusqlite::{Connection, params};

use super::rows::uuid;
use super::select::{Block, COLUMNS, DeliveryFilter, FITS};
use crate::model::{DestinationId, WorkspaceId};

/// Blocks that are read ahead, of all destinations together; of each at least one.
const AHEAD: usize = 64;

/// A way to blocks of a destination in their order.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub index: &'static str,
    /// The condition under which a block is in that index, or in the part of it that is in order.
    pub narrow: &'static str,
}

pub(super) const ALL: Way = Way { index: "blocks_by_destination", narrow: "" };
pub(super) const DEAD: Way = Way { index: "blocks_dead_by_destination", narrow: "AND dead > 0" };
const FRESH: Way = Way { index: "blocks_owed", narrow: "AND (fresh > 0) = 1 AND open > 0" };
const TRIED: Way = Way { index: "blocks_owed", narrow: "AND (fresh > 0) = 0 AND open > 0" };

fn statement(Way { index, narrow }: Way) -> String {
    format!(
        "SELECT {COLUMNS} FROM delivery_blocks INDEXED BY {index}
         WHERE {FITS} AND workspace = ?6 AND destination = ?7 {narrow} AND seq >= ?8 AND seq <= ?9
         ORDER BY seq DESC LIMIT ?10"
    )
}

/// All of them.
#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    [ALL, DEAD, FRESH, TRIED].map(statement).into()
}

/// Blocks of one destination, on one way.
struct Part {
    destination: DestinationId,
    way: Way,
    ahead: VecDeque<Block>,
    /// Whether there may be more behind what was read.
    more: bool,
}

/// Blocks of several destinations in which something may fit a filter.
pub(super) struct Newest<'a> {
    sql: &'a Connection,
    filter: &'a DeliveryFilter,
    workspace: WorkspaceId,
    from: i64,
    at_once: usize,
    parts: Vec<Part>,
    /// The next block of each part: its number, and the part.
    next: BinaryHeap<(i64, usize)>,
}

impl<'a> Newest<'a> {
    /// Those numbered from one to another, both included.
    pub fn new(
        sql: &'a Connection,
        filter: &'a DeliveryFilter,
        workspace: WorkspaceId,
        destinations: &[DestinationId],
        (from, to): (i64, i64),
    ) -> rusqlite::Result<Self> {
        let ways: &[Way] = match () {
            () if filter.only_pending() => &[FRESH, TRIED],
            () if filter.only_dead() => &[DEAD],
            () => &[ALL],
        };
        let part = |destination, way| Part { destination, way, ahead: VecDeque::new(), more: true };
        let parts: Vec<_> = destinations.iter().flat_map(|to| ways.iter().map(|way| part(*to, *way))).collect();
        let at_once = (AHEAD / parts.len().max(1)).max(1);
        let mut all = Self { sql, filter, workspace, from, at_once, parts, next: BinaryHeap::new() };
        for part in 0..all.parts.len() {
            all.read(part, to)?;
        }
        Ok(all)
    }

    /// The next one.
    pub fn next(&mut self) -> rusqlite::Result<Option<Block>> {
        let Some((seq, at)) = self.next.pop() else { return Ok(None) };
        let block = self.parts[at].ahead.pop_front();
        match self.parts[at].ahead.front() {
            Some(next) => self.next.push((next.seq, at)),
            None => self.read(at, seq - 1)?,
        }
        Ok(block)
    }

    /// Reads on in a part, from this number down.
    fn read(&mut self, at: usize, to: i64) -> rusqlite::Result<()> {
        let part = &mut self.parts[at];
        if !part.more {
            return Ok(());
        }
        let mut find = self.sql.prepare_cached(&statement(part.way))?;
        let [source, connection, block, since, until] = self.filter.bound();
        let (workspace, destination) = (uuid(self.workspace.uuid()), uuid(part.destination.uuid()));
        let bound = params![
            source,
            connection,
            block,
            since,
            until,
            workspace,
            destination,
            self.from,
            to,
            self.at_once as i64
        ];
        part.ahead = find.query_map(bound, Block::from)?.collect::<rusqlite::Result<_>>()?;
        part.more = part.ahead.len() == self.at_once;
        if let Some(next) = part.ahead.front() {
            self.next.push((next.seq, at));
        }
        Ok(())
    }
}
