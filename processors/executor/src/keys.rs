//! Where trading keys come from: environment variables, or files that can be exchanged under a running process.

use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use spark_exchanges::ApiKey;

/// More than any key has.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// Where one exchange's key and secret are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySource {
    /// Variable with the key.
    pub key_env: String,
    /// Variable with the secret.
    pub secret_env: String,
    /// File with the key; wins.
    pub key_file: Option<PathBuf>,
    /// File with the secret; wins.
    pub secret_file: Option<PathBuf>,
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "set {} and {}, or name files with trade_key_file and trade_secret_file", self.key_env, self.secret_env)
    }
}

impl KeySource {
    /// Reads key and secret.
    ///
    /// # Errors
    /// A sentence that names the variable or file, never its content.
    pub fn load(&self) -> Result<ApiKey, String> {
        let key = read(self.key_file.as_deref(), &self.key_env)?;
        let secret = read(self.secret_file.as_deref(), &self.secret_env)?;
        ApiKey::new(&key, &secret).map_err(|error| error.to_string())
    }
}

fn read(file: Option<&Path>, variable: &str) -> Result<SecretString, String> {
    let Some(path) = file else {
        return match std::env::var(variable) {
            Ok(value) if !value.is_empty() => Ok(value.into()),
            Ok(_) | Err(std::env::VarError::NotPresent) => Err(format!("the environment variable {variable} is not set")),
            Err(std::env::VarError::NotUnicode(_)) => Err(format!("the environment variable {variable} is not text")),
        };
    };
    let failed = |what: &dyn fmt::Display| format!("cannot read {}: {what}", path.display());
    let size = std::fs::metadata(path).map_err(|error| failed(&error))?.len();
    if size > FILE_BYTES_MAX {
        return Err(failed(&format_args!("{size} bytes are more than a key has")));
    }
    std::fs::read_to_string(path).map(SecretString::from).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_and_nothing_is_shown() {
        let source = |file: &str| KeySource {
            key_env: "SPARK_TEST_NOT_SET_KEY".into(),
            secret_env: "SPARK_TEST_NOT_SET_SECRET".into(),
            key_file: (!file.is_empty()).then(|| file.into()),
            secret_file: None,
        };
        let check = |source: &KeySource, part: &str| {
            let error = source.load().map(|_| ()).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        check(&source(""), "SPARK_TEST_NOT_SET_KEY is not set");
        check(&source("/nonexistent/key"), "/nonexistent/key");
    }
}
