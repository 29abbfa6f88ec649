//! One nkey a process. Seeds live in files that only the owner can read; the broker knows the public halves alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::permissions::users;

/// The identities of all users of `permissions.toml`.
pub struct Identities {
    folder: PathBuf,
    public: BTreeMap<String, String>,
}

impl Identities {
    /// Reads the seeds in `<dir>/keys/<user>.nk`, creating the missing ones (mode 0600).
    ///
    /// # Errors
    /// A file cannot be read or written, or holds no nkey seed.
    pub fn open_or_create(dir: &Path) -> Result<Self, Error> {
        let folder = dir.join("keys");
        fs::create_dir_all(&folder).map_err(|source| Error::File { action: "create folder", path: folder.clone(), source })?;
        let mut public = BTreeMap::new();
        for user in users() {
            let path = folder.join(format!("{}.nk", user.name));
            let pair = if path.exists() { read(&path)? } else { create(&path)? };
            public.insert(user.name.clone(), pair.public_key());
        }
        Ok(Self { folder, public })
    }

    /// Where the seed of a user lies.
    #[must_use]
    pub fn seed_file(&self, user: &str) -> Option<PathBuf> {
        self.public.contains_key(user).then(|| self.folder.join(format!("{user}.nk")))
    }

    /// The `authorization` block of the broker's configuration.
    #[must_use]
    pub fn authorization(&self) -> String {
        let mut block = String::from("authorization {\n  users = [\n");
        for user in users() {
            let Some(key) = self.public.get(&user.name) else { continue };
            let quote = |subjects: Vec<String>| subjects.iter().map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(", ");
            // Writing to a String cannot fail.
            let _ = writeln!(
                block,
                "    # {}\n    {{ nkey: {key}, permissions: {{ publish: {{ allow: [{}] }}, subscribe: {{ allow: [{}] }} }} }}",
                user.name,
                quote(user.publish_allow()),
                quote(user.subscribe_allow()),
            );
        }
        block.push_str("  ]\n}\n");
        block
    }
}

fn read(path: &Path) -> Result<nkeys::KeyPair, Error> {
    let seed = fs::read_to_string(path).map_err(|source| Error::File { action: "read", path: path.to_owned(), source })?;
    nkeys::KeyPair::from_seed(seed.trim())
        .map_err(|_| Error::Definition(format!("{} holds no nkey seed; delete it to have a new one made", path.display())))
}

fn create(path: &Path) -> Result<nkeys::KeyPair, Error> {
    let pair = nkeys::KeyPair::new_user();
    let seed = pair.seed().map_err(|error| Error::Definition(format!("make an nkey: {error}")))?;
    keep(path, &seed).map_err(|source| Error::File { action: "write", path: path.to_owned(), source })?;
    Ok(pair)
}

/// Writes a secret into a new file that only its owner can read.
///
/// # Errors
/// It is there already, or cannot be written.
pub fn keep(path: &Path, secret: &str) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(secret.as_bytes())
}
