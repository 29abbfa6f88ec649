//! Who asks, and what that person or program may do: roles, tokens, and what wrong tokens cost.

pub mod random;
pub mod slow;
pub mod tokens;

use std::path::PathBuf;

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use spark_bus_schema::Timestamp;
use subtle::ConstantTimeEq;

use crate::config::Config;
use crate::error::Error;
use slow::Slow;
use tokens::Tokens;

/// Environment variable with the first administrator's token; it wins over the file.
pub const ADMIN_TOKEN_VARIABLE: &str = "SPARK_ADMIN_TOKEN";
/// Characters that a token which somebody chose must have.
pub const TOKEN_CHARS_MIN: usize = 16;
/// The name of whoever has the first administrator's token.
pub const ADMIN: &str = "operator";

/// What somebody may do; each role may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Viewer,
    /// Trade, stop and start, silence: the daily work.
    Operator,
    /// Change what protects: limits, thresholds, what goes live, what goes on after a halt.
    Admin,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| format!("unknown role `{text:.64}`; viewer, operator or admin would be right"))
    }
}

/// SHA-256 of a token: all that is ever kept of it.
pub(crate) type Digest = [u8; 32];

pub(crate) fn digest(token: &str) -> Digest {
    Sha256::digest(token.as_bytes()).into()
}

/// The first administrator's token, kept as a digest.
#[derive(Clone)]
pub struct AdminToken(Digest);

impl AdminToken {
    /// From the environment or the configured file; none when neither is set.
    ///
    /// # Errors
    /// The file cannot be read, or the token is too short.
    pub fn load(config: &Config) -> Result<Option<Self>, Error> {
        if let Ok(text) = std::env::var(ADMIN_TOKEN_VARIABLE) {
            return Self::new(&SecretString::from(text), ADMIN_TOKEN_VARIABLE).map(Some);
        }
        let Some(path) = &config.admin_token_file else { return Ok(None) };
        let text = std::fs::read_to_string(path).map_err(|source| Error::TokenFile { path: path.clone(), source })?;
        Self::new(&SecretString::from(text), &path.display().to_string()).map(Some)
    }

    /// From a text; blanks around it do not count.
    ///
    /// # Errors
    /// Too short; `origin` tells the person where it came from.
    pub fn new(text: &SecretString, origin: &str) -> Result<Self, Error> {
        let text = text.expose_secret().trim();
        if text.chars().count() < TOKEN_CHARS_MIN {
            return Err(Error::TokenShort { origin: origin.to_owned(), min: TOKEN_CHARS_MIN });
        }
        Ok(Self(digest(text)))
    }
}

/// Somebody whose token is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name, as the audit has it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The token's id; none for the first administrator's.
    pub token: Option<String>,
}

/// What an offered token is worth.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is known.
    Known(Identity),
    /// It is not, was revoked, or is too old.
    Unknown,
    /// No token is known at all: whatever needs one is switched off.
    Nobody,
}

/// Knows tokens.
pub struct Authority {
    admin: Option<AdminToken>,
    tokens: Option<Tokens>,
    /// What wrong tokens cost.
    pub(crate) slow: Slow,
}

impl Authority {
    /// With the first administrator's token and the file with all others.
    #[must_use]
    pub fn new(admin: Option<AdminToken>, file: Option<PathBuf>) -> Self {
        Self { admin, tokens: file.map(Tokens::watch), slow: Slow::default() }
    }

    /// Whose token this is. Digests are compared, each with every kept one: neither content nor length shows in the time.
    #[must_use]
    pub fn look_up(&self, offered: &str, now: Timestamp) -> Answer {
        let offered = digest(offered);
        let mut found = None;
        if let Some(AdminToken(kept)) = &self.admin
            && bool::from(kept.ct_eq(&offered))
        {
            found = Some(Identity { name: ADMIN.to_owned(), role: Role::Admin, token: None });
        }
        for token in self.tokens.as_ref().map(Tokens::current).iter().flat_map(|held| held.iter()) {
            if bool::from(token.digest().ct_eq(&offered)) && token.is_valid(now) {
                found = Some(Identity { name: token.name.clone(), role: token.role, token: Some(token.id.clone()) });
            }
        }
        match found {
            Some(identity) => Answer::Known(identity),
            None if self.knows_nobody() => Answer::Nobody,
            None => Answer::Unknown,
        }
    }

    /// Whether no token is known at all.
    #[must_use]
    pub fn knows_nobody(&self) -> bool {
        self.admin.is_none() && self.tokens.as_ref().is_none_or(|tokens| tokens.current().is_empty())
    }

    /// Whether somebody who was let in may stay: its token was not revoked and is not too old by now.
    #[must_use]
    pub fn still_holds(&self, identity: &Identity, now: Timestamp) -> bool {
        let Some(id) = &identity.token else { return true };
        let Some(tokens) = &self.tokens else { return false };
        tokens.current().iter().any(|token| token.id == *id && token.role == identity.role && token.is_valid(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_token_is_known_and_a_short_one_is_refused() {
        let admin = AdminToken::new(&SecretString::from("0123456789abcdef\n"), "test").unwrap();
        let authority = Authority::new(Some(admin), None);
        let now = Timestamp::from_millis(1);
        for (offered, want) in
            [("0123456789abcdef", true), ("0123456789abcdeF", false), ("", false), ("0123456789abcdef0", false)]
        {
            assert_eq!(matches!(authority.look_up(offered, now), Answer::Known(_)), want, "{offered}");
        }
        let error = AdminToken::new(&SecretString::from("short"), "token.txt").err().unwrap().to_string();
        assert!(error.contains("token.txt") && !error.contains("short\""), "{error}");
        assert_eq!(Authority::new(None, None).look_up("x", now), Answer::Nobody);
    }

    #[test]
    fn each_role_may_what_the_ones_before_it_may() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
        assert!(Role::ALL.iter().all(|role| role.as_str().parse() == Ok(*role)));
        assert!("root".parse::<Role>().unwrap_err().contains("viewer, operator or admin"));
    }
}
