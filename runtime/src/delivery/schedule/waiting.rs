//! Waiting: what one destination has claimed, and which of it makes the next attempt.
//!
//! Guarantees: pure. Retries are no more than a fifth of what starts while fresh deliveries wait, and no less where
//! both wait, so neither starves. A batch starts when it is full, or its first event has waited long enough; its
//! bounds are events, bytes and equal values of the fields it is grouped by. What failed as part of a batch starts
//! first, in the halves into which the batch was cut.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

#[cfg(test)]
use crate::delivery::mistakes::{Mistake, made};
use crate::model::{Batch, Timestamp};

use super::Item;

/// Fresh deliveries that must start for one retry to start beside them: one in five is a retry.
const FRESH_FOR_A_RETRY: u32 = 4;

/// Retries that may be saved up, so that a pause of theirs does not become a burst.
pub(in crate::delivery) const SAVED_RETRIES: u32 = 16;

/// One destination's claimed deliveries.
#[derive(Default)]
pub(in crate::delivery) struct Waiting {
    fresh: VecDeque<Item>,
    retries: VecDeque<Item>,
    pieces: VecDeque<Vec<Item>>,
    bytes: usize,
    /// In fresh deliveries: what retries may still cost.
    credit: u32,
}

/// When what waits for an open breaker is given up.
#[derive(Clone, Copy)]
pub(in crate::delivery) struct Windows {
    /// How long a delivery is tried that nobody waits behind.
    pub plain: Duration,
    /// The same where it failed and others wait behind it.
    pub ordered: Duration,
    /// Since when the destination fails. What was never tried may have waited for something else: its window begins here.
    pub troubled: Timestamp,
}

impl Windows {
    /// When this one is given up. What was never tried is not what its key waits for.
    pub fn end(&self, item: &Item) -> Timestamp {
        let delivery = &item.delivery;
        match (delivery.attempt > 1, delivery.key) {
            (true, Some(_)) => delivery.accepted_at.plus(self.ordered),
            (true, None) => delivery.accepted_at.plus(self.plain),
            (false, _) => delivery.accepted_at.max(self.troubled).plus(self.plain),
        }
    }
}

/// How deliveries are put together.
#[derive(Clone, Copy)]
pub(in crate::delivery) struct Form<'a> {
    /// The manifest's wish, if it takes batches.
    pub batch: Option<&'a Batch>,
    /// Events of one attempt at most, from what was learned and from the rate's burst.
    pub most: usize,
    /// Whether there are, or may be, fresh deliveries in the store.
    pub more_fresh: bool,
}

/// What may start.
#[derive(Debug)]
pub(in crate::delivery) enum Next {
    /// These together.
    Start(Vec<Item>),
    /// A batch fills up, at the longest until then.
    Wait(Timestamp),
    /// Nothing.
    Nothing,
}

impl Waiting {
    /// Takes in one that may start.
    pub fn push(&mut self, item: Item) {
        self.bytes += item.size();
        if item.delivery.again { self.retries.push_back(item) } else { self.fresh.push_back(item) }
    }

    /// Takes back what was not tried, in its old place.
    pub fn push_front(&mut self, items: Vec<Item>) {
        for item in items.into_iter().rev() {
            self.bytes += item.size();
            if item.delivery.again { self.retries.push_front(item) } else { self.fresh.push_front(item) }
        }
    }

    /// Takes back a batch that failed as a whole, in pieces.
    pub fn push_pieces(&mut self, pieces: impl IntoIterator<Item = Vec<Item>>) {
        self.pieces.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
    }

    pub fn fresh(&self) -> usize {
        self.fresh.len()
    }

    pub fn retries(&self) -> usize {
        self.retries.len()
    }

    pub fn len(&self) -> usize {
        self.fresh.len() + self.retries.len() + self.pieces.iter().map(Vec::len).sum::<usize>()
    }

    pub fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.retries.is_empty() && self.pieces.is_empty()
    }

    /// Takes everything out.
    pub fn drain(&mut self) -> Vec<Item> {
        self.bytes = 0;
        self.pieces.drain(..).flatten().chain(self.retries.drain(..)).chain(self.fresh.drain(..)).collect()
    }

    /// Takes out what has waited for the whole of its window.
    pub fn expired(&mut self, windows: &Windows, now: Timestamp) -> Vec<Item> {
        let over = |item: &Item| windows.end(item) < now;
        let mut expired = Vec::new();
        for queue in [&mut self.retries, &mut self.fresh] {
            if queue.iter().any(over) {
                let (out, left) = std::mem::take(queue).into_iter().partition::<VecDeque<_>, _>(over);
                expired.extend(out);
                *queue = left;
            }
        }
        self.bytes -= expired.iter().map(Item::size).sum::<usize>();
        for piece in &mut self.pieces {
            expired.extend(piece.extract_if(.., |item| over(item)));
        }
        self.pieces.retain(|piece| !piece.is_empty());
        expired
    }

    /// When the first of what waits is given up.
    pub fn first_end(&self, windows: &Windows) -> Option<Timestamp> {
        let all = self.retries.iter().chain(&self.fresh).chain(self.pieces.iter().flatten());
        all.map(|item| windows.end(item)).min()
    }

    /// What may start now. `allowed` says how long an attempt with that many events has to wait for its rate; what
    /// must wait stays where it is.
    pub fn next(&mut self, form: Form<'_>, now: Timestamp, allowed: impl FnOnce(usize) -> Option<Timestamp>) -> Next {
        if let Some(piece) = self.pieces.front() {
            if let Some(at) = allowed(piece.len()) {
                return Next::Wait(at);
            }
            return self.pieces.pop_front().map_or(Next::Nothing, Next::Start);
        }
        let Some(batch) = form.batch else {
            if self.fresh.is_empty() && !self.retry_is_next(form.more_fresh) {
                return Next::Nothing;
            }
            return match allowed(1) {
                Some(at) => Next::Wait(at),
                None => self.pop(form.more_fresh).map_or(Next::Nothing, |item| Next::Start(vec![item])),
            };
        };
        let most = (batch.max_events as usize).min(form.most).max(1);
        let chosen = if batch.group_by.is_empty() {
            self.plain_batch(batch, most, form.more_fresh, now)
        } else {
            self.grouped_batch(batch, most, form.more_fresh, now)
        };
        let (group, events) = match chosen {
            Ok(chosen) => chosen,
            Err(wait) => return wait.map_or(Next::Nothing, Next::Wait),
        };
        match allowed(events) {
            Some(at) => Next::Wait(at),
            None => Next::Start(self.take(group, events, bytes_of(batch), form.more_fresh)),
        }
    }

    /// Whether fresh deliveries wait, beside which retries are few.
    fn fresh_wait(&self, more_fresh: bool) -> bool {
        #[cfg(test)]
        if made(Mistake::RetryBudgetIgnored) {
            return false;
        }
        !self.fresh.is_empty() || more_fresh
    }

    /// Whether the next one to start is a retry.
    fn retry_is_next(&self, more_fresh: bool) -> bool {
        !self.retries.is_empty() && (!self.fresh_wait(more_fresh) || self.credit >= FRESH_FOR_A_RETRY)
    }

    fn pop(&mut self, more_fresh: bool) -> Option<Item> {
        let item = if self.retry_is_next(more_fresh) {
            if self.fresh_wait(more_fresh) {
                self.credit -= FRESH_FOR_A_RETRY;
            }
            self.retries.pop_front()
        } else {
            self.credit = (self.credit + 1).min(FRESH_FOR_A_RETRY * SAVED_RETRIES);
            self.fresh.pop_front()
        };
        self.bytes -= item.as_ref().map_or(0, Item::size);
        item
    }

    /// How many make the next batch, or until when to wait for it.
    fn plain_batch(
        &self,
        batch: &Batch,
        most: usize,
        more_fresh: bool,
        now: Timestamp,
    ) -> Result<(Option<u64>, usize), Option<Timestamp>> {
        let retries = self.retries_allowed(more_fresh);
        let firsts = [self.fresh.front(), self.retries.front().filter(|_| retries > 0)];
        let Some(first) = firsts.into_iter().flatten().map(|item| item.since).min() else { return Err(None) };
        let ready = self.fresh.len() + retries;
        let full_at = first.plus(Duration::from_millis(batch.max_wait_ms));
        if ready < most && self.bytes < bytes_of(batch) && now < full_at {
            return Err(Some(full_at));
        }
        Ok((None, ready.min(most)))
    }

    /// Retries that may be part of the next batch.
    fn retries_allowed(&self, more_fresh: bool) -> usize {
        let paid = if self.fresh_wait(more_fresh) { (self.credit / FRESH_FOR_A_RETRY) as usize } else { usize::MAX };
        self.retries.len().min(paid)
    }

    /// The group whose batch is ready, the one that waited longest first, and how many it has.
    fn grouped_batch(
        &self,
        batch: &Batch,
        most: usize,
        more_fresh: bool,
        now: Timestamp,
    ) -> Result<(Option<u64>, usize), Option<Timestamp>> {
        struct Group {
            events: usize,
            bytes: usize,
            since: Timestamp,
        }
        let mut groups: HashMap<u64, Group> = HashMap::new();
        let retries = self.retries.iter().take(self.retries_allowed(more_fresh));
        for item in retries.chain(&self.fresh) {
            let group = groups.entry(item.group).or_insert(Group { events: 0, bytes: 0, since: item.since });
            group.events += 1;
            group.bytes += item.size();
            group.since = group.since.min(item.since);
        }
        let full_at = |group: &Group| group.since.plus(Duration::from_millis(batch.max_wait_ms));
        let ready = |group: &Group| group.events >= most || group.bytes >= bytes_of(batch) || now >= full_at(group);
        let chosen = groups.iter().filter(|(_, group)| ready(group)).min_by_key(|(id, group)| (group.since, **id));
        match chosen {
            Some((id, group)) => Ok((Some(*id), group.events.min(most))),
            None => Err(groups.values().map(full_at).min()),
        }
    }

    /// Takes the next batch out: all of one group, or any; all for one version.
    fn take(&mut self, group: Option<u64>, most: usize, most_bytes: usize, more_fresh: bool) -> Vec<Item> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let Some(group) = group else {
            while batch.len() < most {
                let retry = self.retry_is_next(more_fresh);
                let next = if retry { self.retries.front() } else { self.fresh.front() };
                let Some(next) = next else { break };
                let another = |first: &Item| first.delivery.version != next.delivery.version;
                if batch.first().is_some_and(another) || !batch.is_empty() && bytes + next.size() > most_bytes {
                    break;
                }
                bytes += next.size();
                batch.extend(self.pop(more_fresh));
            }
            return batch;
        };
        let allowed = self.retries_allowed(more_fresh);
        let fresh_wait = self.fresh_wait(more_fresh);
        let mut fits = |batch: &mut Vec<Item>, item: Item| {
            let same = batch.first().is_none_or(|first| first.delivery.version == item.delivery.version);
            let room = batch.len() < most && (batch.is_empty() || bytes + item.size() <= most_bytes);
            let fits = item.group == group && same && room;
            if !fits {
                return Some(item);
            }
            bytes += item.size();
            batch.push(item);
            None
        };
        let retries = std::mem::take(&mut self.retries);
        for (at, item) in retries.into_iter().enumerate() {
            let left = if at < allowed { fits(&mut batch, item) } else { Some(item) };
            self.retries.extend(left);
        }
        if fresh_wait {
            self.credit -= FRESH_FOR_A_RETRY * u32::try_from(batch.len()).unwrap_or(u32::MAX);
        }
        let before = batch.len();
        for item in std::mem::take(&mut self.fresh) {
            let left = fits(&mut batch, item);
            self.fresh.extend(left);
        }
        let fresh = u32::try_from(batch.len() - before).unwrap_or(u32::MAX);
        self.credit = self.credit.saturating_add(fresh).min(FRESH_FOR_A_RETRY * SAVED_RETRIES);
        self.bytes -= bytes;
        batch
    }
}

fn bytes_of(batch: &Batch) -> usize {
    batch.max_bytes.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{T0, item};
    use super::*;

    fn filled(fresh: usize, retries: usize) -> Waiting {
        let mut waiting = Waiting::default();
        (0..fresh).for_each(|_| waiting.push(item(false)));
        (0..retries).for_each(|_| waiting.push(item(true)));
        waiting
    }

    fn batch(max_events: u32, max_wait_ms: u64) -> Batch {
        Batch { max_events, max_wait_ms, max_bytes: None, group_by: Vec::new() }
    }

    /// Starts what may start: how many fresh ones and how many retries.
    fn started(waiting: &mut Waiting, batch: Option<&Batch>, more_fresh: bool, now: Timestamp) -> (usize, usize) {
        let form = Form { batch, most: usize::MAX, more_fresh };
        match waiting.next(form, now, |_| None) {
            Next::Start(items) => {
                let retries = items.iter().filter(|item| item.delivery.again).count();
                (items.len() - retries, retries)
            }
            Next::Wait(_) | Next::Nothing => (0, 0),
        }
    }

    #[test]
    fn while_fresh_ones_wait_one_in_five_is_a_retry_and_without_them_all_are() {
        let mut waiting = filled(100, 100);
        let mut counts = (0, 0);
        for _ in 0..100 {
            let (fresh, retries) = started(&mut waiting, None, false, T0);
            counts = (counts.0 + fresh, counts.1 + retries);
        }
        assert_eq!(counts, (80, 20));
        let mut waiting = filled(0, 3);
        assert_eq!(started(&mut waiting, None, true, T0), (0, 0), "fresh ones are about to come");
        assert_eq!(started(&mut waiting, None, false, T0), (0, 1));
    }

    #[test]
    fn saved_up_retries_are_no_burst() {
        let mut waiting = filled(1_000, 0);
        for _ in 0..500 {
            started(&mut waiting, None, false, T0);
        }
        (0..100).for_each(|_| waiting.push(item(true)));
        let retries: usize = (0..16).map(|_| started(&mut waiting, None, false, T0).1).sum();
        assert_eq!(retries, SAVED_RETRIES as usize);
        assert_eq!(started(&mut waiting, None, false, T0), (1, 0));
    }

    #[test]
    fn a_batch_starts_when_it_is_full_or_its_first_event_has_waited_long_enough() {
        let four = batch(4, 1_000);
        assert_eq!(started(&mut filled(5, 0), Some(&four), false, T0), (4, 0));
        let mut waiting = filled(3, 0);
        let full_at = T0.plus(Duration::from_secs(1));
        let form = Form { batch: Some(&four), most: usize::MAX, more_fresh: false };
        assert!(matches!(waiting.next(form, T0, |_| None), Next::Wait(at) if at == full_at));
        assert_eq!(started(&mut waiting, Some(&four), false, full_at), (3, 0));
        assert_eq!(started(&mut filled(3, 2), Some(&four), false, full_at), (3, 0), "no credit for retries yet");
        assert_eq!(started(&mut filled(0, 2), Some(&four), false, full_at), (0, 2));
    }

    #[test]
    fn a_batch_ends_at_its_bytes_but_has_one_event_at_least() {
        let size = item(false).size() as u64;
        for (bytes, wanted) in [(1, 1), (size, 1), (3 * size, 3), (3 * size + 1, 3)] {
            let bounded = Batch { max_bytes: Some(bytes), ..batch(100, 60_000) };
            assert_eq!(started(&mut filled(5, 0), Some(&bounded), false, T0), (wanted, 0), "{bytes} bytes");
        }
    }

    #[test]
    fn a_grouped_batch_has_one_group_and_the_others_fill_up_meanwhile() {
        let grouped = Batch { group_by: vec!["userId".to_owned().try_into().unwrap()], ..batch(2, 1_000) };
        let mut waiting = Waiting::default();
        for group in [1, 2, 3, 2, 1, 1] {
            waiting.push(Item { group, ..item(false) });
        }
        let mut groups = Vec::new();
        let form = Form { batch: Some(&grouped), most: usize::MAX, more_fresh: false };
        while let Next::Start(items) = waiting.next(form, T0, |_| None) {
            groups.push(items.iter().map(|item| item.group).collect::<Vec<_>>());
        }
        assert_eq!(groups, [[1, 1], [2, 2]]);
        assert_eq!(waiting.len(), 2);
        let later = T0.plus(Duration::from_secs(1));
        assert_eq!(started(&mut waiting, Some(&grouped), false, later), (1, 0));
        assert_eq!(started(&mut waiting, Some(&grouped), false, later), (1, 0));
    }

    #[test]
    fn pieces_of_a_failed_batch_start_first_and_alone() {
        let mut waiting = filled(5, 0);
        waiting.push_pieces([vec![item(false), item(false)], vec![item(false)], Vec::new()]);
        let ten = batch(10, 0);
        let sizes: Vec<_> = (0..3).map(|_| started(&mut waiting, Some(&ten), false, T0).0).collect();
        assert_eq!(sizes, [2, 1, 5]);
    }

    #[test]
    fn each_is_given_up_at_the_end_of_its_own_window_wherever_it_stands() {
        let (secs, at) = (Duration::from_secs, |secs| T0.plus(Duration::from_secs(secs)));
        let windows = Windows { plain: secs(100), ordered: secs(30), troubled: at(20) };
        let of = |again: bool, key: Option<u64>| {
            let mut item = item(again);
            item.delivery.key = key.map(crate::model::OrderKey);
            item
        };
        let mut waiting = Waiting::default();
        // Behind others with more time, and in pieces of a batch.
        for item in [of(false, None), of(false, Some(1)), of(true, None), of(true, Some(2))] {
            waiting.push(item);
        }
        waiting.push_pieces([vec![of(false, None), of(false, Some(3))]]);
        let ends = [(29, 0), (31, 1), (100, 0), (101, 1), (120, 0), (121, 4)];
        for (now, wanted) in ends {
            let first = waiting.first_end(&windows).unwrap();
            let expired = waiting.expired(&windows, at(now));
            assert_eq!(expired.len(), wanted, "after {now} s");
            assert_eq!(first < at(now), wanted > 0, "after {now} s");
        }
        assert!(waiting.is_empty() && waiting.bytes == 0);
    }

    #[test]
    fn what_must_wait_for_its_rate_stays_where_it_is() {
        let mut waiting = filled(1, 0);
        let until = T0.plus(Duration::from_secs(9));
        let form = Form { batch: None, most: 1, more_fresh: false };
        assert!(matches!(waiting.next(form, T0, |_| Some(until)), Next::Wait(at) if at == until));
        assert_eq!(waiting.len(), 1);
    }
}
