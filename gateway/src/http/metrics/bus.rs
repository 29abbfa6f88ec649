//! Streams and their readers, by the broker's own word.

use spark_nats::{ConsumerFigures, StreamFigures};

use super::text::Text;
use crate::view::View;

const SERVICE: (&str, &str) = ("service", "nats");

pub(super) fn write(text: &mut Text, view: &View) {
    type Stream = (&'static str, &'static str, fn(&StreamFigures) -> u64);
    let streams: [Stream; 3] = [
        ("spark_stream_messages", "Messages in a stream.", |stream| stream.messages),
        ("spark_stream_bytes", "Bytes in a stream.", |stream| stream.bytes),
        ("spark_stream_last_sequence", "Sequence of a stream's newest message.", |stream| stream.last_sequence),
    ];
    for (name, help, value) in streams {
        text.family(name, "gauge", help);
        for (stream, figures) in view.bus.streams() {
            text.sample("", &[SERVICE, ("stream", stream)], value(figures) as f64);
        }
    }
    type Consumer = (&'static str, &'static str, fn(&ConsumerFigures) -> u64);
    let consumers: [Consumer; 3] = [
        ("spark_consumer_lag_messages", "Messages that a reader has not been given yet.", |consumer| consumer.pending),
        ("spark_consumer_unacknowledged_messages", "Messages given to a reader and not acknowledged by it.", |consumer| {
            consumer.unacknowledged
        }),
        ("spark_consumer_redelivered_messages", "Of the unacknowledged ones, those given more than once.", |consumer| {
            consumer.redelivered
        }),
    ];
    for (name, help, value) in consumers {
        text.family(name, "gauge", help);
        for (stream, consumer) in view.bus.consumers() {
            text.sample("", &[SERVICE, ("stream", stream), ("consumer", &consumer.name)], value(consumer) as f64);
        }
    }
    text.family("spark_parked_messages", "gauge", "Parked messages, by the process that could not handle them.");
    let expected = view.limits().expected.iter().map(String::as_str);
    let others = view.bus.parkers().filter(|process| !view.limits().expected.iter().any(|expected| expected == process));
    for process in expected.chain(others) {
        // `service` would be the broker's: the processes are told apart by a label of their own, as in the subject.
        text.sample("", &[SERVICE, ("process", process)], view.bus.parked(process) as f64);
    }
}
