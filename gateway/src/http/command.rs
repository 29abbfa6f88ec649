//! The way of every command to the bus.

use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::oneshot;

use super::problem::Problem;
use crate::app::{App, Command, Outgoing};

/// How long a command may wait for the broker's acknowledgement.
const COMMAND_LIMIT: Duration = Duration::from_secs(5);

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
