//! Stores acts: of each subject each revision once, subjects side by side, so that a hundred candles that close together
//! wait for the disk together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use futures_util::future::try_join_all;
use spark_bus_schema::header;
use spark_bus_schema::subject::LEDGER;
use spark_nats::{AppendError, Bus, Delivery, Meta, SubjectWriter};

use crate::machine::Stored;
use crate::wiring::Error;

/// Writers kept open, one a subject; beyond it they are opened again.
const WRITERS_MAX: usize = 10_000;

/// A writer and the newest revision of its subject.
type Entry = (SubjectWriter, u64);

/// Writers of the subjects of this process.
pub struct Writers {
    bus: Bus,
    process: &'static str,
    open: HashMap<String, Entry>,
}

impl Writers {
    /// None is open.
    #[must_use]
    pub fn new(bus: Bus, process: &'static str) -> Self {
        Self { bus, process, open: HashMap::new() }
    }

    /// Stores messages, each with what it follows from, and waits for all. What is there already is not stored again; its
    /// subject and revision are returned.
    ///
    /// # Errors
    /// The broker refuses one for good; one that is away is waited for.
    pub async fn store(&mut self, messages: Vec<(Stored, String)>) -> Result<BTreeSet<(String, u64)>, Error> {
        if self.open.len() >= WRITERS_MAX {
            self.open.clear();
        }
        let mut by_subject: BTreeMap<String, Vec<(Stored, String)>> = BTreeMap::new();
        for (message, cause) in messages {
            by_subject.entry(message.subject.clone()).or_default().push((message, cause));
        }
        let (bus, process) = (&self.bus, self.process);
        let under_way: Vec<_> = by_subject
            .into_iter()
            .map(|(subject, messages)| {
                let entry = self.open.remove(&subject);
                async move { append(bus, process, subject, entry, messages).await }
            })
            .collect();
        let mut old = BTreeSet::new();
        for (subject, entry, there) in try_join_all(under_way).await? {
            old.extend(there.into_iter().map(|revision| (subject.clone(), revision)));
            self.open.insert(subject, entry);
        }
        Ok(old)
    }
}

async fn append(
    bus: &Bus,
    process: &str,
    subject: String,
    entry: Option<Entry>,
    messages: Vec<(Stored, String)>,
) -> Result<(String, Entry, Vec<u64>), Error> {
    let (mut writer, mut newest) = match entry {
        Some(entry) => entry,
        None => {
            let (writer, end) = SubjectWriter::open(bus.clone(), LEDGER, subject.clone()).await.map_err(Error::Bus)?;
            (writer, revision(end.as_ref()))
        }
    };
    let mut there = Vec::new();
    for (message, cause) in messages {
        if newest >= message.revision {
            there.push(message.revision);
            continue;
        }
        let msg_id = format!("{process}:{subject}:{}", message.revision);
        let meta = Meta { msg_id: Some(msg_id), cause: Some(cause) };
        let payload = Bytes::from(message.payload);
        let extra = [(header::REVISION, message.revision.to_string())];
        while newest < message.revision {
            match writer.append_with(message.kind, payload.clone(), &meta, &extra).await {
                Ok(_) => newest = message.revision,
                Err(AppendError::Conflict) => {
                    newest = revision(writer.reopen().await.map_err(Error::Bus)?.as_ref());
                    there.extend((newest >= message.revision).then_some(message.revision));
                }
                Err(AppendError::Refused(source)) => return Err(Error::Publish { subject, source }),
            }
        }
    }
    Ok((subject, (writer, newest), there))
}

fn revision(end: Option<&Delivery>) -> u64 {
    end.and_then(|delivery| delivery.header(header::REVISION)?.parse().ok()).unwrap_or(0)
}
