use bytes::Bytes;

use super::*;
use crate::model::{ConnectionId, DeliveryId, Event, EventType, LeaseToken, SourceId};

pub(super) const T0: Timestamp = Timestamp::from_millis(1_000_000);

const CONFIG: ScheduleConfig = ScheduleConfig {
    in_flight: 64,
    in_flight_per_destination: 16,
    in_flight_per_host: 32,
    processors: 2,
    breaker: BreakerPolicy {
        failure_percent: 50,
        attempts: 20,
        slow: Duration::from_secs(3),
        first_probe: Duration::from_secs(1),
        longest_probe: Duration::from_secs(30),
    },
};

/// A claimed delivery, fresh or to be tried again.
pub(super) fn item(again: bool) -> Item {
    let delivery = ClaimedDelivery {
        id: DeliveryId::new(T0),
        lease: LeaseToken(1),
        attempt: 1 + u32::from(again),
        again,
        key: None,
        connection: ConnectionId::new(T0),
        destination: DestinationId::new(T0),
        source: SourceId::new(T0),
        accepted_at: T0,
        version: None,
        event: Event {
            message_id: "m".into(),
            event_type: EventType::Track,
            user_id: None,
            anonymous_id: None,
            name: None,
            received_at: T0,
            json: Bytes::from_static(b"{}"),
        },
    };
    Item { delivery, group: 0, since: T0 }
}

fn terms(hosts: &[&str]) -> Terms {
    Terms {
        batch: None,
        rates: Vec::new(),
        hosts: hosts.iter().map(|name| Arc::from(*name)).collect(),
        ordered: false,
        window: Duration::from_secs(100),
        ordered_window: Duration::from_secs(30),
    }
}

/// A schedule whose store always has more for everybody.
struct Bed {
    schedule: Schedule,
    under_way: Vec<(Ticket, usize)>,
    now: Timestamp,
}

impl Bed {
    fn new(terms: &[Terms]) -> (Self, Vec<DestinationId>) {
        let mut schedule = Schedule::new(CONFIG, 1, T0);
        let destinations: Vec<_> = terms.iter().map(|_| DestinationId::new(T0)).collect();
        for (destination, terms) in destinations.iter().zip(terms) {
            schedule.terms(*destination, terms.clone(), T0);
            schedule.more(*destination, true, false);
        }
        (Self { schedule, under_way: Vec::new(), now: T0 }, destinations)
    }

    /// Does every step that there is.
    fn run(&mut self) {
        while let Some(step) = self.schedule.next(self.now) {
            match step {
                Step::Claim(destination, want) => {
                    self.schedule.claimed(destination, (0..want.fresh).map(|_| item(false)).collect());
                }
                Step::Start(ticket, items) => self.under_way.push((ticket, items.len())),
                Step::Load(_) | Step::Hold(_) | Step::Release(..) | Step::Expire(..) | Step::Changed(..) => {}
            }
        }
    }

    fn held_by(&self, destination: DestinationId) -> usize {
        self.under_way.iter().filter(|(ticket, _)| ticket.destination == destination).count()
    }

    /// Ends an attempt of this destination, which took little of a processor.
    fn end(&mut self, destination: DestinationId, sight: Sight, wall: Duration) {
        self.end_after(destination, sight, wall, Duration::from_micros(50));
    }

    fn end_after(&mut self, destination: DestinationId, sight: Sight, wall: Duration, cpu: Duration) {
        let at = self.under_way.iter().position(|(ticket, _)| ticket.destination == destination);
        let (ticket, events) = self.under_way.remove(at.expect("one is under way"));
        let ended = Ended { sight: Some(sight), wall, cpu, requests: 1, events, ..Ended::default() };
        self.schedule.ended(&ticket, ended, self.now);
        self.run();
    }
}

#[test]
fn who_asks_for_attempts_only_gets_none_before_a_step_that_somebody_else_has_to_do() {
    let (mut bed, destinations) = Bed::new(&[terms(&["h"])]);
    // There may be more for as long as a claim brings anything.
    for claimed in [vec![item(false), item(false)], Vec::new()] {
        assert!(bed.schedule.next_attempt(T0).is_none() && bed.schedule.has_steps());
        assert!(matches!(bed.schedule.next(T0), Some(Step::Claim(..))));
        bed.schedule.claimed(destinations[0], claimed);
    }
    let attempts = std::iter::from_fn(|| bed.schedule.next_attempt(T0)).count();
    assert_eq!((attempts, bed.schedule.in_flight()), (2, 2));
}

#[test]
fn many_destinations_hang_and_another_finds_places() {
    let all: Vec<_> = (0..25).map(|n| terms(&[&format!("h{n}")])).collect();
    let (mut bed, destinations) = Bed::new(&all[..24]);
    bed.run();
    assert!(bed.under_way.len() < CONFIG.in_flight, "{} under way", bed.under_way.len());
    let healthy = DestinationId::new(T0);
    bed.schedule.terms(healthy, all[24].clone(), T0);
    bed.schedule.more(healthy, true, false);
    bed.run();
    assert!(bed.held_by(healthy) >= 1);
    for _ in 0..1_000 {
        bed.end(healthy, Sight::Good, Duration::from_millis(1));
        assert!(bed.held_by(healthy) >= 1, "it goes on");
    }
    assert!(destinations.iter().all(|one| bed.held_by(*one) >= 1), "everybody has a place");
}

#[test]
fn a_lane_alone_comes_to_its_cap_and_no_further() {
    let (mut bed, destinations) = Bed::new(&[terms(&[])]);
    bed.run();
    assert_eq!(bed.held_by(destinations[0]), CONFIG.in_flight_per_destination);
}

#[test]
fn a_lane_that_computes_has_under_way_what_others_can_wait_for_and_one_that_waits_comes_to_its_cap() {
    let (mut bed, destinations) = Bed::new(&[terms(&[])]);
    bed.run();
    for (cpu_us, wall_us, most) in [
        (50, 50, 10),
        (200, 200, 2),
        (100_000, 100_000, 1),
        (10_000, 40_000, 4),
        (500, 100_000, CONFIG.in_flight_per_destination),
    ] {
        for _ in 0..100 {
            let (cpu, wall) = (Duration::from_micros(cpu_us), Duration::from_micros(wall_us));
            bed.end_after(destinations[0], Sight::Good, wall, cpu);
        }
        assert_eq!(bed.held_by(destinations[0]), most, "{cpu_us} of {wall_us}");
    }
}

#[test]
fn a_lane_that_computes_keeps_every_processor_busy_while_it_is_alone() {
    let (mut bed, destinations) = Bed::new(&[terms(&[])]);
    bed.run();
    let computes = Duration::from_millis(100);
    bed.now = bed.now.plus(Duration::from_secs(1));
    (0..100).for_each(|_| bed.end_after(destinations[0], Sight::Good, computes, computes));
    assert_eq!(bed.held_by(destinations[0]), CONFIG.processors);
    let neighbour = DestinationId::new(T0);
    bed.schedule.terms(neighbour, terms(&[]), T0);
    bed.schedule.more(neighbour, true, false);
    bed.run();
    bed.end_after(destinations[0], Sight::Good, computes, computes);
    assert_eq!(bed.held_by(destinations[0]), CONFIG.processors - 1);
}

#[test]
fn attempts_that_only_wait_for_each_others_processor_are_few() {
    for (partner_us, most) in [(0, 4 * CONFIG.processors), (100_000, CONFIG.in_flight_per_destination)] {
        let (mut bed, destinations) = Bed::new(&[terms(&[])]);
        bed.run();
        bed.now = bed.now.plus(Duration::from_secs(1));
        assert_eq!(bed.held_by(destinations[0]), CONFIG.in_flight_per_destination);
        let computes = Duration::from_millis(2);
        for _ in 0..1_000 {
            let in_line = computes * bed.held_by(destinations[0]) as u32 / CONFIG.processors as u32;
            let wall = Duration::from_micros(partner_us).max(in_line);
            bed.end_after(destinations[0], Sight::Good, wall, computes);
        }
        let held = bed.held_by(destinations[0]);
        assert!((most - 1..=most + 1).contains(&held), "{held} under way at a partner that takes {partner_us} µs");
    }
}

#[test]
fn destinations_of_one_host_share_its_places_and_others_have_their_own() {
    let (mut bed, destinations) = Bed::new(&[terms(&["a"]), terms(&["a", "b"]), terms(&["a"]), terms(&["c"])]);
    bed.run();
    let at_a: usize = destinations[..3].iter().map(|one| bed.held_by(*one)).sum();
    assert!(at_a < CONFIG.in_flight_per_host && at_a > CONFIG.in_flight_per_host / 2, "{at_a}");
    assert!(bed.held_by(destinations[3]) > 10, "{}", bed.held_by(destinations[3]));
    // A place that becomes free goes to somebody who waits for that host.
    bed.end(destinations[0], Sight::Good, Duration::from_millis(1));
    let now: usize = destinations[..3].iter().map(|one| bed.held_by(*one)).sum();
    assert_eq!(now, at_a);
}

#[test]
fn lanes_take_turns_by_what_their_attempts_cost() {
    // Four places for eight lanes that always have work: whose turn it is decides.
    let config = ScheduleConfig { in_flight: 4, ..CONFIG };
    let (mut bed, destinations) = Bed::new(&vec![terms(&[]); 8]);
    bed.schedule = Schedule::new(config, 1, T0);
    for destination in &destinations {
        bed.schedule.terms(*destination, terms(&[]), T0);
        bed.schedule.more(*destination, true, false);
    }
    bed.run();
    let mut used = [0_u64; 8];
    for _ in 0..20_000 {
        let (ticket, events) = bed.under_way.remove(0);
        let which = destinations.iter().position(|one| *one == ticket.destination).unwrap();
        // Every second one costs ten times as much.
        let micros = if which % 2 == 0 { 2_000 } else { 200 };
        used[which] += micros;
        let cpu = Duration::from_micros(micros);
        let ended = Ended { sight: Some(Sight::Good), cpu, requests: 1, events, ..Ended::default() };
        bed.schedule.ended(&ticket, ended, bed.now);
        bed.run();
    }
    let (least, most) = (used.iter().min().unwrap(), used.iter().max().unwrap());
    assert!(*most < *least * 3, "{used:?}");
}

#[test]
fn a_destination_that_fails_waits_for_its_probe_and_expires_what_waited_too_long() {
    let (mut bed, destinations) = Bed::new(&[terms(&[]), terms(&[])]);
    bed.run();
    for _ in 0..20 {
        bed.end(destinations[0], Sight::Failed, Duration::from_millis(1));
    }
    let state = bed.schedule.state(destinations[0]).unwrap();
    assert!(matches!(state.breaker, BreakerState::Open { .. }), "{state:?}");
    while bed.held_by(destinations[0]) > 0 {
        bed.end(destinations[0], Sight::Failed, Duration::from_millis(1));
    }
    bed.now = bed.now.plus(Duration::from_secs(1));
    bed.run();
    assert_eq!(bed.held_by(destinations[0]), 1, "one probe");
    bed.end(destinations[0], Sight::Failed, Duration::from_millis(1));
    assert!(bed.held_by(destinations[1]) > 0, "the other goes on");

    bed.now = T0.plus(Duration::from_secs(101));
    let mut expired = 0;
    while let Some(step) = bed.schedule.next(bed.now) {
        match step {
            Step::Expire(items, _) => expired += items.len(),
            Step::Claim(destination, _) => bed.schedule.claimed(destination, Vec::new()),
            _ => {}
        }
    }
    assert!(expired > 0);
}

#[test]
fn a_host_fault_holds_the_lane_for_longer_each_time_and_loses_nothing() {
    let (mut bed, destinations) = Bed::new(&[terms(&[])]);
    bed.run();
    for secs in [1, 2, 4, 8, 16, 32, 60, 60] {
        let before = bed.schedule.state(destinations[0]).unwrap().claimed;
        let (ticket, _) = bed.under_way.remove(0);
        let fault = Ended { back: Back::Fault(vec![item(false)]), events: 1, ..Ended::default() };
        bed.schedule.ended(&ticket, fault, bed.now);
        bed.run();
        assert_eq!(bed.schedule.state(destinations[0]).unwrap().claimed, before + 1);
        bed.now = bed.now.plus(Duration::from_millis(secs * 1_000 - 1));
        bed.run();
        assert_eq!(bed.schedule.state(destinations[0]).unwrap().claimed, before + 1, "{secs} s");
        bed.now = bed.now.plus(Duration::from_millis(1));
        bed.run();
        assert_eq!(bed.schedule.state(destinations[0]).unwrap().claimed, before, "{secs} s");
    }
}

#[test]
fn a_lane_in_order_goes_on_when_what_it_gave_back_is_in_the_store() {
    let (mut schedule, destination) = (Schedule::new(CONFIG, 1, T0), DestinationId::new(T0));
    schedule.terms(destination, Terms { ordered: true, ..terms(&[]) }, T0);
    schedule.more(destination, true, false);
    assert!(matches!(schedule.next(T0), Some(Step::Load(_))));
    schedule.loaded(destination, Vec::new());
    assert!(matches!(schedule.next(T0), Some(Step::Claim(..))));
    schedule.claimed(destination, vec![item(false)]);
    assert!(matches!(schedule.next(T0), Some(Step::Claim(..))));
    let Some(Step::Start(ticket, items)) = schedule.next(T0) else { panic!("nothing starts") };
    schedule.ended(&ticket, Ended { back: Back::Off(items), events: 1, ..Ended::default() }, T0);
    assert!(matches!(schedule.next(T0), Some(Step::Release(_, items)) if items.len() == 1));
    // What was being claimed meanwhile does not overtake it.
    schedule.claimed(destination, vec![item(false)]);
    assert!(matches!(schedule.next(T0), Some(Step::Release(_, items)) if items.len() == 1));
    schedule.released(destination, 1);
    assert!(schedule.next(T0).is_none());
    schedule.released(destination, 1);
    assert!(matches!(schedule.next(T0), Some(Step::Claim(..))));
}

#[test]
fn a_destination_that_is_off_gives_back_everything() {
    let (mut bed, destinations) = Bed::new(&[terms(&[])]);
    bed.run();
    let waiting = bed.schedule.state(destinations[0]).unwrap().claimed;
    let (ticket, _) = bed.under_way.remove(0);
    let off = Ended { back: Back::Off(vec![item(false)]), events: 1, ..Ended::default() };
    bed.schedule.ended(&ticket, off, bed.now);
    match bed.schedule.next(bed.now) {
        Some(Step::Release(_, items)) => assert_eq!(items.len(), waiting + 1),
        other => panic!("{other:?}"),
    }
}
