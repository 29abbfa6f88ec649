//! What survives a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;

use super::Guardrail;
use super::book::Book;
use super::exchanges::Exchanges;
use super::markets::Markets;
use super::scores::Scores;
use super::thresholds::Thresholds;
use crate::action;
use crate::alert::Status;
use crate::window;

/// Rises when the layout below changes in a way that older states cannot be read any more. What is new goes to the end,
/// with a default: states of older builds are shorter.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct SavedInstance {
    scope: BTreeMap<String, String>,
    status: Status,
    window: window::Saved,
}

#[derive(Serialize, Deserialize)]
struct SavedRule {
    id: String,
    fingerprint: u64,
    instances: Vec<SavedInstance>,
}

#[derive(Serialize)]
struct StateRef<'a> {
    version: u32,
    now: Timestamp,
    heard_at: Timestamp,
    rules: Vec<SavedRule>,
    markets: &'a Markets,
    exchanges: &'a Exchanges,
    book: &'a Book,
    refused: u64,
    thresholds: &'a Thresholds,
    actions: Option<&'a action::State>,
    scores: &'a Scores,
}

#[derive(Deserialize)]
struct State {
    #[expect(dead_code, reason = "read on its own before the rest")]
    version: u32,
    now: Timestamp,
    heard_at: Timestamp,
    rules: Vec<SavedRule>,
    markets: Markets,
    exchanges: Exchanges,
    book: Book,
    refused: u64,
    #[serde(default)]
    thresholds: Thresholds,
    #[serde(default)]
    actions: Option<action::State>,
    #[serde(default)]
    scores: Scores,
}

impl Guardrail {
    /// The state as bytes: only cells and slices that are not empty.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let rules = self.trackers.iter().map(|tracker| SavedRule {
            id: tracker.rule.id.clone(),
            fingerprint: tracker.fingerprint,
            instances: tracker
                .instances
                .values()
                .map(|instance| SavedInstance {
                    scope: instance.scope.clone(),
                    status: instance.status,
                    window: instance.window.save(),
                })
                .collect(),
        });
        let state = StateRef {
            version: VERSION,
            now: self.now,
            heard_at: self.heard_at,
            rules: rules.collect(),
            markets: &self.markets,
            exchanges: &self.exchanges,
            book: &self.book,
            refused: self.refused,
            thresholds: &self.thresholds,
            actions: self.actions.as_ref().map(|actions| actions.state()),
            scores: &self.scores,
        };
        rmp_serde::to_vec(&state).expect("writing to memory cannot fail and every key can be written")
    }

    /// Takes over saved bytes; call it on a guardrail fresh from its rules. A rule that is no longer the same, by its
    /// [fingerprint](crate::rule::Rule::fingerprint), starts afresh; what it had open is closed at the next event.
    ///
    /// # Errors
    /// The bytes are of another layout or damaged.
    pub(super) fn take_over(&mut self, bytes: &[u8]) -> Result<(), String> {
        let version = version(bytes)?;
        if version != VERSION {
            return Err(format!("state has layout {version}, this build reads {VERSION}"));
        }
        let state: State = spark_bus_schema::codec::from_saved(bytes).map_err(|error| format!("state is damaged: {error}"))?;
        for rule in state.rules {
            let known =
                self.trackers.iter_mut().find(|tracker| tracker.rule.id == rule.id && tracker.fingerprint == rule.fingerprint);
            let Some(tracker) = known else { continue };
            for saved in rule.instances {
                let instance = tracker.put(saved.scope);
                instance.status = saved.status;
                instance.window.restore(saved.window)?;
            }
        }
        (self.now, self.heard_at, self.refused) = (state.now, state.heard_at, state.refused);
        (self.markets, self.exchanges) = (state.markets, state.exchanges);
        self.book.replace(state.book);
        if let (Some(actions), Some(saved)) = (&mut self.actions, state.actions) {
            actions.replace(saved);
        }
        self.scores = state.scores;
        self.thresholds = state.thresholds;
        self.put_thresholds_in_force();
        self.begun = false;
        Ok(())
    }
}

/// The first field alone, so that another layout is named as such and not as damage.
fn version(bytes: &[u8]) -> Result<u32, String> {
    // An array of up to 15 values begins with one byte, the version follows as a small integer.
    match bytes {
        [0x90..=0x9f, version, ..] if *version < 0x80 => Ok(u32::from(*version)),
        _ => Err("state is damaged: it does not begin with its layout".to_owned()),
    }
}
