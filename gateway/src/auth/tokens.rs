//! The file with tokens: of each its name, its role and its digest, never the token.
//!
//! `spark token` changes it under a lock and puts a new file in place of the old one; the gateway looks at it again when it is
//! another one. A file that cannot be read lets nobody in.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;

use super::{Digest, Role, digest, random};

/// The file's usual name, in the folder of keys.
pub const FILE: &str = "tokens.json";
/// Tokens in one file.
pub const TOKENS_MAX: usize = 1_000;
/// Characters of a name.
pub const NAME_CHARS_MAX: usize = 64;
/// What every token begins with, so that people and scanners know one when they see it.
pub const PREFIX: &str = "spark_";
/// Bytes of randomness in a token.
const TOKEN_BYTES: usize = 20;
const ID_BYTES: usize = 4;
const VERSION: u32 = 1;

/// What is kept of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Short name for people: 8 hexadecimal digits.
    pub id: String,
    /// Whose it is; the audit has it.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// When it was made.
    #[serde(with = "text")]
    pub created: Timestamp,
    /// Until when it holds; none: until it is revoked.
    #[serde(with = "maybe_text", default)]
    pub expires: Option<Timestamp>,
    /// SHA-256 of the token, hexadecimal.
    #[serde(with = "hexadecimal")]
    sha256: Digest,
}

impl Token {
    pub(crate) fn digest(&self) -> &Digest {
        &self.sha256
    }

    /// Whether it is not too old at `now`.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    tokens: Vec<Token>,
}

/// Why the file cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The file system says no.
    #[error("{what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It is not such a file.
    #[error("{}: {what}; restore it, or remove it and create every token again", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// What was asked for cannot be done.
    #[error("{0}")]
    Asked(String),
}

/// All tokens of a file; none when there is no file.
///
/// # Errors
/// [`TokensError`].
pub fn list(path: &Path) -> Result<Vec<Token>, TokensError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(TokensError::File { what: "read", path: path.to_owned(), source }),
    };
    let wrong = |what: String| TokensError::Content { path: path.to_owned(), what };
    let kept: Kept = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if kept.version != VERSION {
        return Err(wrong(format!("version {}, and this program knows {VERSION}", kept.version)));
    }
    Ok(kept.tokens)
}

/// Makes a token. It is returned once; only its digest is kept.
///
/// # Errors
/// The name cannot be used or is taken, or the file cannot be changed.
pub fn create(
    path: &Path,
    name: &str,
    role: Role,
    valid_for: Option<Duration>,
    now: Timestamp,
) -> Result<(Token, SecretString), TokensError> {
    let fits = !name.is_empty()
        && name.len() <= NAME_CHARS_MAX
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte));
    if !fits {
        let right = format!("1 to {NAME_CHARS_MAX} letters, digits and -_.@, e.g. alice or dashboard-1");
        return Err(TokensError::Asked(format!("`{name:.80}` cannot be a name; {right}")));
    }
    if name == super::ADMIN {
        return Err(TokensError::Asked(format!(
            "`{name}` is the name of whoever has the first administrator's token; choose another"
        )));
    }
    change(path, |tokens| {
        // What has ended stays listed for a while, but its name is free again.
        if tokens.iter().any(|token| token.name == name && token.is_valid(now)) {
            let fix = "revoke that one first, or choose another name";
            return Err(TokensError::Asked(format!("`{name}` has a token already; {fix}")));
        }
        if tokens.len() >= TOKENS_MAX {
            tokens.retain(|token| token.is_valid(now));
        }
        if tokens.len() >= TOKENS_MAX {
            return Err(TokensError::Asked(format!("{TOKENS_MAX} tokens are there already; revoke some")));
        }
        let secret = format!("{PREFIX}{}", random::hex(TOKEN_BYTES));
        let token = Token {
            id: random::hex(ID_BYTES),
            name: name.to_owned(),
            role,
            created: now,
            expires: valid_for.map(|valid_for| now + valid_for),
            sha256: digest(&secret),
        };
        tokens.push(token.clone());
        Ok((token, SecretString::from(secret)))
    })
}

/// Takes a token back, by id or name; what it was.
///
/// # Errors
/// There is none, or the file cannot be changed.
pub fn revoke(path: &Path, which: &str) -> Result<Token, TokensError> {
    change(path, |tokens| {
        let at =
            tokens.iter().position(|token| token.id == which).or_else(|| tokens.iter().rposition(|token| token.name == which));
        let Some(at) = at else {
            return Err(TokensError::Asked(format!("no token has the id or name `{which:.80}`; `spark token ls` lists them")));
        };
        Ok(tokens.remove(at))
    })
}

fn change<T>(path: &Path, edit: impl FnOnce(&mut Vec<Token>) -> Result<T, TokensError>) -> Result<T, TokensError> {
    let file_error = |what: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| TokensError::File { what, path, source }
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(file_error("make", folder))?;
    }
    let beside = path.with_extension("lock");
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&beside);
    let lock = open.map_err(file_error("open", &beside))?;
    lock.lock().map_err(file_error("lock", &beside))?;
    let mut tokens = list(path)?;
    let done = edit(&mut tokens)?;
    let text = serde_json::to_string_pretty(&Kept { version: VERSION, tokens }).expect("texts and numbers always serialize");
    let new = path.with_extension("new");
    // Of a change that was cut off.
    let _ = std::fs::remove_file(&new);
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(file_error("write", path))?;
    Ok(done)
}

/// What tells one content of the file from another.
type Stamp = Option<(u64, u64, i64, i64)>;

/// The file as the gateway knows it.
pub(crate) struct Tokens {
    path: PathBuf,
    held: Mutex<Held>,
}

struct Held {
    /// None: not looked yet.
    stamp: Option<Stamp>,
    tokens: Arc<Vec<Token>>,
}

impl Tokens {
    pub(crate) fn watch(path: PathBuf) -> Self {
        Self { path, held: Mutex::new(Held { stamp: None, tokens: Arc::default() }) }
    }

    /// What the file holds now. It is read only when it is another one: one look at its attributes otherwise.
    pub(crate) fn current(&self) -> Arc<Vec<Token>> {
        let stamp = stamp(&self.path);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.stamp != Some(stamp) {
            held.tokens = match list(&self.path) {
                Ok(tokens) => Arc::new(tokens),
                Err(error) => {
                    tracing::error!(%error, "no token is known until the file can be read again");
                    Arc::default()
                }
            };
            held.stamp = Some(stamp);
        }
        Arc::clone(&held.tokens)
    }
}

fn stamp(path: &Path) -> Stamp {
    let about = std::fs::metadata(path).ok()?;
    Some((about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
}

mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use spark_bus_schema::Timestamp;

    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(at)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        Timestamp::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

mod maybe_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use spark_bus_schema::Timestamp;

    pub fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => serializer.collect_str(at),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| Timestamp::parse(&text)).transpose().map_err(D::Error::custom)
    }
}

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Digest;

    pub fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(digest))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let mut digest = Digest::default();
        hex::decode_to_slice(String::deserialize(deserializer)?, &mut digest)
            .map_err(|_| D::Error::custom("sha256 is not 64 hexadecimal digits"))?;
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("spark-tokens-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[test]
    fn a_token_is_told_once_and_only_its_digest_is_kept() {
        let folder = Folder::new("kept");
        let path = folder.0.join("keys").join("tokens.json");
        let (token, secret) = create(&path, "alice", Role::Operator, Some(Duration::from_secs(60)), NOW).unwrap();
        let (secret, text) = (secret.expose_secret().to_owned(), std::fs::read_to_string(&path).unwrap());
        assert!(secret.starts_with(PREFIX) && secret.len() == PREFIX.len() + 2 * TOKEN_BYTES, "{secret}");
        assert!(!text.contains(&secret[PREFIX.len()..]), "{text}");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(list(&path).unwrap(), std::slice::from_ref(&token));
        assert_eq!(token.digest(), &digest(&secret));
        assert!(token.is_valid(NOW) && !token.is_valid(NOW + Duration::from_secs(60)), "not for ever");
    }

    #[test]
    fn names_are_checked_and_free_again_when_a_token_has_ended() {
        let folder = Folder::new("names");
        let path = folder.0.join("tokens.json");
        for wrong in ["", "a b", "ü", &"x".repeat(NAME_CHARS_MAX + 1), super::super::ADMIN] {
            assert!(create(&path, wrong, Role::Viewer, None, NOW).is_err(), "{wrong}");
        }
        create(&path, "bob", Role::Viewer, Some(Duration::from_secs(1)), NOW).unwrap();
        let taken = create(&path, "bob", Role::Viewer, None, NOW).unwrap_err().to_string();
        assert!(taken.contains("revoke"), "{taken}");
        create(&path, "bob", Role::Admin, None, NOW + Duration::from_secs(1)).unwrap();
        assert_eq!(revoke(&path, "bob").unwrap().role, Role::Admin, "the newest of that name");
        assert!(revoke(&path, "carol").unwrap_err().to_string().contains("spark token ls"));
    }

    #[test]
    fn a_watcher_sees_changes_and_a_damaged_file_lets_nobody_in() {
        let folder = Folder::new("watch");
        let path = folder.0.join("tokens.json");
        let tokens = Tokens::watch(path.clone());
        assert!(tokens.current().is_empty());
        let (token, _) = create(&path, "alice", Role::Viewer, None, NOW).unwrap();
        assert_eq!(*tokens.current(), std::slice::from_ref(&token));
        revoke(&path, &token.id).unwrap();
        assert!(tokens.current().is_empty());
        create(&path, "alice", Role::Viewer, None, NOW).unwrap();
        std::fs::write(&path, "{").unwrap();
        assert!(tokens.current().is_empty(), "fails closed");
        let error = create(&path, "bob", Role::Viewer, None, NOW).unwrap_err().to_string();
        assert!(error.contains("tokens.json") && error.contains("restore"), "{error}");
    }
}
