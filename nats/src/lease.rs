//! The right to be the only one: a key in the bucket `leases`, renewed while it is held, and a fence in the LEDGER.
//!
//! Two things together make one writer. The key says who may try; a holder that stops renewing loses it. The **epoch**, a
//! message that each new holder appends to the LEDGER, says who was last: what a holder publishes carries the sequence of
//! its epoch as the expected last one, so the broker itself refuses a holder that was paused and does not know yet that it
//! was replaced (see `decider`). Effects outside the broker are guarded by [`Lease::is_valid`].
//!
//! Nobody compares clocks: a standby measures with its own clock how long the key has not moved.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use spark_bus_schema::orders::Epoch;
use spark_bus_schema::subject::LEDGER;
use spark_bus_schema::telemetry::ProcessState;
use spark_bus_schema::{Message, encode, header};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, Meta, PublishError, RETRY_PAUSE};
use crate::error::Error;
use crate::service::Service;
use crate::writer::{AppendError, SubjectWriter};

/// The stream of the bucket.
pub const STREAM: &str = "KV_leases";
/// A key that has not moved for this long may be taken.
pub const TTL: Duration = Duration::from_secs(4);
/// How often the holder moves it.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// The holder stops acting this long before another one may begin.
const MARGIN: Duration = Duration::from_secs(1);
/// How often a standby looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often a folder that another process holds is tried again.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// The key of a process.
#[must_use]
pub fn subject(process: &str) -> String {
    format!("$KV.leases.{process}")
}

/// The value of a key, JSON so that `nats kv get leases risk` reads well. Without a holder the key is free.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Value {
    holder: String,
    renewed_at: String,
}

/// A held lease. Dropping it stops renewing; [`Lease::release`] also frees the key at once.
pub struct Lease {
    shared: Arc<Shared>,
    epoch: u64,
    epoch_subject: &'static str,
    renewal: JoinHandle<()>,
    /// Held as long as the lease: no second process works on the same folder.
    _lock: File,
}

struct Shared {
    bus: Bus,
    key: String,
    holder: String,
    started: Instant,
    /// Valid until this many ms after `started`.
    valid_until_ms: AtomicU64,
    /// Sequence of our last renewal.
    revision: AtomicU64,
    lost: CancellationToken,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

impl Lease {
    /// Waits until the lease is ours, then appends the epoch. While it waits the process is a standby.
    ///
    /// # Errors
    /// The folder cannot be used, or the broker refuses for good.
    pub fn acquire<'a>(service: &'a Service, epoch_subject: &'static str) -> BoxFuture<'a, Result<Self, Error>> {
        Box::pin(async move {
            let lock = lock(&service.data_dir).await?;
            let shared = Arc::new(Shared {
                bus: service.bus.clone(),
                key: subject(service.name),
                holder: holder(&service.data_dir)?,
                started: Instant::now(),
                valid_until_ms: AtomicU64::new(0),
                revision: AtomicU64::new(0),
                lost: CancellationToken::new(),
            });
            loop {
                shared.take(service).await?;
                let epoch = shared.append_epoch(service.name, epoch_subject).await?;
                // Paused in between, another one may have taken over; its epoch then lies behind ours and it will notice.
                if shared.renew().await {
                    service.status.set(ProcessState::Running, None);
                    tracing::info!(epoch, holder = shared.holder, "holds the lease");
                    let renewal = tokio::spawn(keep(Arc::clone(&shared)));
                    return Ok(Self { shared, epoch, epoch_subject, renewal, _lock: lock });
                }
            }
        })
    }

    /// LEDGER sequence of this holder's epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The subject of the epochs.
    #[must_use]
    pub fn epoch_subject(&self) -> &'static str {
        self.epoch_subject
    }

    /// Whether an effect on the outside world is still ours to cause, by the monotonic clock: ask right before it.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.remaining() > Duration::ZERO
    }

    /// How much longer; zero when not valid.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        if self.shared.lost.is_cancelled() {
            return Duration::ZERO;
        }
        let until = Duration::from_millis(self.shared.valid_until_ms.load(Ordering::Acquire));
        until.saturating_sub(self.shared.started.elapsed())
    }

    /// Resolves when another holder has taken over.
    pub fn lost(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.shared.lost.cancelled().await;
        })
    }

    /// Frees the key, so that a standby need not wait.
    pub fn release(self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.renewal.abort();
            self.shared.valid_until_ms.store(0, Ordering::Release);
            if let Err(error) = self.shared.write(String::new()).await {
                tracing::debug!(%error, "release the lease");
            }
        })
    }
}

impl Shared {
    /// Takes the key when it is free, ours, or has not moved for [`TTL`].
    async fn take(&self, service: &Service) -> Result<(), Error> {
        let mut seen: Option<(u64, Instant)> = None;
        loop {
            self.bus.wait_connected().await;
            let end = match self.bus.last(STREAM, &self.key).await {
                Ok(end) => end,
                Err(error) => {
                    tracing::debug!(%error, "look at the lease again");
                    tokio::time::sleep(LOOK_EVERY).await;
                    continue;
                }
            };
            let revision = end.as_ref().map_or(0, |end| end.sequence);
            let value: Value = end.and_then(|end| serde_json::from_slice(&end.payload).ok()).unwrap_or_default();
            let since = match seen {
                Some((known, since)) if known == revision => since,
                _ => Instant::now(),
            };
            seen = Some((revision, since));
            if value.holder.is_empty() || value.holder == self.holder || since.elapsed() >= TTL {
                self.revision.store(revision, Ordering::Release);
                if self.renew().await {
                    return Ok(());
                }
                seen = None;
                continue;
            }
            service.status.set(ProcessState::Running, Some(format!("standby: {} holds the lease", value.holder)));
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn append_epoch(&self, process: &str, epoch_subject: &'static str) -> Result<u64, Error> {
        let (mut writer, _) = SubjectWriter::open(self.bus.clone(), LEDGER, epoch_subject.to_owned()).await?;
        loop {
            let at = crate::now();
            let epoch = Epoch { process: process.to_owned(), holder: self.holder.clone(), at };
            let msg_id = format!("{epoch_subject}:{}:{}", self.holder, at.as_nanos());
            match writer.append(Epoch::KIND, Bytes::from(encode(&epoch)), &msg_id).await {
                Ok(sequence) => return Ok(sequence),
                Err(AppendError::Conflict) => {
                    writer.reopen().await?;
                }
                Err(AppendError::Refused(source)) => {
                    return Err(Error::Publish { subject: epoch_subject.to_owned(), source });
                }
            }
        }
    }

    /// Moves the key if it is where we left it. The time counts from before the attempt.
    async fn renew(&self) -> bool {
        let asked = self.started.elapsed();
        let moved = self.write(self.holder.clone()).await.is_ok();
        if moved {
            let until = asked + TTL - MARGIN;
            self.valid_until_ms.store(u64::try_from(until.as_millis()).unwrap_or(0), Ordering::Release);
        }
        moved
    }

    async fn write(&self, holder: String) -> Result<(), PublishError> {
        let value = Value { holder, renewed_at: crate::now().to_string() };
        let payload = Bytes::from(serde_json::to_vec(&value).expect("two texts always serialise"));
        let mut headers = HeaderMap::new();
        let revision = self.revision.load(Ordering::Acquire);
        headers.insert(header::EXPECTED_LAST_SUBJECT_SEQUENCE, revision.to_string());
        let stored = self.bus.publish_once(&self.key, headers, payload).await?;
        self.revision.store(stored, Ordering::Release);
        Ok(())
    }

    /// Whether the key still carries our name; then our last attempt was stored and only its answer got lost.
    async fn is_ours(&self) -> Option<bool> {
        let end = self.bus.last(STREAM, &self.key).await.ok()?;
        let Some(end) = end else { return Some(false) };
        let value: Value = serde_json::from_slice(&end.payload).unwrap_or_default();
        if value.holder == self.holder {
            self.revision.store(end.sequence, Ordering::Release);
        }
        Some(value.holder == self.holder)
    }
}

/// Renews for ever; ends when another holder has moved the key. While the broker is away nobody can take it, but the
/// lease stops being valid.
async fn keep(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        shared.bus.wait_connected().await;
        if shared.renew().await {
            continue;
        }
        if shared.is_ours().await == Some(false) {
            tracing::error!(holder = shared.holder, "another process holds the lease now");
            shared.lost.cancel();
            return;
        }
        tokio::time::sleep(RETRY_PAUSE.0).await;
        shared.renew().await;
    }
}

/// Locks the folder; waits while another process (say, one that is just being stopped) has it.
async fn lock(data_dir: &Path) -> Result<File, Error> {
    let path = data_dir.join("lock");
    let wrap = |source| Error::File { action: "lock", path: path.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(wrap)?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => {
                if !told {
                    tracing::warn!(folder = %data_dir.display(), "another process works on this folder; waiting for it");
                    told = true;
                }
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(wrap(source)),
        }
    }
}

/// The name of whoever works on this folder. With the folder's lock in hand, a lease under this name is our own from an
/// earlier life: nobody else can be holding it.
fn holder(data_dir: &Path) -> Result<String, Error> {
    let path = data_dir.join("holder");
    if let Ok(known) = std::fs::read_to_string(&path)
        && !known.trim().is_empty()
    {
        return Ok(known.trim().to_owned());
    }
    let fresh = nkeys::KeyPair::new_user().public_key();
    std::fs::write(&path, &fresh).map_err(|source| Error::File { action: "write", path: path.clone(), source })?;
    Ok(fresh)
}

/// Headers of a message that only the holder of `epoch` may store: the broker compares the end of the epochs' subject.
pub(crate) fn fence(headers: &mut HeaderMap, epoch_subject: &str, epoch: u64) {
    headers.insert(header::EXPECTED_LAST_SUBJECT_SEQUENCE, epoch.to_string());
    headers.insert(header::EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT, epoch_subject);
}

/// Meta of a fenced message.
pub(crate) fn meta(process: &str, subject: &str, cause: String) -> Meta {
    Meta { msg_id: Some(format!("{process}:{subject}")), cause: Some(cause) }
}
