//! Contexts of the NATS command line: `$XDG_CONFIG_HOME/nats/context/<name>.json`, the chosen one named in `context.txt`
//! beside that folder. What is in one that Spark cannot use is an error, not a surprise.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;
use spark_nats::{Credentials, Tls};

use crate::exit::Failure;

/// No context is larger.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// What the NATS command line takes when a context names no broker.
const DEFAULT_URL: &str = "nats://127.0.0.1:4222";

/// What a context says about connecting.
#[derive(Debug)]
pub struct Context {
    /// Its name.
    pub name: String,
    /// The broker, or several separated by commas.
    pub url: String,
    /// Who to be.
    pub credentials: Credentials,
    /// How the connection is kept private.
    pub tls: Tls,
}

/// The file, as `nats context` writes it. Unknown members are its own business.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Written {
    url: String,
    creds: String,
    nkey: String,
    user: String,
    password: SecretText,
    token: SecretText,
    cert: String,
    key: String,
    ca: String,
    tls_first: bool,
    socks_proxy: String,
    nsc: String,
    user_jwt: SecretText,
    user_seed: SecretText,
    jetstream_domain: String,
    jetstream_api_prefix: String,
    inbox_prefix: String,
    windows_cert_store: String,
}

#[derive(Default, Deserialize)]
#[serde(transparent)]
struct SecretText(String);

/// The folder that the NATS command line keeps its contexts in.
fn folder() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("XDG_CONFIG_HOME").or_else(|| named("HOME").map(|home| home.join(".config"))).map(|parent| parent.join("nats"))
}

/// The context of this name.
///
/// # Errors
/// Exit 64: there is none, or it needs what Spark cannot do.
pub fn named(name: &str) -> Result<Context, Failure> {
    let folder = folder().ok_or_else(|| Failure::usage(format!("context `{name}`: neither XDG_CONFIG_HOME nor HOME is set")))?;
    read(&folder, name)
}

/// The context that `nats context select` chose; none when there is none.
///
/// # Errors
/// As [`named`].
pub fn selected() -> Result<Option<Context>, Failure> {
    let Some(folder) = folder() else { return Ok(None) };
    let name = std::fs::read_to_string(folder.join("context.txt")).unwrap_or_default();
    match name.trim() {
        "" => Ok(None),
        name => read(&folder, name).map(Some),
    }
}

fn read(folder: &Path, name: &str) -> Result<Context, Failure> {
    let wrong = |what: String| Failure::usage(format!("NATS context `{name}`: {what}"));
    if name.is_empty() || name.contains("..") || name.contains('/') {
        return Err(wrong("not the name of a context; `nats context ls` lists them".to_owned()));
    }
    let path = folder.join("context").join(format!("{name}.json"));
    let shown = path.display();
    if std::fs::metadata(&path).is_ok_and(|meta| meta.len() > FILE_BYTES_MAX) {
        return Err(wrong(format!("{shown} is larger than {FILE_BYTES_MAX} bytes: not a context")));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => wrong(format!("there is no {shown}; known: {}", known(folder))),
        _ => wrong(format!("{shown} cannot be read: {error}")),
    })?;
    // A message of the parser can quote what it read, and that can be a password: only the place is told.
    let written: Written = serde_json::from_str(&text).map_err(|error| {
        wrong(format!("{shown}:{}:{}: not a context as the NATS command line writes it", error.line(), error.column()))
    })?;
    written.context(name).map_err(|what| wrong(format!("{what} ({shown})")))
}

fn known(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder.join("context")).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().to_string_lossy().strip_suffix(".json").map(ToOwned::to_owned)).collect();
    names.sort();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl Written {
    /// As the NATS command line chooses among several: user, then creds, then nkey, then token.
    fn context(self, name: &str) -> Result<Context, String> {
        let refused = [
            ("socks_proxy", !self.socks_proxy.is_empty(), "connect without a proxy"),
            ("nsc", !self.nsc.is_empty(), "write its credentials to a file with `nsc generate creds` and name it in creds"),
            (
                "user_jwt",
                !self.user_jwt.0.is_empty() || !self.user_seed.0.is_empty(),
                "put JWT and seed into a .creds file and name it in creds",
            ),
            ("windows_cert_store", !self.windows_cert_store.is_empty(), "name files in cert and key"),
            ("jetstream_domain", !self.jetstream_domain.is_empty(), "connect to that domain's servers"),
            ("jetstream_api_prefix", !self.jetstream_api_prefix.is_empty(), "connect to the account that has the streams"),
            ("inbox_prefix", !self.inbox_prefix.is_empty(), "allow Spark's own (_INBOX_<user>.>), as nats/permissions.toml does"),
        ];
        if let Some((member, _, fix)) = refused.into_iter().find(|(_, used, _)| *used) {
            return Err(format!(
                "it has {member}, which Spark cannot use; {fix}, or use --url with NATS_CREDS or SPARK_NKEY_SEED_FILE"
            ));
        }
        if self.cert.is_empty() != self.key.is_empty() {
            return Err("it has one of cert and key; both are needed, or none".to_owned());
        }
        let credentials = if !self.user.is_empty() {
            Credentials::UserAndPassword { user: self.user, password: SecretString::from(self.password.0) }
        } else if !self.creds.is_empty() {
            Credentials::CredsFile(file("creds", &self.creds)?)
        } else if !self.nkey.is_empty() {
            Credentials::NkeySeedFile(file("nkey", &self.nkey)?)
        } else if !self.token.0.is_empty() {
            Credentials::Token(SecretString::from(self.token.0))
        } else {
            Credentials::None
        };
        let given = |text: String| Some(text).filter(|text| !text.is_empty()).map(PathBuf::from);
        let tls = Tls { ca: given(self.ca), certificate: given(self.cert).zip(given(self.key)), first: self.tls_first };
        let url = if self.url.is_empty() { DEFAULT_URL.to_owned() } else { self.url };
        Ok(Context { name: name.to_owned(), url, credentials, tls })
    }
}

/// A path, or `file://` and a path; other places are not looked into.
fn file(member: &str, text: &str) -> Result<PathBuf, String> {
    match text.split_once("://") {
        None => Ok(PathBuf::from(text)),
        Some(("file", path)) => Ok(PathBuf::from(path)),
        Some((scheme, _)) => Err(format!("its {member} is in {scheme}://, which Spark cannot read; name a file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<Context, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("context")).unwrap();
        std::fs::write(folder.path().join("context/it.json"), json).unwrap();
        read(folder.path(), "it").map_err(|failure| failure.message)
    }

    #[test]
    fn what_a_context_says_is_taken_as_the_nats_command_line_takes_it() {
        let taken = |json: &str| check(json).unwrap();
        let nobody = taken("{\"description\":\"x\"}");
        assert!(nobody.url == DEFAULT_URL && matches!(nobody.credentials, Credentials::None));
        let user = taken(
            "{\"url\":\"nats://a:1\",\"user\":\"u\",\"password\":\"geheim\",\"token\":\"t\",\"color_scheme\":\"\",\"windows_ca_certs_match\":null}",
        );
        assert!(
            user.url == "nats://a:1" && matches!(&user.credentials, Credentials::UserAndPassword { user, .. } if user == "u")
        );
        assert!(!format!("{user:?}").contains("geheim"), "{user:?}");
        assert!(
            matches!(taken("{\"creds\":\"file:///a/b.creds\"}").credentials, Credentials::CredsFile(path) if path == Path::new("/a/b.creds"))
        );
        assert!(
            matches!(taken("{\"nkey\":\"/a/b.nk\"}").credentials, Credentials::NkeySeedFile(path) if path == Path::new("/a/b.nk"))
        );
        assert!(matches!(taken("{\"token\":\"t\"}").credentials, Credentials::Token(_)));
        let tls = taken("{\"ca\":\"ca.pem\",\"cert\":\"c.pem\",\"key\":\"k.pem\",\"tls_first\":true}").tls;
        assert!(tls.first && tls.ca.is_some() && tls.certificate.is_some());
    }

    #[test]
    fn what_spark_cannot_use_is_named_with_what_would_be_right() {
        for (json, member) in [
            ("{\"windows_cert_store\":\"user\"}", "windows_cert_store"),
            ("{\"user_jwt\":\"eyJ\"}", "user_jwt"),
            ("{\"nsc\":\"nsc://a/b/c\"}", "nsc"),
            ("{\"socks_proxy\":\"socks5://a\"}", "socks_proxy"),
            ("{\"jetstream_domain\":\"hub\"}", "jetstream_domain"),
            ("{\"creds\":\"op://vault/it\"}", "creds"),
            ("{\"cert\":\"c.pem\"}", "cert and key"),
        ] {
            let said = check(json).unwrap_err();
            assert!(said.contains(member) && said.contains("it.json"), "{said}");
        }
        let said = check("{\"password\":geheim}").unwrap_err();
        assert!(said.contains("it.json:1:") && !said.contains("geheim"), "{said}");
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path(), "../x").is_err());
        assert!(read(folder.path(), "x").unwrap_err().message.contains("known: none"));
    }
}
