//! Mistakes that the delivery core and its model do not make. In the tests alone, each can be made on purpose, so that it
//! shows that the simulator notices.

use std::cell::Cell;

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mistake {
    /// The store takes a settlement under a lease that is not the newest.
    FenceMissing,
    /// What was claimed when the process was killed is not owed any more.
    PendingLostInCrash,
    /// A delivery that is over is still counted as pending.
    LedgerForgets,
    /// Retries start while fresh deliveries wait, as many as there are.
    RetryBudgetIgnored,
    /// A failed delivery is given up at once.
    GivenUpEarly,
    /// A failed delivery is taken for a delivered one.
    FailureTakenForSuccess,
    /// A delivery is tried again before the time that the partner asked for.
    WishIgnored,
    /// A destination goes on before the time that the partner asked for.
    HoldIgnored,
    /// A partner that pushes back slows nobody.
    LearnedRateStays,
    /// After an outage everything comes at once.
    RampMissing,
    /// The rates that were set do not hold.
    SetRateIgnored,
    /// However many attempts fail, the breaker stays closed.
    BreakerStaysClosed,
    /// An open breaker lets as many probe as want to.
    ProbesUnbounded,
    /// Deliveries of one key start together.
    OrderIgnored,
    /// A batch that failed as a whole is given up as a whole.
    BisectionMissing,
    /// A destination starts more attempts than it may.
    CapIgnored,
    /// A destination takes places as long as there are any.
    PlacesUnshared,
    /// A destination that waits until a moment is not looked at then.
    WaitForgotten,
    /// A destination has one attempt under way and no more.
    OneAtATime,
    /// The dispatcher is not told that events came.
    FeedForgets,
    /// A client gets its answer before its event is on disk.
    AcknowledgedEarly,
    /// An event that finds no room on the disk is acknowledged all the same.
    FullDiskAcknowledged,
    /// What became of deliveries is forgotten when it finds no room on the disk.
    FullDiskForgets,
    /// Events for a destination that is paused are filtered.
    PausedFiltered,
    /// What is paused or off is claimed and tried all the same.
    PauseIgnored,
    /// What a lane gives back of a destination that is off is not given to the store.
    ReleaseForgotten,
    /// A lane claims while what it gave back is on its way to the disk.
    ReleaseUnawaited,
    /// What is filtered is not counted.
    FilteredUncounted,
    /// What was tried before stays owed when its destination is deleted.
    DeletedStillOwed,
    /// The window of what waited begins with its acceptance.
    SinceForgotten,
    /// The process goes by a clock that somebody sets.
    WallClock,
    /// After the clock was set back, new deliveries sort before older ones.
    IdsGoBack,
    /// After the clock was set back, what is due stays as far ahead as it was.
    DueStaysAhead,
    /// After the clock was set back, a batch waits for the time in which its first event was accepted.
    BatchWaitsAhead,
    /// What was due while nothing ran is due in one moment.
    BacklogAtOnce,
}

thread_local! {
    static MADE: Cell<Option<Mistake>> = const { Cell::new(None) };
}

/// Whether this one is made now, on this thread.
pub(super) fn made(mistake: Mistake) -> bool {
    MADE.get() == Some(mistake)
}

/// Does something while this mistake is made.
pub(super) fn making<T>(mistake: Mistake, work: impl FnOnce() -> T) -> T {
    MADE.set(Some(mistake));
    let done = work();
    MADE.set(None);
    done
}
