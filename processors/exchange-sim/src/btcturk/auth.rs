//! The three headers of a private call.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::config::{ApiKey, Venue};
use crate::world::World;

/// A stamp may be off by this much, ms.
const TOLERANCE_MS: u64 = 5_000;

/// The bytes of a secret; `None` when it is not base64.
pub(crate) fn decode_secret(secret: &SecretString) -> Option<Vec<u8>> {
    STANDARD.decode(secret.expose_secret()).ok().filter(|bytes| !bytes.is_empty())
}

/// Whether a base64 signature is right.
pub(crate) fn verify(secret: &[u8], message: &str, signature: &str) -> bool {
    let Ok(signature) = STANDARD.decode(signature) else { return false };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return false };
    mac.update(message.as_bytes());
    mac.verify_slice(&signature).is_ok()
}

/// Checks a private call. `Err` is the message of the 401.
pub(crate) fn authorize<'a>(world: &'a World, headers: &HeaderMap) -> Result<&'a ApiKey, &'static str> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty());
    let (Some(name), Some(stamp), Some(signature)) = (header("x-pck"), header("x-stamp"), header("x-signature")) else {
        return Err("Headers are missing");
    };
    let key = world.btcturk.account.key(name).ok_or("Invalid Public Key")?;
    let stamp_ms: i64 = stamp.parse().map_err(|_| "Invalid Nonce")?;
    if world.now_ms(Venue::Btcturk).abs_diff(stamp_ms) > TOLERANCE_MS {
        return Err("Invalid Nonce");
    }
    let secret = decode_secret(&key.secret).ok_or("Invalid Private Key")?;
    if !verify(&secret, &format!("{name}{stamp}"), signature) {
        return Err("Invalid Signature");
    }
    if world.faults.revoked(Venue::Btcturk, name) {
        return Err("Invalid Public Key");
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worked_example_is_accepted_and_the_secret_is_decoded() {
        let secret = decode_secret(&"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".into()).unwrap();
        let message = "11111111-2222-3333-4444-5555555555551700000000000";
        assert!(verify(&secret, message, "uIbieNveCKUVO8fHeBoNZw1c/jcNOaLQ1L7hOQpYIQ4="));
        assert!(!verify(&secret, message, "JpWn7B3XwfsmtLvMxcje/gqmBYP+sfr5kdurhMbeO7c="));
        assert!(decode_secret(&"***".into()).is_none());
    }
}
