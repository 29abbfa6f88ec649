//! The streams: declared in `topology.toml`, created and updated idempotently, drift reported.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use spark_bus_schema::subject;

use crate::bus::{Bus, text};
use crate::error::Error;

/// How long the broker remembers message ids, unless a test wants it short. Nothing depends on it: effects have
/// natural keys.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// How often a starting broker is asked again.
const ATTEMPTS_MAX: u32 = 50;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    stream: Vec<Declared>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    name: String,
    description: String,
    subjects: Vec<String>,
    max_age_hours: Option<u64>,
    max_bytes_mib: Option<i64>,
    #[serde(default)]
    work_queue: bool,
    /// A key-value bucket: the newest message of each subject, nothing else.
    #[serde(default)]
    last_per_subject: bool,
    persist_async: bool,
    deny_delete: bool,
}

static DECLARED: LazyLock<File> = LazyLock::new(|| {
    toml_edit::de::from_str(include_str!("../topology.toml")).expect("topology.toml is part of the build and tested")
});

/// A stream as it is declared, for documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// Patterns of the subjects that it stores.
    pub subjects: &'static [String],
    /// What it is for.
    pub description: &'static str,
    /// What is kept, for how long, and when it is acknowledged: a sentence.
    pub kept: String,
}

/// Every stream as it is declared.
pub fn described() -> impl Iterator<Item = Described> {
    DECLARED.stream.iter().map(|stream| {
        let mut kept = Vec::new();
        if stream.work_queue {
            kept.push("until it is done".to_owned());
        }
        if stream.last_per_subject {
            kept.push("the newest message of each subject".to_owned());
        }
        kept.extend(stream.max_age_hours.map(|hours| format!("{hours} h")));
        kept.extend(stream.max_bytes_mib.map(|mebibytes| format!("at most {mebibytes} MiB")));
        if kept.is_empty() {
            kept.push("for ever".to_owned());
        }
        if stream.deny_delete {
            kept.push("no delete, no purge".to_owned());
        }
        kept.push(
            if stream.persist_async { "acknowledged before it is written" } else { "synced before it is acknowledged" }
                .to_owned(),
        );
        Described { name: &stream.name, subjects: &stream.subjects, description: &stream.description, kept: kept.join("; ") }
    })
}

/// How the streams are set up, where installations differ.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Copies of each message in a cluster (1 on one server).
    pub replicas: usize,
    /// The broker's duplicate window.
    pub duplicate_window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { replicas: 1, duplicate_window: DUPLICATE_WINDOW }
    }
}

/// What [`ensure`] did with one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was missing.
    Created(String),
    /// It differed in these points.
    Updated(String, Vec<String>),
    /// It was as declared.
    Unchanged(String),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created(name) => write!(f, "stream {name} created"),
            Self::Updated(name, points) => {
                write!(f, "stream {name} updated: {}", points.join(", "))
            }
            Self::Unchanged(name) => write!(f, "stream {name} as declared"),
        }
    }
}

/// Where the broker differs from the declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The stream.
    pub stream: String,
    /// `subjects: broker has …, declared is …`, one a point; `missing` when there is no such stream.
    pub points: Vec<String>,
}

/// Creates what is missing and updates what differs. Running it twice changes nothing the second time.
///
/// # Errors
/// The broker is away or refuses, e.g. an update that it does not allow; the message names the stream.
pub fn ensure(bus: &Bus, settings: Settings) -> BoxFuture<'_, Result<Vec<Change>, Error>> {
    Box::pin(async move {
        let mut changes = Vec::new();
        for declared in &DECLARED.stream {
            let want = config(declared, settings);
            changes.push(ensure_one(bus, want).await?);
        }
        Ok(changes)
    })
}

async fn ensure_one(bus: &Bus, want: Config) -> Result<Change, Error> {
    let name = want.name.clone();
    let Some(have) = existing(bus, &name).await? else {
        let created = bus.jetstream().create_stream(want).await;
        created.map_err(|error| Error::broker(format!("create stream {name}"), text(&error)))?;
        return Ok(Change::Created(name));
    };
    let points = differences(&have, &want);
    if points.is_empty() {
        return Ok(Change::Unchanged(name));
    }
    let updated = bus.jetstream().update_stream(want).await;
    updated.map_err(|error| Error::broker(format!("update stream {name} ({})", points.join(", ")), text(&error)))?;
    Ok(Change::Updated(name, points))
}

/// Reports differences and changes nothing.
///
/// # Errors
/// The broker is away.
pub fn drift(bus: &Bus, settings: Settings) -> BoxFuture<'_, Result<Vec<Drift>, Error>> {
    Box::pin(async move {
        let mut drifts = Vec::new();
        for declared in &DECLARED.stream {
            let want = config(declared, settings);
            let points = match existing(bus, &want.name).await? {
                Some(have) => differences(&have, &want),
                None => vec!["missing".to_owned()],
            };
            if !points.is_empty() {
                drifts.push(Drift { stream: want.name, points });
            }
        }
        Ok(drifts)
    })
}

/// The stream's configuration, or none when there is no such stream. A broker that is still starting is asked again.
async fn existing(bus: &Bus, name: &str) -> Result<Option<Config>, Error> {
    const STREAM_NOT_FOUND: usize = 10_059;
    let mut attempts = 0;
    loop {
        match bus.jetstream().get_stream(name).await {
            Ok(stream) => return Ok(Some(stream.cached_info().config.clone())),
            Err(error) => {
                use async_nats::jetstream::context::GetStreamErrorKind;
                if let GetStreamErrorKind::JetStream(ref answer) = error.kind()
                    && answer.error_code().0 == u64::try_from(STREAM_NOT_FOUND).unwrap_or(0)
                {
                    return Ok(None);
                }
                attempts += 1;
                if attempts >= ATTEMPTS_MAX {
                    return Err(Error::broker(format!("look at stream {name}"), text(&error)));
                }
                tokio::time::sleep(ATTEMPT_PAUSE).await;
            }
        }
    }
}

/// The stream that stores a subject.
#[must_use]
pub fn stream_of(subject_name: &str) -> Option<&'static str> {
    let declared =
        DECLARED.stream.iter().find(|stream| stream.subjects.iter().any(|pattern| subject::matches(pattern, subject_name)))?;
    stream_names().find(|name| *name == declared.name)
}

/// Whether a message of this stream is gone once one reader has finished it.
#[must_use]
pub fn is_work_queue(stream: &str) -> bool {
    DECLARED.stream.iter().any(|declared| declared.name == stream && declared.work_queue)
}

/// The declared streams.
pub fn stream_names() -> impl Iterator<Item = &'static str> {
    DECLARED.stream.iter().map(|stream| stream.name.as_str())
}

fn config(declared: &Declared, settings: Settings) -> Config {
    const HOUR: Duration = Duration::from_secs(3600);
    Config {
        name: declared.name.clone(),
        description: Some(declared.description.clone()),
        subjects: declared.subjects.clone(),
        max_age: declared.max_age_hours.map_or(Duration::ZERO, |hours| HOUR * u32::try_from(hours).unwrap_or(u32::MAX)),
        max_bytes: declared.max_bytes_mib.map_or(-1, |mib| mib * 1024 * 1024),
        max_messages: -1,
        max_messages_per_subject: if declared.last_per_subject { 1 } else { -1 },
        max_consumers: -1,
        max_message_size: -1,
        // FEED and PARKED drop the oldest when they are full; a full LEDGER refuses rather than forgets.
        discard: if declared.deny_delete { DiscardPolicy::New } else { DiscardPolicy::Old },
        retention: if declared.work_queue { RetentionPolicy::WorkQueue } else { RetentionPolicy::Limits },
        storage: StorageType::File,
        num_replicas: settings.replicas,
        duplicate_window: settings.duplicate_window,
        deny_delete: declared.deny_delete,
        deny_purge: declared.deny_delete,
        allow_direct: true,
        allow_rollup: declared.last_per_subject,
        // Asynchronous persistence and replication exclude each other in the broker. In a cluster the copies count for more: on
        // one node alone FEED would be gone with that node, and with it every heartbeat and tick.
        persist_mode: (declared.persist_async && settings.replicas == 1).then_some(PersistenceMode::Async),
        ..Default::default()
    }
}

/// The points that Spark declares; what the broker adds by itself does not count.
fn differences(have: &Config, want: &Config) -> Vec<String> {
    let mut points = Vec::new();
    let mut compare = |point: &str, have: String, want: String| {
        if have != want {
            points.push(format!("{point}: broker has {have}, declared is {want}"));
        }
    };
    let mode = |config: &Config| format!("{:?}", config.persist_mode.unwrap_or_default());
    let mut subjects = (have.subjects.clone(), want.subjects.clone());
    subjects.0.sort();
    subjects.1.sort();
    compare("subjects", subjects.0.join(" "), subjects.1.join(" "));
    compare("description", have.description.clone().unwrap_or_default(), want.description.clone().unwrap_or_default());
    compare("max_age", format!("{:?}", have.max_age), format!("{:?}", want.max_age));
    compare("max_bytes", have.max_bytes.to_string(), want.max_bytes.to_string());
    compare("discard", format!("{:?}", have.discard), format!("{:?}", want.discard));
    compare("retention", format!("{:?}", have.retention), format!("{:?}", want.retention));
    compare("storage", format!("{:?}", have.storage), format!("{:?}", want.storage));
    compare("replicas", have.num_replicas.to_string(), want.num_replicas.to_string());
    compare("duplicate_window", format!("{:?}", have.duplicate_window), format!("{:?}", want.duplicate_window));
    compare("max_messages_per_subject", have.max_messages_per_subject.to_string(), want.max_messages_per_subject.to_string());
    compare("deny_delete", have.deny_delete.to_string(), want.deny_delete.to_string());
    compare("deny_purge", have.deny_purge.to_string(), want.deny_purge.to_string());
    compare("allow_direct", have.allow_direct.to_string(), want.allow_direct.to_string());
    compare("persist_mode", mode(have), mode(want));
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_of_the_catalogue_is_stored_by_the_stream_that_it_names() {
        for entry in spark_bus_schema::catalogue::entries() {
            let sample = entry.subject.replace('>', "x");
            assert_eq!(stream_of(&sample), Some(entry.stream), "{}", entry.subject);
        }
        assert_eq!(stream_of("nowhere.at.all"), None);
    }
}
