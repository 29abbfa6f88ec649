//! `GET` and `POST /api/rollout`: where a model stands on its way to live trading, and a person's word about it.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use spark_bus_schema::rollout::{RolloutCommand, RolloutVerb, Stage};
use spark_bus_schema::signals::ModelId;
use tokio::time::Instant;

use super::access::Caller;
use super::command::send;
use super::exec::body;
use super::exec::commands::{ACCEPTED, confirmation};
use super::input::Payload;
use super::problem::Problem;
use super::query::Params;
use super::{Context, json as answer};
use crate::app::{App, Awaited, Outgoing};
use crate::auth::Role;
use crate::view::View;
use crate::view::rollouts::{ChangeRow, HISTORY_MAX, RolloutAnswer};
use crate::view::status::Word;
use crate::view::words;

/// How long an answer may wait for the rollout's word on a command.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// Of [`set`].
pub const EXAMPLE: &str = r#"{"verb":"promote","reason":"the gates held for four hours","revision":7,"confirm":true}"#;

/// Where a model stands, and how it came there.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Rollout")]
pub struct Told<'a> {
    status: Word,
    #[serde(flatten)]
    rollout: RolloutAnswer<'a>,
    complete: bool,
}

/// Where it stands, its gates, and how it came there. The last state stays visible with the process down.
pub async fn get(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    params.only(&[])?;
    let now = spark_nats::now();
    let view = context.app.view();
    Ok(answer(&Told {
        status: view.status(now).status,
        rollout: view.rollouts.answer(HISTORY_MAX),
        complete: view.trading.is_complete(),
    }))
}

/// A person's word about the rollout.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RolloutRequest")]
pub struct Asked {
    verb: RolloutVerb,
    #[schemars(with = "body::Reason")]
    reason: String,
    /// The state that this was decided on: the rollout refuses a command against another one.
    revision: Option<u64>,
    /// The model's version.
    model: Option<String>,
    /// Without it nothing is done: 428 says what would be.
    #[serde(default)]
    confirm: bool,
}

/// What the rollout has made of a command.
#[derive(Serialize, JsonSchema)]
pub struct RolloutDone {
    status: &'static str,
    verb: &'static str,
    /// LEDGER sequence of the command.
    sequence: u64,
    change: ChangeRow,
}

/// The command is stored, and the rollout has not answered yet.
#[derive(Serialize, JsonSchema)]
pub struct RolloutAccepted {
    status: &'static str,
    verb: &'static str,
    /// LEDGER sequence of the command.
    sequence: u64,
    detail: String,
    /// Where to look.
    #[serde(rename = "where")]
    place: &'static str,
}

/// Says it to the rollout and waits for its word. Asks for a confirmation first.
pub async fn set(
    State(context): State<Context>,
    caller: Caller,
    params: Params,
    Payload(body): Payload,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let asked: Asked = body::read(&body, EXAMPLE)?;
    let (reason, actor) = (body::reason(&asked.reason)?, caller.actor());
    // To stop a model is daily work; to let one trade is not.
    if !matches!(asked.verb, RolloutVerb::Pause | RolloutVerb::Abort) {
        caller.may(Role::Admin, words::verb(asked.verb))?;
    }
    let plan = plan(&context.app.view(), &asked)?;
    if !asked.confirm {
        let detail = format!("{}; see `effect`", plan.word);
        let problem = confirmation(detail).with("effect", plan.effect);
        return Err(match plan.revision {
            Some(revision) => problem.with("revision", revision.into()),
            None => problem,
        });
    }
    let command =
        RolloutCommand { verb: asked.verb, model: plan.model, revision: asked.revision, actor, reason, at: spark_nats::now() };
    let verb = words::verb(asked.verb);
    let sequence = send(&context.app, Outgoing::Rollout(Box::new(command))).await?;
    tracing::warn!(verb, sequence, "a command about the rollout");
    let Some(change) = word_on(&context.app, sequence).await else {
        let detail = format!("the command is stored; rollout has not answered within {} s", ANSWER_LIMIT.as_secs());
        let told = RolloutAccepted { status: ACCEPTED, verb, sequence, detail, place: "/api/rollout" };
        return Ok((StatusCode::ACCEPTED, answer(&told)).into_response());
    };
    if let Some(refusal) = &change.refusal {
        return Err(Problem::new(StatusCode::CONFLICT, "rollout-refused", "The rollout refused the command")
            .detail(refusal.clone())
            .fix("GET /api/rollout shows where it stands; decide again".to_owned())
            .with("sequence", sequence.into()));
    }
    Ok(answer(&RolloutDone { status: "done", verb, sequence, change }))
}

/// What a command would do.
struct Plan {
    model: Option<ModelId>,
    effect: Value,
    word: String,
    revision: Option<u64>,
}

fn plan(view: &View, asked: &Asked) -> Result<Plan, Problem> {
    if !view.trading.is_complete() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-read", "Where the rollout stands is not known yet")
            .detail("the gateway has not read the ledger to its end since its start".to_owned())
            .fix("try again in a moment".to_owned()));
    }
    let current = view.rollouts.current().map(|held| &held.value);
    if let (Some(decided_on), Some(current)) = (asked.revision, current)
        && !(view.rollouts.same_since().unwrap_or(current.revision)..=current.revision).contains(&decided_on)
    {
        return Err(Problem::new(StatusCode::CONFLICT, "rollout-changed", "The rollout has changed since")
            .place("body: revision")
            .detail(format!("its revision is {}", current.revision))
            .fix("look at GET /api/rollout and decide again".to_owned()));
    }
    let model = model(view, asked)?;
    let stage = current.map_or(Stage::Off, |told| told.stage);
    let to = match asked.verb {
        RolloutVerb::Start => Stage::Preview,
        RolloutVerb::Promote => stage.next().unwrap_or(stage),
        RolloutVerb::Pause | RolloutVerb::Resume => stage,
        RolloutVerb::Abort => Stage::Off,
    };
    let version = model.as_ref().or(current.map(|told| &told.model)).map(|model| model.model_version.clone());
    let failing: Vec<&str> = current
        .map(|told| told.gates.iter().filter(|gate| gate.state != spark_bus_schema::rollout::GateState::Passed))
        .into_iter()
        .flatten()
        .map(|gate| gate.name.as_str())
        .collect();
    let effect = json!({
        "model": version,
        "verb": words::verb(asked.verb),
        "stage": {"from": stage, "to": to},
        "percent": {"from": stage.percent(), "to": to.percent()},
        "phase": current.map(|told| words::phase(told.phase)),
        "gatesNotPassed": failing,
    });
    let word = format!("{} {}: stage {stage} → {to}", words::verb(asked.verb), version.as_deref().unwrap_or("the model"));
    Ok(Plan { model, effect, word, revision: current.map(|told| told.revision) })
}

/// The model that is meant: with `start` the one in force when none is named.
fn model(view: &View, asked: &Asked) -> Result<Option<ModelId>, Problem> {
    let in_force = view.signals.model().map(|told| &told.model);
    let current = view.rollouts.current().map(|held| &held.value.model);
    let starts = asked.verb == RolloutVerb::Start;
    match &asked.model {
        None if starts => in_force.cloned().map(Some).ok_or_else(|| {
            Problem::new(StatusCode::CONFLICT, "no-model", "There is no model to start")
                .detail("signal has not said which model it runs".to_owned())
                .fix("see GET /api/ml/version and `spark status`".to_owned())
        }),
        None => Ok(None),
        Some(version) => {
            let candidates = if starts { [in_force, None] } else { [current, in_force] };
            let found = candidates.into_iter().flatten().find(|model| model.model_version == *version);
            found.cloned().map(Some).ok_or_else(|| {
                let known: Vec<&str> = candidates.into_iter().flatten().map(|model| model.model_version.as_str()).collect();
                let fix = if known.is_empty() { "leave it out: no model is known here".to_owned() } else { known.join(", ") };
                Problem::bad_value("body: model", format!("unknown model `{version:.64}`"), fix)
            })
        }
    }
}

/// The rollout's word on a command; none when none came in time.
async fn word_on(app: &App, sequence: u64) -> Option<ChangeRow> {
    let deadline = Instant::now() + ANSWER_LIMIT;
    let held = || app.view().rollouts.answer_to(sequence).cloned();
    let Some(waiting) = app.answers.join(&Awaited::Rollout(sequence)) else { return held() };
    loop {
        let notified = waiting.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if let Some(change) = held() {
            return Some(change);
        }
        tokio::select! {
            () = notified => {}
            () = tokio::time::sleep_until(deadline) => return held(),
        }
    }
}
