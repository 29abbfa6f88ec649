//! Confirmations: the word that turns a request which was shown its effect into one that is carried out, once.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use spark_bus_schema::Timestamp;

use crate::auth::random;

/// A confirmation holds this long.
pub const VALID: Duration = Duration::from_secs(120);
/// Confirmations that may wait; of more, the oldest is forgotten.
pub const WAITING_MAX: usize = 64;
/// Only who has a token can use one, so it protects from a mistake, not from a thief.
const TOKEN_BYTES: usize = 16;

/// What waits to be confirmed.
#[derive(Default)]
pub struct Confirmations {
    waiting: Mutex<BTreeMap<String, Waiting>>,
}

struct Waiting {
    request: [u8; 32],
    ends_at: Timestamp,
}

/// Why a request is not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unconfirmed {
    /// The token is not known, was used, or is too old.
    Unknown,
    /// It was given for another request, or what that would change is no longer what it was.
    Different,
}

impl Confirmations {
    /// A token for a request, and until when it holds. `request` is everything that was shown: who asks for what, why, and
    /// what that would change.
    #[must_use]
    pub fn ask(&self, request: &str, now: Timestamp) -> (String, Timestamp) {
        let (token, ends_at) = (random::hex(TOKEN_BYTES), now + VALID);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, held| held.ends_at > now);
        while waiting.len() >= WAITING_MAX {
            let oldest = waiting.iter().min_by_key(|(_, held)| held.ends_at).map(|(token, _)| token.clone());
            let Some(oldest) = oldest else { break };
            waiting.remove(&oldest);
        }
        waiting.insert(token.clone(), Waiting { request: Sha256::digest(request).into(), ends_at });
        (token, ends_at)
    }

    /// Takes a token back: it is good for this request, once.
    ///
    /// # Errors
    /// [`Unconfirmed`]; a token that was given for another request is gone too.
    pub fn confirm(&self, token: &str, request: &str, now: Timestamp) -> Result<(), Unconfirmed> {
        let held = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(token);
        let held = held.filter(|held| held.ends_at > now).ok_or(Unconfirmed::Unknown)?;
        let request: [u8; 32] = Sha256::digest(request).into();
        if held.request == request { Ok(()) } else { Err(Unconfirmed::Different) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_once_for_what_was_shown_and_not_for_ever() {
        let confirmations = Confirmations::default();
        let now = Timestamp::from_millis(1_000);
        let (token, ends_at) = confirmations.ask("a", now);
        assert_eq!(ends_at, now + VALID);
        assert_eq!(confirmations.confirm(&token, "a", now), Ok(()));
        assert_eq!(confirmations.confirm(&token, "a", now), Err(Unconfirmed::Unknown), "once");
        let (token, _) = confirmations.ask("a", now);
        assert_eq!(confirmations.confirm(&token, "b", now), Err(Unconfirmed::Different));
        let (token, ends_at) = confirmations.ask("a", now);
        assert_eq!(confirmations.confirm(&token, "a", ends_at), Err(Unconfirmed::Unknown), "too late");
        let tokens: Vec<_> = (0..=WAITING_MAX).map(|_| confirmations.ask("a", now).0).collect();
        let good = tokens.iter().filter(|token| confirmations.confirm(token, "a", now).is_ok()).count();
        assert_eq!(good, WAITING_MAX, "the oldest is forgotten");
    }
}
