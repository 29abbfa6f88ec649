//! Hosts the built-in strategies.
