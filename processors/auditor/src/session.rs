//! One connection to the broker: compare everything, say so, then extend the chain; or say what is wrong, and wait.

use std::time::Duration;

use spark_bus_schema::audit::{AuditAnchor, AuditDamage, AuditVerified, DamageKind};
use spark_bus_schema::telemetry::ProcessState;
use spark_bus_schema::{Message, subject};
use spark_nats::{Bus, Delivery, Follower, Meta, PublishError};
use tokio::time::Instant;

use crate::Config;
use crate::compare::{Anchors, Comparer, Seen};
use crate::era::{Damage, Finding};
use crate::error::Error;
use crate::reader::{Reader, Step};
use crate::shown::{Progress, Shown};
use crate::store::{Era, Head, Place, Store};

/// Whoever takes over says so here, and acts on nothing before our answer.
const EPOCHS: [&str; 2] = [subject::RISK_EPOCH, subject::ORDERS_EPOCH];
/// Messages that wait for one transaction, at most.
const COMMIT_MESSAGES: usize = 2_048;
/// How often a waiting auditor looks whether the damage was accepted.
const ACCEPTANCE_POLL: Duration = Duration::from_secs(1);
/// How often, and after which pause, a message that is not there is asked for.
const LOOK_ATTEMPTS: u32 = 3;
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Why a session ended before its connection did.
#[derive(Debug)]
pub enum Trouble {
    /// Try again soon.
    Retry(String),
    /// The process cannot go on.
    Fatal(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::Bus(error) => Self::Retry(spark_nats::text(&error)),
            Error::Publish { subject, source } => Self::Retry(format!("publish on {subject}: {source}")),
            Error::Unreadable(what) => Self::Retry(what),
            other => Self::Fatal(other),
        }
    }
}

/// The growing end of the chain.
struct Growth {
    head: Head,
    eras: Vec<Era>,
    waiting: Vec<Delivery>,
    /// LEDGER sequence at which this session has last said that all is well.
    said_at: u64,
    /// Somebody took over after that, and waits for our word.
    is_asked: bool,
}

impl Growth {
    fn load(store: &Store) -> Result<Self, Error> {
        Ok(Self { head: store.head()?, eras: store.eras()?, waiting: Vec::new(), said_at: 0, is_asked: false })
    }

    fn era(&self) -> Option<&Era> {
        self.eras.last()
    }

    /// Messages are taken as they are found: the era's beginning is still being read.
    fn is_adopting(&self) -> bool {
        self.era().is_some_and(|era| era.adopted_through.is_none())
    }

    /// Gaps are part of what was accepted.
    fn takes_gaps(&self) -> bool {
        self.head.era > 1 && self.is_adopting()
    }

    fn next(&self) -> u64 {
        self.waiting.last().map_or(self.head.sequence, |last| last.sequence) + 1
    }

    fn commit(&mut self, store: &mut Store, shown: &Shown) -> Result<(), Error> {
        if !self.waiting.is_empty() {
            self.head = store.append(&self.head, &self.waiting)?;
            self.waiting.clear();
        }
        shown.head(&self.head);
        Ok(())
    }
}

/// One connection to the broker.
pub struct Session<'a> {
    /// The broker.
    pub bus: &'a Bus,
    /// Consumer name and prefix of message ids.
    pub name: &'a str,
    /// Settings.
    pub config: &'a Config,
    /// The database.
    pub store: &'a mut Store,
    /// What others see.
    pub shown: &'a Shown,
}

impl Session<'_> {
    /// Runs until the damage was accepted; otherwise for ever. Safe to drop at any await.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn run(&mut self) -> Result<(), Trouble> {
        let mut growth = Growth::load(self.store)?;
        self.shown.head(&growth.head);
        // The head first: whatever is appended later is later in the stream too.
        let (_, last) = self.bus.bounds(subject::LEDGER).await.map_err(Error::from)?;
        let messages = self.bus.message_count(subject::LEDGER).await.map_err(Error::from)?;
        if let Some(damage) = self.glance(&growth, last, messages).await? {
            self.found(&growth, &damage).await?;
        }
        let mut reader = Reader::start(self.bus, self.name, last);
        let mut anchors = Anchors::default();
        let was_adopting = growth.is_adopting();
        let before = growth.head.position;
        let damage = self.compare(&mut growth, &mut reader, &mut anchors, (last, messages)).await?;
        growth.commit(self.store, self.shown)?;
        if let Some(damage) = damage {
            self.store.repaired(damage.first_bad)?;
            self.found(&growth, &damage).await?;
            return self.wait_for_acceptance().await;
        }
        let adopted = was_adopting && (growth.head.era > 1 || growth.head.position > before);
        self.well(&mut growth, adopted, &anchors).await?;
        let damage = self.follow(&mut growth, &mut anchors, reader.follower).await?;
        self.found(&growth, &damage).await?;
        self.wait_for_acceptance().await
    }

    /// Everything that was stored when the session began, against the chain; what is beyond the chain's end is taken in.
    async fn compare(
        &mut self,
        growth: &mut Growth,
        reader: &mut Reader,
        anchors: &mut Anchors,
        (last, messages): (u64, u64),
    ) -> Result<Option<Damage>, Trouble> {
        let mut comparer = Comparer::new(&growth.eras, &growth.head);
        let mut progress = Progress::new(messages);
        loop {
            let batch = match reader.next().await? {
                Step::Batch(batch) => batch,
                Step::End => break,
                Step::Stalled => {
                    let first_bad = comparer.expected(self.store)?.unwrap_or_else(|| growth.next());
                    return self.confirm_missing(growth, first_bad).await;
                }
            };
            progress.passed(batch.len(), self.shown);
            for message in batch {
                match comparer.take(self.store, &message)? {
                    Seen::Bad(damage) => return Ok(Some(damage)),
                    Seen::Same if message.subject == subject::AUDIT_ANCHOR => {
                        if let Some(damage) = anchors.take(self.store, &growth.eras, &message)? {
                            return Ok(Some(damage));
                        }
                    }
                    Seen::Same => {}
                    Seen::Beyond => {
                        if let Some(damage) = self.extend(growth, anchors, message).await? {
                            return Ok(Some(damage));
                        }
                    }
                }
            }
        }
        if let Some(damage) = comparer.finish(self.store, last, messages)? {
            return Ok(Some(damage));
        }
        if growth.next() <= last && !growth.takes_gaps() {
            return self.confirm_missing(growth, growth.next()).await;
        }
        Ok(None)
    }

    /// Takes in one message behind the end of the chain.
    async fn extend(&mut self, growth: &mut Growth, anchors: &mut Anchors, message: Delivery) -> Result<Option<Damage>, Trouble> {
        let next = growth.next();
        if message.sequence < next {
            return Err(Trouble::Retry(format!("message {} came again", message.sequence)));
        }
        if message.sequence > next && !growth.takes_gaps() {
            return self.confirm_missing(growth, next).await;
        }
        growth.is_asked |= EPOCHS.contains(&message.subject.as_str()) && message.sequence > growth.said_at;
        let is_anchor = message.subject == subject::AUDIT_ANCHOR;
        let damage = if is_anchor {
            // It speaks of messages that must be in the database before it can be judged.
            growth.commit(self.store, self.shown)?;
            anchors.take(self.store, &growth.eras, &message)?
        } else {
            None
        };
        if damage.is_none() {
            growth.waiting.push(message);
        }
        if growth.waiting.len() >= COMMIT_MESSAGES {
            growth.commit(self.store, self.shown)?;
        }
        Ok(damage)
    }

    /// A sequence that was not handed over: is it gone, or was only the delivery lost?
    async fn confirm_missing(&mut self, growth: &Growth, sequence: u64) -> Result<Option<Damage>, Trouble> {
        let reason = match self.look(sequence).await? {
            Ok(_) => return Err(Trouble::Retry(format!("message {sequence} was lost on the way"))),
            Err(reason) => reason,
        };
        let detail = format!(
            "message {sequence} is gone from the stream{reason}; the LEDGER never deletes, so its sequences have no gaps; the chain \
             goes on to {}",
            growth.head.sequence
        );
        Ok(Some(Damage { first_bad: sequence, kind: DamageKind::Missing, detail }))
    }

    /// A look at the end, and where that is wrong, a search for where it begins to be wrong: a few single messages, so that
    /// trading is halted long before a large stream has been read. The comparison that follows finds the rest.
    async fn glance(&mut self, growth: &Growth, last: u64, messages: u64) -> Result<Option<Damage>, Trouble> {
        let head = &growth.head;
        let Some(end) = place_at(self.store, &growth.eras, head.sequence)? else { return Ok(None) };
        if messages > 0 && last >= end.sequence && self.has(&end).await? {
            return Ok(None);
        }
        // Sequences up to `good` are (as far as the looks went) well, `bad` is not.
        let (mut good, mut bad) = (0, end);
        while good + 1 < bad.sequence {
            let middle = good + (bad.sequence - good) / 2;
            match place_at(self.store, &growth.eras, middle)?.filter(|place| place.sequence > good) {
                None => good = middle,
                Some(place) if messages > 0 && place.sequence <= last && self.has(&place).await? => good = middle,
                Some(place) => bad = place,
            }
        }
        let mut rest = Comparer::new(&growth.eras, head);
        let first = rest.expected(self.store)?;
        if messages == 0 || last < bad.sequence {
            let kind = if messages == 0 { DamageKind::Wiped } else { DamageKind::Truncated };
            let detail = match kind {
                DamageKind::Wiped => format!("the stream is empty, its chain goes on to {}", head.sequence),
                _ => format!("the stream ends at {last}, its chain goes on to {}", head.sequence),
            };
            return Ok(Some(Damage { first_bad: bad.sequence, kind, detail }));
        }
        let there = self.look(bad.sequence).await?.ok();
        let kind = match &there {
            None => DamageKind::Missing,
            Some(message) if message.stored_at > head.stored_at && first == Some(bad.sequence) => DamageKind::Wiped,
            Some(message) if message.stored_at > head.stored_at => DamageKind::RolledBack,
            Some(_) => DamageKind::Changed,
        };
        let now = there.map_or("gone".to_owned(), |message| format!("one stored at {}", message.stored_at));
        let detail = format!(
            "sequence {} was a message stored at {}, now it is {now}; the chain goes on to {}",
            bad.sequence, bad.stored_at, head.sequence
        );
        Ok(Some(Damage { first_bad: bad.sequence, kind, detail }))
    }

    /// Whether the stream has a message of that time at that place.
    async fn has(&mut self, place: &Place) -> Result<bool, Trouble> {
        let found = self.look(place.sequence).await?;
        Ok(found.is_ok_and(|message| message.stored_at == place.stored_at))
    }

    /// One message, or why the broker does not give it out. In a cluster any replica answers, also one that is behind for
    /// a moment, so a message that is not there is asked for again.
    async fn look(&mut self, sequence: u64) -> Result<Result<Delivery, String>, Trouble> {
        let mut why = String::new();
        for attempt in 0..LOOK_ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(LOOK_PAUSE).await;
            }
            why = match self.bus.get(subject::LEDGER, sequence).await {
                Ok(Some(message)) => return Ok(Ok(message)),
                Ok(None) => String::new(),
                Err(error) => format!(" ({})", spark_nats::text(&error)),
            };
            if !self.bus.is_connected() {
                return Err(Trouble::Retry("the broker is away".to_owned()));
            }
        }
        Ok(Err(why))
    }

    /// Keeps a finding, shows it, and says it once.
    async fn found(&mut self, growth: &Growth, damage: &Damage) -> Result<(), Trouble> {
        self.store.record(growth.head.era, damage, spark_nats::now())?;
        let Some(finding) = self.store.open_finding()? else { return Ok(()) };
        let damage = &finding.damage;
        let text = format!(
            "the LEDGER is damaged from message {} on ({}): {}. {}",
            damage.first_bad,
            damage.kind,
            damage.detail,
            damage.advice()
        );
        self.shown.damage(true);
        self.shown.set(ProcessState::Degraded, Some(text.clone()));
        if !finding.published {
            tracing::error!(first_bad = damage.first_bad, kind = damage.kind.as_str(), "{text}");
        }
        self.tell(&finding).await?;
        self.store.published(&finding)?;
        Ok(())
    }

    /// Says what was found, unless the LEDGER has it already and nobody has taken over since.
    async fn tell(&mut self, finding: &Finding) -> Result<(), Trouble> {
        let damage = &finding.damage;
        let told = self.bus.last(subject::LEDGER, subject::AUDIT_DAMAGE).await.map_err(Error::from)?;
        let told_at = told.as_ref().map_or(0, |message| message.sequence);
        let told = told.and_then(|message| message.decode::<AuditDamage>().ok());
        let is_same = |told: AuditDamage| (told.era, told.first_bad_sequence) == (finding.era, damage.first_bad);
        if !told.is_some_and(is_same) || self.newest_epoch().await? > told_at {
            let message = AuditDamage {
                era: finding.era,
                first_bad_sequence: damage.first_bad,
                kind: damage.kind,
                detail: damage.detail.clone(),
                advice: damage.advice(),
                found_at: finding.found_at,
            };
            self.say(subject::AUDIT_DAMAGE, &message, None).await?;
        }
        Ok(())
    }

    /// LEDGER sequence of the last takeover; 0 without one.
    async fn newest_epoch(&mut self) -> Result<u64, Trouble> {
        let mut newest = 0;
        for epochs in EPOCHS {
            let last = self.bus.last(subject::LEDGER, epochs).await.map_err(Error::from)?;
            newest = newest.max(last.map_or(0, |message| message.sequence));
        }
        Ok(newest)
    }

    async fn well(&mut self, growth: &mut Growth, adopted: bool, anchors: &Anchors) -> Result<(), Trouble> {
        if growth.is_adopting() {
            self.store.adopted(growth.head.era, growth.head.sequence)?;
            growth.eras = self.store.eras()?;
        }
        if self.store.repaired(u64::MAX)? > 0 {
            tracing::warn!("the LEDGER is what its chain says again; trading stays halted until `control.resume`");
        }
        self.shown.damage(false);
        self.shown.set(ProcessState::Running, None);
        let head = &growth.head;
        tracing::info!(through = head.sequence, entries = head.position, era = head.era, adopted, "the LEDGER is verified");
        self.say_verified(growth, true, adopted, anchors).await
    }

    /// Every message since the session began was taken in one after the other: whoever has just taken over need not wait for
    /// another comparison of everything.
    async fn answer(&mut self, growth: &mut Growth, anchors: &Anchors) -> Result<(), Trouble> {
        growth.commit(self.store, self.shown)?;
        self.say_verified(growth, false, false, anchors).await
    }

    async fn say_verified(&mut self, growth: &mut Growth, full: bool, adopted: bool, anchors: &Anchors) -> Result<(), Trouble> {
        let head = &growth.head;
        let verified = AuditVerified {
            era: head.era,
            through: head.sequence,
            head: hex::encode(head.hash),
            count: head.position,
            checked_at: spark_nats::now(),
            full,
            adopted,
            anchors_unknown: anchors.unknown,
        };
        growth.said_at = self.say(subject::AUDIT_VERIFIED, &verified, None).await?;
        growth.is_asked = false;
        Ok(())
    }

    /// Extends the chain with everything new until something is wrong.
    async fn follow(&mut self, growth: &mut Growth, anchors: &mut Anchors, mut follower: Follower) -> Result<Damage, Trouble> {
        let collect = Duration::from_millis(self.config.commit_interval_ms);
        let interval = Duration::from_secs(self.config.anchor_interval_s);
        let mut commit_at: Option<Instant> = None;
        let mut anchor_at: Option<Instant> = None;
        loop {
            anchor_at = (growth.head.unanchored > 0).then(|| anchor_at.unwrap_or_else(|| Instant::now() + interval));
            tokio::select! {
                batch = follower.next() => {
                    let batch = batch.ok_or_else(|| Trouble::Retry("the reader ended".to_owned()))?;
                    for message in batch {
                        if let Some(damage) = self.extend(growth, anchors, message).await? {
                            growth.commit(self.store, self.shown)?;
                            return Ok(damage);
                        }
                    }
                    if growth.is_asked {
                        self.answer(growth, anchors).await?;
                    }
                    commit_at = (!growth.waiting.is_empty()).then(|| commit_at.unwrap_or_else(|| Instant::now() + collect));
                }
                () = until(commit_at) => {
                    growth.commit(self.store, self.shown)?;
                    commit_at = None;
                }
                () = until(anchor_at) => {
                    growth.commit(self.store, self.shown)?;
                    self.anchor(growth).await?;
                    anchor_at = None;
                }
            }
            if growth.head.unanchored >= self.config.anchor_messages {
                self.anchor(growth).await?;
                anchor_at = None;
            }
        }
    }

    async fn anchor(&mut self, growth: &mut Growth) -> Result<(), Trouble> {
        let head = &growth.head;
        let anchor = AuditAnchor { era: head.era, sequence: head.sequence, hash: hex::encode(head.hash), count: head.position };
        let id = format!("auditor:anchor:{}:{}", head.era, head.sequence);
        self.say(subject::AUDIT_ANCHOR, &anchor, Some(id)).await?;
        // The database counts from the anchor when that has come back through the stream; until then it is not asked for again.
        growth.head.unanchored = 0;
        Ok(())
    }

    async fn say<T: Message>(&mut self, to: &'static str, message: &T, msg_id: Option<String>) -> Result<u64, Trouble> {
        let stored = self.bus.publish(to, message, Meta { msg_id, cause: None }).await;
        stored.map_err(|source: PublishError| Error::Publish { subject: to, source }.into())
    }

    /// Ends when no finding is open any more. Until then everyone who takes over is told.
    async fn wait_for_acceptance(&mut self) -> Result<(), Trouble> {
        loop {
            let Some(finding) = self.store.open_finding()? else {
                tracing::warn!("the damage was accepted; a new era of the chain begins");
                return Ok(());
            };
            self.tell(&finding).await?;
            tokio::time::sleep(ACCEPTANCE_POLL).await;
        }
    }
}

/// The place of the chain that speaks of a sequence, or of the nearest one below it.
fn place_at(store: &Store, eras: &[Era], sequence: u64) -> Result<Option<Place>, Error> {
    let mut through = sequence;
    for era in eras.iter().rev().filter(|era| era.first_sequence <= sequence) {
        if era.first_sequence > through {
            continue;
        }
        if let Some(place) = store.last_place(era.era, era.first_sequence, through)? {
            return Ok(Some(place));
        }
        through = era.first_sequence.saturating_sub(1);
    }
    Ok(None)
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
