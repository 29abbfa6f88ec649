//! Out to the LEDGER: each order's events one after the other by compare-and-set, those of different orders together.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::FutureExt;
use spark_bus_schema::orders::{OrderEvent, OrderId};
use spark_bus_schema::subject::LEDGER;
use spark_bus_schema::{Message, encode, header, subject};
use spark_nats::bus::Meta;
use spark_nats::{AppendError, PublishError, SubjectWriter};

use super::Engine;
use crate::Error;
use crate::machine::Event;

/// Something that went to the broker came to an end.
pub(super) enum Done {
    /// An order's event.
    Appended { event: Box<OrderEvent>, outcome: Result<u64, Failed> },
    /// Another message.
    Published { subject: String, outcome: Result<u64, PublishError> },
}

/// Why an event was not stored.
pub(super) enum Failed {
    /// The subject ends here instead.
    Conflict(u64),
    /// It cannot be stored.
    Refused(PublishError),
    /// The end of the subject could not be read.
    Lost(spark_nats::Error),
}

impl Engine<'_> {
    pub(super) fn append(&mut self, last: u64, event: OrderEvent) {
        let target = subject::order_event(&event.order);
        let mut writer = SubjectWriter::at(self.bus.clone(), LEDGER, target.clone(), last);
        let payload = Bytes::from(encode(&event));
        // The holder's epoch is part of the id: another holder's event of the same revision is not this one.
        let msg_id = format!("executor:{}:{target}:{}", self.lease.epoch(), event.revision);
        let meta = Meta { msg_id: Some(msg_id), cause: Some(format!("{LEDGER}:{}", event.verdict_sequence)) };
        let extra = [(header::REVISION, event.revision.to_string())];
        let append = async move {
            let outcome = match writer.append_with(OrderEvent::KIND, payload, &meta, &extra).await {
                Ok(sequence) => Ok(sequence),
                Err(AppendError::Refused(source)) => Err(Failed::Refused(source)),
                Err(AppendError::Conflict) => match writer.reopen().await {
                    Ok(end) => Err(Failed::Conflict(end.map_or(0, |end| end.sequence))),
                    Err(error) => Err(Failed::Lost(error)),
                },
            };
            Done::Appended { event: Box::new(event), outcome }
        };
        self.pending.push(append.boxed());
    }

    pub(super) fn publish<T: Message + Send + Sync + 'static>(&mut self, target: String, message: T, msg_id: String) {
        let bus = self.bus.clone();
        let publish = async move {
            let meta = Meta { msg_id: Some(msg_id), cause: None };
            let outcome = bus.publish(&target, &message, meta).await;
            Done::Published { subject: target, outcome }
        };
        self.pending.push(publish.boxed());
    }

    pub(super) fn done(&mut self, done: Done) -> Result<(), Error> {
        match done {
            Done::Appended { event, outcome: Ok(sequence) } => {
                self.count(&event);
                self.newest = self.newest.max(sequence);
                self.apply(Event::Stored { order: event.order, revision: event.revision, sequence });
            }
            Done::Appended { event, outcome: Err(Failed::Conflict(end)) } => {
                tracing::error!(order = %event.order, revision = event.revision, end, "another writer's event is in the way; adopting it");
                self.apply(Event::Conflict { order: event.order, end });
            }
            Done::Appended { event, outcome: Err(Failed::Refused(source)) } => {
                return Err(Error::Publish { subject: subject::order_event(&event.order), source });
            }
            Done::Appended { outcome: Err(Failed::Lost(error)), .. } => return Err(error.into()),
            Done::Published { outcome: Ok(_), .. } => {}
            Done::Published { subject, outcome: Err(source) } => return Err(Error::Publish { subject, source }),
        }
        Ok(())
    }

    fn count(&self, event: &OrderEvent) {
        for step in &event.steps {
            metrics::counter!("spark_orders_total", "state" => step.state.as_str(), "exchange" => event.exchange.as_str())
                .increment(1);
            if step.fill.is_some() {
                self.fills.fetch_add(1, Ordering::Relaxed);
                metrics::counter!("spark_order_fill_total", "exchange" => event.exchange.as_str()).increment(1);
            }
        }
    }

    /// Something about an order came from the user data stream.
    pub(super) fn told(&mut self, order: OrderId, report: crate::machine::report::Report) {
        if let Some(work) = self.core.work(&order) {
            let venue = work.terms().exchange;
            debug_assert!(self.lives.contains_key(&venue));
            return self.apply(Event::Told(order, report));
        }
        // An order of ours that is over tells nothing new, unless it was said never to have existed.
        let known = self.core.ledger().book.known(&order);
        let is_strange = match known {
            Some(spark_ledger::Known::Ended(ended)) => {
                matches!(ended.state, None | Some(spark_bus_schema::orders::OrderState::Rejected))
            }
            Some(spark_ledger::Known::Open(_)) => false,
            None => true,
        };
        if is_strange {
            let venues: Vec<_> = self.lives.keys().copied().collect();
            for venue in venues {
                self.ask_to_compare(venue, "orphan");
            }
        }
    }
}
