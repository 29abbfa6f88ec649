//! Header names of the envelope. A message on the bus is subject + these headers + MessagePack bytes.

/// Broker-side duplicate detection: `process:stream:sequence:index` or another natural key.
pub const MSG_ID: &str = "Nats-Msg-Id";
/// What the payload is: `tick_batch.v1`.
pub const KIND: &str = "Spark-Kind";
/// What this message follows from: `FEED:1234` (stream and sequence) or a command's id.
pub const CAUSE: &str = "Spark-Cause";
/// W3C trace context.
pub const TRACE_PARENT: &str = "traceparent";
/// Set on a message that an operator published again from the parked ones: `FEED:1234`.
pub const REPLAY_OF: &str = "Spark-Replay-Of";
/// Compare-and-set on the subject (the broker's own header).
pub const EXPECTED_LAST_SUBJECT_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";
/// The other subject whose end [`EXPECTED_LAST_SUBJECT_SEQUENCE`] speaks of: a fence.
pub const EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
/// Natural key of a decision: of each subject, each revision is stored once.
pub const REVISION: &str = "Spark-Revision";
