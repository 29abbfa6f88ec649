//! `spark token`: who may ask the gateway for what. Works on the file of tokens; no gateway has to run, and one that runs
//! notices.

use std::path::Path;

use secrecy::ExposeSecret as _;
use serde_json::json;
use spark_gateway::auth::Role;
use spark_gateway::auth::tokens::{self, Token, TokensError};

use super::duration;
use crate::args::Global;
use crate::args::tokens::{TokenCommand, TokenCreateArgs, TokenRole};
use crate::config::Config;
use crate::exit::{Failure, chain};
use crate::output::{self, Style, paint};

/// Makes, lists, revokes.
///
/// # Errors
/// Exit 64: the name or the time cannot be used, or the file is not one of tokens. Exit 1: there is no such token. Exit 75:
/// the file cannot be read or written.
pub fn run(command: &TokenCommand, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let kept = || global.data.join("keys").join(tokens::FILE);
    let path = config.gateway.tokens_file.clone().unwrap_or_else(kept);
    match command {
        TokenCommand::Create(arguments) => create(arguments, &path, global),
        TokenCommand::Ls => list(&path, global),
        TokenCommand::Revoke { id } => {
            let there = tokens::list(&path).map_err(|error| failure(&error))?;
            let token = tokens::revoke(&path, id).map_err(|error| match error {
                // Whatever else was asked wrongly cannot be: an id is only looked up.
                TokensError::Asked(what) => Failure::no(format!("{what} ({} in {})", there.len(), path.display())),
                other => failure(&other),
            })?;
            if global.json {
                return output::line(&json!({"revoked": row(&token)}).to_string());
            }
            output::line(&format!("{} {} ({}) is revoked", token.id, token.name, token.role))
        }
    }
}

fn failure(error: &TokensError) -> Failure {
    match error {
        TokensError::File { .. } => Failure::temporary(chain(error)),
        TokensError::Content { .. } | TokensError::Asked(_) => Failure::usage(chain(error)),
    }
}

fn create(arguments: &TokenCreateArgs, path: &Path, global: &Global) -> Result<(), Failure> {
    let role = match arguments.role {
        TokenRole::Viewer => Role::Viewer,
        TokenRole::Operator => Role::Operator,
        TokenRole::Admin => Role::Admin,
    };
    let length =
        arguments.length.as_deref().map(duration).transpose().map_err(|what| Failure::usage(format!("--for: {what}")))?;
    if length.is_some_and(|length| length.is_zero()) {
        return Err(Failure::usage("--for 0: it would never be good; write for example 30d"));
    }
    let made = tokens::create(path, &arguments.name, role, length, spark_nats::now());
    let (token, secret) = made.map_err(|error| failure(&error))?;
    if global.json {
        let mut document = row(&token);
        document["token"] = secret.expose_secret().into();
        return output::line(&document.to_string());
    }
    output::line(secret.expose_secret())?;
    let until = token.expires.map_or_else(|| "until it is revoked".to_owned(), |expires| format!("until {expires}"));
    output::note(&format!(
        "this is shown once: only its hash is in {}. {} may act as {} {until}; `spark token revoke {}` takes it back",
        path.display(),
        token.name,
        token.role,
        token.id
    ));
    Ok(())
}

fn list(path: &Path, global: &Global) -> Result<(), Failure> {
    let all = tokens::list(path).map_err(|error| failure(&error))?;
    if global.json {
        return output::line(&json!({"file": path, "tokens": all.iter().map(row).collect::<Vec<_>>()}).to_string());
    }
    if all.is_empty() {
        return output::line("no tokens; `spark token create NAME --role viewer` makes one");
    }
    let now = spark_nats::now();
    let head = ["ID", "NAME", "ROLE", "CREATED", "EXPIRES"].map(ToOwned::to_owned).to_vec();
    let rows = all.iter().map(|token| {
        let expires = token.expires.map_or_else(|| "never".to_owned(), |expires| expires.to_string());
        let state = if token.is_valid(now) { "" } else { " (expired)" };
        vec![token.id.clone(), token.name.clone(), token.role.to_string(), token.created.to_string(), format!("{expires}{state}")]
    });
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    for (at, line) in output::table(&rows).iter().enumerate() {
        output::line(&if at == 0 { paint(line, Style::Bold) } else { line.clone() })?;
    }
    Ok(())
}

/// What may be told of a token: everything but its hash.
fn row(token: &Token) -> serde_json::Value {
    json!({
        "id": token.id,
        "name": token.name,
        "role": token.role.as_str(),
        "created": token.created.to_string(),
        "expires": token.expires.map(|expires| expires.to_string()),
        "valid": token.is_valid(spark_nats::now()),
    })
}
