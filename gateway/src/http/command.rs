//! What every command passes through: the operator's token, and the way to the bus.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use spark_bus_schema::orders::NAME_CHARS_MAX;
use tokio::sync::oneshot;

use super::problem::Problem;
use crate::app::{App, Command, Outgoing};
use crate::token::{TOKEN_CHARS_MIN, TOKEN_VARIABLE};

/// How long a command may wait for the broker's acknowledgement.
const COMMAND_LIMIT: Duration = Duration::from_secs(5);
/// Who acts, when the request says so; the token says that it may.
const ACTOR_HEADER: &str = "x-spark-actor";
/// Who acts, when the request does not say.
const ACTOR: &str = "operator";

/// Refuses who has not the operator's token.
pub(super) fn authorize(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(token) = &app.token else {
        let fix = format!(
            "put a token of at least {TOKEN_CHARS_MIN} characters into a file and name it in gateway.operator_token_file, or \
             set {TOKEN_VARIABLE}; then restart the gateway"
        );
        return Err(Problem::new(StatusCode::FORBIDDEN, "no-token", "Commands are switched off")
            .detail("no operator token is configured".to_owned())
            .fix(fix));
    };
    let offered = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let refused = |detail: &str| {
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Commands need the operator's token")
            .place("header: Authorization")
            .detail(detail.to_owned())
            .fix("send `Authorization: Bearer <token>`".to_owned())
    };
    match offered {
        None => Err(refused("no bearer token")),
        Some(offered) if token.matches(offered.trim()) => Ok(()),
        Some(_) => Err(refused("another token is configured")),
    }
}

/// Whether the request carries the operator's token.
pub(super) fn is_operator(app: &App, headers: &HeaderMap) -> bool {
    authorize(app, headers).is_ok()
}

/// Who acts, by `X-Spark-Actor`: kept with the command.
pub(super) fn actor(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(value) = headers.get(ACTOR_HEADER) else { return Ok(ACTOR.to_owned()) };
    let text = value.to_str().unwrap_or_default().trim();
    if text.is_empty() || text.chars().count() > NAME_CHARS_MAX {
        let fix = format!("1 to {NAME_CHARS_MAX} printable ASCII characters, or no such header");
        return Err(Problem::bad_value("header: X-Spark-Actor", "not a name".to_owned(), fix));
    }
    Ok(text.to_owned())
}

/// Sends a command and waits until it is stored; its LEDGER sequence.
pub(super) async fn send(app: &App, command: Outgoing) -> Result<u64, Problem> {
    let unavailable = |detail: String, fix: &str| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-confirmed", "The command is not confirmed")
            .detail(detail)
            .fix(fix.to_owned())
    };
    if !app.view().is_connected() {
        return Err(unavailable("the broker is not connected; nothing was sent".to_owned(), "try again when it is back"));
    }
    let (done, answer) = oneshot::channel();
    if app.commands.try_send(Command { command, done }).is_err() {
        return Err(unavailable("too many commands are waiting; nothing was sent".to_owned(), "try again"));
    }
    let may_have = "it may have taken effect: the latest command decides, so sending it again is safe";
    match tokio::time::timeout(COMMAND_LIMIT, answer).await {
        Ok(Ok(Ok(sequence))) => Ok(sequence),
        Ok(Ok(Err(reason))) => Err(unavailable(reason, "see the gateway's log and `spark doctor`")),
        Ok(Err(_)) => Err(unavailable("the gateway is stopping".to_owned(), may_have)),
        Err(_) => Err(unavailable(format!("no acknowledgement within {} s", COMMAND_LIMIT.as_secs()), may_have)),
    }
}
