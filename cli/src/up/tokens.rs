//! The tokens that a first start makes: one for the person, one for the process that asks the gateway.

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;
use spark_gateway::auth::{ADMIN_TOKEN_VARIABLE, Role, random, tokens};
use spark_nats::identities::keep;

use crate::config::Config;
use crate::exit::{Failure, chain};

/// The name of the reporter's token.
const REPORTER: &str = "reporter";
/// Bytes of randomness in the first administrator's token.
const BYTES: usize = 24;

/// Where they are.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The first administrator's; none when the person brings one.
    pub admin: Option<PathBuf>,
    /// The reporter's: a viewer.
    pub reporter: PathBuf,
}

/// Finds them in the data folder, and makes those that are missing.
///
/// # Errors
/// Exit 75: the data folder cannot be written, or the list of tokens cannot be read.
pub fn prepare(data: &Path, config: &Config) -> Result<Tokens, Failure> {
    let keys = data.join("keys");
    let cannot = |error: std::io::Error| Failure::temporary(format!("write {}: {error}", keys.display()));
    std::fs::create_dir_all(&keys).map_err(cannot)?;
    let brought = std::env::var_os(ADMIN_TOKEN_VARIABLE).is_some() || config.gateway.admin_token_file.is_some();
    let admin = keys.join("admin.token");
    if !brought && !admin.exists() {
        keep(&admin, &random::hex(BYTES)).map_err(cannot)?;
    }
    let reporter = keys.join("reporter.token");
    if !reporter.exists() {
        let list = config.gateway.tokens_file.clone().unwrap_or_else(|| keys.join(tokens::FILE));
        let made = || {
            // One whose secret is lost helps nobody.
            if tokens::list(&list)?.iter().any(|token| token.name == REPORTER) {
                tokens::revoke(&list, REPORTER)?;
            }
            tokens::create(&list, REPORTER, Role::Viewer, None, spark_nats::now())
        };
        let (_, secret) = made().map_err(|error| Failure::temporary(chain(&error)))?;
        keep(&reporter, secret.expose_secret()).map_err(cannot)?;
    }
    Ok(Tokens { admin: (!brought).then_some(admin), reporter })
}
