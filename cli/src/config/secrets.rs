//! Every secret that this machine tells of: to make sure that none of them leaves it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use spark_gateway::auth::tokens;
use spark_reporter::evidence::Secrets;

use super::{Config, is_secret};

/// Words in the name of an environment variable whose value is a secret.
const WORDS: [&str; 8] = ["SECRET", "PASSWORD", "PASSWD", "TOKEN", "KEY", "SEED", "CREDS", "WEBHOOK"];
/// Endings of names that say where a secret is, not what it is.
const PLACES: [&str; 4] = ["_FILE", "_ENV", "_PATH", "_DIR"];
/// More than any file with a key has.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Files in the folder of keys.
const FILES_MAX: usize = 1_000;

impl Config {
    /// Values of environment variables and files that the configuration names or whose names say that they are secret, of
    /// every file in `<data>/keys`, and of secret keys in the configuration itself. A file that cannot be read by whoever asks
    /// is left out: its content cannot get into what they write either.
    #[must_use]
    pub fn secrets(&self, data: &Path, environment: impl IntoIterator<Item = (String, String)>) -> Secrets {
        let mut secrets = Secrets::default();
        let environment: Vec<(String, String)> = environment.into_iter().collect();
        let mut named = Vec::new();
        let mut files = Vec::new();
        let given = serde_json::to_value(&self.given).unwrap_or_default();
        walk("", &given, &mut |key, text| match place_of(key) {
            Some(Place::Variable) => named.push(text.to_owned()),
            Some(Place::File) => files.push(PathBuf::from(text)),
            None if is_secret(key) => {
                secrets.add(&format!("configuration {key}"), text);
            }
            None => {
                let told = |part: &str| format!("the {part} in configuration {key}");
                if let Some(password) = password_in(text) {
                    secrets.add(&told("password"), password);
                }
                if let Some(end) = key_in_path(text).filter(|_| key.starts_with("notifier.")) {
                    secrets.add(&told("key"), end);
                }
            }
        });
        for (name, value) in &environment {
            let upper = name.to_ascii_uppercase();
            let tells = WORDS.iter().any(|word| upper.contains(word)) && !PLACES.iter().any(|place| upper.ends_with(place));
            if tells || named.contains(name) {
                secrets.add(&format!("environment {name}"), value);
            } else if let Some(password) = password_in(value) {
                secrets.add(&format!("the password in environment {name}"), password);
            }
            if upper.starts_with("SPARK_") && upper.ends_with("_FILE") || upper == "NATS_CREDS" {
                files.push(PathBuf::from(value));
            }
        }
        let kept = fs::read_dir(data.join("keys")).into_iter().flatten().flatten().take(FILES_MAX);
        files.extend(kept.map(|entry| entry.path()));
        // Of tokens there are names and digests only: words that other files have too, and nothing that opens anything.
        let of_tokens = self.gateway.tokens_file.as_deref();
        files.retain(|path| path.file_name().is_none_or(|name| name != tokens::FILE) && of_tokens != Some(path.as_path()));
        for path in files {
            let small = fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() <= FILE_BYTES_MAX);
            if let Some(text) = small.then(|| fs::read_to_string(&path).ok()).flatten() {
                secrets.add(&format!("file {}", path.display()), &text);
            }
        }
        secrets
    }
}

enum Place {
    Variable,
    File,
}

/// Whether a key says where a secret is. Files of another kind (rules) do not end so.
fn place_of(key: &str) -> Option<Place> {
    if key.ends_with("_env") {
        return Some(Place::Variable);
    }
    key.ends_with("_file").then_some(Place::File)
}

/// Every text in a document, with its dotted key.
fn walk(key: &str, value: &Value, each: &mut impl FnMut(&str, &str)) {
    let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, member)| walk(&below(name), member, each)),
        Value::Array(items) => items.iter().for_each(|item| walk(key, item, each)),
        Value::String(text) => each(key, text),
        // A key of digits alone reads as a number.
        Value::Number(number) if is_secret(key) => each(key, &number.to_string()),
        _ => {}
    }
}

/// `secret` in `scheme://user:secret@host`.
fn password_in(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let (user, _) = rest.split(['/', '?', '#']).next()?.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password).filter(|password| !password.is_empty())
}

/// The end of a webhook's address, where it is long enough to be what opens it: `https://hooks.example/services/T0/B0/<key>`.
fn key_in_path(text: &str) -> Option<&str> {
    const KEY_CHARS_MIN: usize = 16;
    let (_, rest) = text.split_once("://")?;
    let (_, path) = rest.split_once('/')?;
    path.rsplit(['/', '=']).next().filter(|end| end.len() >= KEY_CHARS_MIN)
}

/// A text without the password in its address.
pub(super) fn without_password(text: &str) -> String {
    match password_in(text) {
        Some(password) => text.replacen(&format!(":{password}@"), ":(hidden)@", 1),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_where_the_configuration_says_and_where_names_say() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("keys")).unwrap();
        std::fs::write(path("keys/admin.token"), "kept-token-0001\n").unwrap();
        std::fs::write(path("keys/tokens.json"), "{\"version\": 1, \"tokens\": [{\"name\": \"grafana-dashboards\"}]}").unwrap();
        std::fs::write(path("binance.key"), "file-key-0002").unwrap();
        std::fs::write(path("binance.secret"), "file-secret-0003").unwrap();
        let text = format!(
            "[portfolio.binance]\napi_key_file = {:?}\napi_secret_file = {:?}\n[executor.btcturk]\ntrade_key_env = \"MY_OWN_NAME\"\n\
             [nats]\nurl = \"nats://bob:pass-word-0004@127.0.0.1:4222\"\n\
             [[notifier.receiver]]\nname = \"chat\"\ntype = \"slack\"\nurl = \"https://hooks.example/services/T0/webhook-key-0010\"\n",
            path("binance.key"),
            path("binance.secret")
        );
        std::fs::write(path("spark.toml"), text).unwrap();
        let config = Config::from_parts(Some(&path("spark.toml")), []).map_err(|wrong| format!("{wrong:?}")).unwrap();
        let environment = [
            ("MY_OWN_NAME", "named-value-0005"),
            ("SPARK_BINANCE_API_SECRET", "env-secret-0006"),
            ("SPARK_DATA", "not-a-secret-0007"),
            ("SPARK_NKEY_SEED_FILE", "/nowhere/not-a-secret-0008"),
            ("HTTP_PROXY", "http://u:proxy-pass-0009@proxy:1"),
        ];
        let secrets = config.secrets(folder.path(), environment.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let found = |text: &str| secrets.find(text.as_bytes()).map(|(name, _)| name.to_owned());
        assert_eq!(found("grafana-dashboards"), None);
        assert_eq!(found("kept-token-0001"), Some(format!("file {}", path("keys/admin.token").display())));
        assert_eq!(found("x file-key-0002"), Some(format!("file {}", path("binance.key").display())));
        assert_eq!(found("file-secret-0003"), Some(format!("file {}", path("binance.secret").display())));
        assert!(config.effective()["nats"]["url"] == "nats://bob:(hidden)@127.0.0.1:4222");
        assert_eq!(found("pass-word-0004"), Some("the password in configuration nats.url".to_owned()));
        assert_eq!(found("named-value-0005"), Some("environment MY_OWN_NAME".to_owned()));
        assert_eq!(found("env-secret-0006"), Some("environment SPARK_BINANCE_API_SECRET".to_owned()));
        assert_eq!(found("proxy-pass-0009"), Some("the password in environment HTTP_PROXY".to_owned()));
        assert_eq!(found("webhook-key-0010"), Some("the key in configuration notifier.receiver.url".to_owned()));
        assert!(!config.effective().to_string().contains("webhook-key"), "{}", config.effective());
        assert_eq!((found("not-a-secret-0007"), found("not-a-secret-0008")), (None, None));
    }
}
