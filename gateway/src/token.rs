//! The operator's token: kept as a digest, compared in constant time.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::Config;
use crate::error::Error;

/// Environment variable with the token; it wins over the file.
pub const TOKEN_VARIABLE: &str = "SPARK_OPERATOR_TOKEN";
/// Characters that a token must have.
pub const TOKEN_CHARS_MIN: usize = 16;

/// What a token is checked against.
#[derive(Clone)]
pub struct OperatorToken([u8; 32]);

impl OperatorToken {
    /// From the environment or the configured file; none when neither is set.
    ///
    /// # Errors
    /// The file cannot be read, or the token is too short.
    pub fn load(config: &Config) -> Result<Option<Self>, Error> {
        if let Ok(text) = std::env::var(TOKEN_VARIABLE) {
            return Self::new(&SecretString::from(text), TOKEN_VARIABLE).map(Some);
        }
        let Some(path) = &config.operator_token_file else { return Ok(None) };
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
        Ok(Self(Sha256::digest(text.as_bytes()).into()))
    }

    /// Whether `offered` is the token. Digests are compared, so neither content nor length shows in the time taken.
    #[must_use]
    pub fn matches(&self, offered: &str) -> bool {
        let offered: [u8; 32] = Sha256::digest(offered.as_bytes()).into();
        self.0.ct_eq(&offered).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_token_matches_and_a_short_one_is_refused() {
        let token = OperatorToken::new(&SecretString::from("0123456789abcdef\n"), "test").unwrap();
        for (offered, want) in
            [("0123456789abcdef", true), ("0123456789abcdeF", false), ("", false), ("0123456789abcdef0", false)]
        {
            assert_eq!(token.matches(offered), want, "{offered}");
        }
        let error = OperatorToken::new(&SecretString::from("short"), "token.txt").err().unwrap().to_string();
        assert!(error.contains("token.txt") && !error.contains("short\""), "{error}");
    }
}
