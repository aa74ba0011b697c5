//! Watch: how deliveries stand, for people and metrics.
//!
//! Guarantees: asking costs deliveries nothing but the answer, for which attempts that end wait; what is counted has few labels.

use tokio::sync::{mpsc, oneshot};

use super::dispatcher::State;
use super::schedule::{BreakerState, LaneState};
use crate::model::{BreakerHealth, DeliveryFigures, DestinationHealth, DestinationId, OutcomeCode};

/// Questions that may wait; whoever asks more waits to ask.
const WAITING: usize = 64;

pub(super) enum Question {
    Health(DestinationId, oneshot::Sender<DestinationHealth>),
    Figures(oneshot::Sender<DeliveryFigures>),
}

/// Where questions arrive.
pub struct Questions(mpsc::Receiver<Question>);

/// Asks how deliveries stand.
#[derive(Clone)]
pub struct Watch(mpsc::Sender<Question>);

/// A way to ask, and where the questions go: into [`super::Parts`].
pub fn watch() -> (Watch, Questions) {
    let (ask, questions) = mpsc::channel(WAITING);
    (Watch(ask), Questions(questions))
}

impl Watch {
    /// How a destination stands; none where deliveries are not running.
    pub async fn health(&self, destination: DestinationId) -> Option<DestinationHealth> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Question::Health(destination, reply)).await.ok()?;
        answer.await.ok()
    }

    /// Figures over all destinations; none where deliveries are not running.
    pub async fn figures(&self) -> Option<DeliveryFigures> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Question::Figures(reply)).await.ok()?;
        answer.await.ok()
    }
}

impl Questions {
    pub(super) async fn recv(&mut self) -> Option<Question> {
        self.0.recv().await
    }
}

impl State {
    pub(super) fn answer(&self, question: Question) {
        // Whoever does not wait any more does not want to know.
        match question {
            Question::Health(destination, reply) => {
                let health = self.schedule.state(destination).map_or_else(DestinationHealth::default, health);
                drop(reply.send(health));
            }
            Question::Figures(reply) => drop(reply.send(self.figures())),
        }
    }

    fn figures(&self) -> DeliveryFigures {
        let mut figures = DeliveryFigures {
            in_flight: self.schedule.in_flight() as u64,
            breakers_opened: self.opened,
            ..DeliveryFigures::default()
        };
        for state in self.schedule.destinations().filter_map(|destination| self.schedule.state(destination)) {
            figures.waiting += state.claimed as u64;
            match state.breaker {
                BreakerState::Closed => figures.breakers_closed += 1,
                BreakerState::Open { .. } => figures.breakers_open += 1,
                BreakerState::Probing { .. } => figures.breakers_probing += 1,
            }
            figures.slowed += u64::from(state.learned_per_s.is_some());
        }
        figures
    }
}

fn health(state: LaneState) -> DestinationHealth {
    let (breaker, reason, next_probe) = match state.breaker {
        BreakerState::Closed => (BreakerHealth::Closed, None, None),
        BreakerState::Open { why, until } => (BreakerHealth::Open, Some(why.as_str()), Some(until)),
        BreakerState::Probing { why } => (BreakerHealth::Probing, Some(why.as_str()), None),
    };
    let outcomes = OutcomeCode::ALL.into_iter().zip(state.outcomes).filter(|(_, count)| *count > 0);
    DestinationHealth {
        breaker,
        reason,
        since: Some(state.since),
        next_probe,
        in_flight: state.in_flight as u64,
        waiting: state.claimed as u64,
        learned_per_s: state.learned_per_s,
        outcomes: outcomes.map(|(code, count)| (code.as_str(), count)).collect(),
    }
}
