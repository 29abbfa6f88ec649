//! Guardrails that act, end to end: a real broker, real processes, simulated exchanges with faults, and the LEDGER as witness.

mod restart;
mod rollback;
mod stage;
