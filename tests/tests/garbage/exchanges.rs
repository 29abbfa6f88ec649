//! Garbage from the exchanges, by the simulator.
