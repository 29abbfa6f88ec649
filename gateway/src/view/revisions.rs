//! Which part of the picture changed how often: what conditional requests are answered by.

/// A part of the picture that changes on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Balances.
    Portfolio,
    /// Last prices.
    Prices,
    /// Alerts and their transitions.
    Alerts,
    /// The guardrail's windows.
    Windows,
    /// Heartbeats. Their age is no part of it; whether a process is up is, see [`View::moment`](super::View::moment).
    Processes,
    /// Venues' connections.
    Feeds,
    /// Parked messages.
    Parked,
    /// The newest orders.
    Orders,
    /// Positions, marks included.
    Positions,
    /// The kill switch.
    KillSwitch,
    /// Limits.
    Limits,
    /// What strategies were told.
    Strategies,
    /// Comparisons with exchanges, and halts.
    Reconciliation,
    /// What was done about alerts.
    Doings,
    /// The last smoke check.
    Smoke,
    /// Who was told what.
    Notifications,
    /// Silences. Whether one is in force depends on the time too, see [`View::moment`](super::View::moment).
    Silences,
    /// The model in force.
    Model,
    /// Scores.
    Scores,
    /// How far scores can be believed.
    Calibrations,
    /// Rollouts and counter-moves.
    Rollouts,
    /// Registered strategies.
    Registry,
    /// Backtests.
    Backtests,
    /// Shares of Borsa Istanbul. Their phase depends on the time too, see [`View::moment`](super::View::moment).
    Bist,
    /// Whether the ledger was read to its end.
    Complete,
}

const PARTS: usize = Part::Complete as usize + 1;

/// How often each part changed. Begins anew with each process: an entity tag also names the run.
#[derive(Clone, Debug, Default)]
pub struct Revisions([u64; PARTS]);

impl Revisions {
    /// That part is another one now.
    pub fn changed(&mut self, part: Part) {
        self.0[part as usize] += 1;
    }

    /// Every part may be another one.
    pub fn all_changed(&mut self) {
        self.0.iter_mut().for_each(|revision| *revision += 1);
    }

    /// A number that rises whenever one of these parts changes, and never falls.
    #[must_use]
    pub fn of(&self, parts: &[Part]) -> u64 {
        parts.iter().map(|part| self.0[*part as usize]).sum()
    }
}
