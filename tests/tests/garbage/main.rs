//! Garbage on the bus and from the exchanges is counted, kept for a person and put aside alone; its neighbours are
//! processed and no process dies of it.

mod again;
mod bus;
mod exchanges;
mod messages;
