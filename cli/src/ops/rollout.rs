//! `spark rollout …`: where a model stands, what happened to it, and a person's word about it. Straight to the LEDGER.
//!
//! What a command would do is asked of the rollout's own step, on what it told last: the answer before `--confirm` is the
//! one that the process will give.

use std::time::Duration;

use serde_json::{Value, json};
use spark_bus_schema::Timestamp;
use spark_bus_schema::rollout::{GateState, Phase, RolloutChanged, RolloutCommand as Word, RolloutVerb};
use spark_bus_schema::signals::{ModelId, ModelInForce};
use spark_bus_schema::subject::{self, LEDGER};
use spark_nats::{Bus, Meta};
use spark_rollout::{Action, Observation, Status, next};

use super::commands::reason;
use super::orders::actor;
use super::{age, history};
use crate::args::Global;
use crate::args::signals::{RolloutCommand, RolloutHistoryArgs, RolloutTellArgs};
use crate::config::Config;
use crate::exit::{Failure, chain};
use crate::output::{self, Style, paint, visible};
use crate::system;

/// How long the process may take to answer a command.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How often it is looked for the answer.
const ANSWER_POLL: Duration = Duration::from_millis(20);

/// Does what was asked.
///
/// # Errors
/// Exit 1: not confirmed, or refused; 64: a command line that cannot be; 69: no broker, or nobody answers.
pub fn run(command: &RolloutCommand, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    system::block_on(async {
        let connect = system::operator(global, &config);
        match command {
            RolloutCommand::Status => status(&connect.await?, global).await,
            RolloutCommand::History(arguments) => tell_history(&connect.await?, arguments, global).await,
            RolloutCommand::Start(arguments) => tell(RolloutVerb::Start, arguments, &config, global).await,
            RolloutCommand::Promote(arguments) => tell(RolloutVerb::Promote, arguments, &config, global).await,
            RolloutCommand::Pause(arguments) => tell(RolloutVerb::Pause, arguments, &config, global).await,
            RolloutCommand::Resume(arguments) => tell(RolloutVerb::Resume, arguments, &config, global).await,
            RolloutCommand::Abort(arguments) => tell(RolloutVerb::Abort, arguments, &config, global).await,
        }
    })
}

/// What was told last, over all models.
///
/// # Errors
/// Exit 69: the broker went away; 70: it cannot be read.
pub async fn newest(bus: &Bus) -> Result<Option<RolloutChanged>, Failure> {
    let Some(found) = bus.last(LEDGER, subject::ROLLOUT_CHANGED).await? else { return Ok(None) };
    let told = found.decode().map_err(|error| Failure::internal(format!("LEDGER:{}: {}", found.sequence, chain(&error))))?;
    Ok(Some(told))
}

/// The model that scores.
///
/// # Errors
/// As [`newest`].
pub async fn in_force(bus: &Bus) -> Result<Option<ModelId>, Failure> {
    let Some(found) = bus.last(LEDGER, subject::MODEL).await? else { return Ok(None) };
    let said: ModelInForce =
        found.decode().map_err(|error| Failure::internal(format!("LEDGER:{}: {}", found.sequence, chain(&error))))?;
    Ok(Some(said.model))
}

async fn status(bus: &Bus, global: &Global) -> Result<(), Failure> {
    let (told, model) = (newest(bus).await?, in_force(bus).await?);
    if global.json {
        return output::line(&json!({"rollout": told, "modelInForce": model}).to_string());
    }
    let scoring = model.as_ref().map_or("nothing scores yet".to_owned(), |model| format!("{} scores", named(model)));
    let Some(told) = told else {
        output::line(&format!("no rollout yet; {scoring}"))?;
        return output::line("start one with: spark rollout start --reason TEXT --confirm");
    };
    output::line(&format!("{} at {}: {}", paint(&named(&told.model), Style::Bold), stage(&told), visible(&told.summary)))?;
    if model.as_ref() != Some(&told.model) {
        output::line(&paint(&scoring, Style::Yellow))?;
    }
    let since = age(spark_nats::now().since_ms(told.stage_since));
    let held = format!("held for {} of {}", seconds(told.held_ms), seconds(told.hold_ms));
    output::line(&format!("revision {} · since {since} · {held} · last good stage {}", told.revision, told.last_good))?;
    let preview = &told.preview;
    output::line(&format!("preview of {}.{}, time frame {}", preview.venue, preview.symbol, preview.timeframe))?;
    table(&told).iter().try_for_each(|line| output::line(line))
}

/// `10 (running)`, coloured.
fn stage(told: &RolloutChanged) -> String {
    let style = match told.phase {
        Phase::RolledBack => Style::Red,
        Phase::Paused => Style::Yellow,
        Phase::Promoted => Style::Green,
        Phase::Running | Phase::Idle => Style::Cyan,
    };
    paint(&format!("{} ({})", told.stage, phase(told.phase)), style)
}

/// A phase as it is spelled on the bus.
#[must_use]
pub fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "idle",
        Phase::Running => "running",
        Phase::Paused => "paused",
        Phase::Promoted => "promoted",
        Phase::RolledBack => "rolled_back",
    }
}

/// The gates of a stage, one a line.
#[must_use]
pub fn table(told: &RolloutChanged) -> Vec<String> {
    if told.gates.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![["GATE", "SAYS", "VALUE", "BASELINE", "THRESHOLD", "SAMPLES"].map(ToOwned::to_owned).to_vec()];
    let cell = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.4}"));
    rows.extend(told.gates.iter().map(|gate| {
        let says = match gate.state {
            GateState::Passed => "passed",
            GateState::Inconclusive => "inconclusive",
            GateState::Failed => "FAILED",
        };
        let samples = format!("{} of {}", gate.samples, gate.samples_min);
        vec![visible(&gate.name), says.to_owned(), cell(gate.value), cell(gate.baseline), gate.threshold.to_string(), samples]
    }));
    output::table(&rows)
}

/// A model for people.
fn named(model: &ModelId) -> String {
    format!("{} ({:.8})", visible(&model.model_version), model.hash)
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1_000.0)
}

async fn tell(verb: RolloutVerb, arguments: &RolloutTellArgs, config: &Config, global: &Global) -> Result<(), Failure> {
    let reason = reason(&arguments.reason)?;
    let bus = system::operator(global, config).await?;
    let (told, scores) = (newest(&bus).await?, in_force(&bus).await?);
    let about = if verb == RolloutVerb::Start { scores.clone() } else { told.as_ref().map(|told| told.model.clone()) };
    let model = arguments.model.as_deref().map(|wanted| pick(wanted, about.as_ref())).transpose()?;
    let revision = told.as_ref().map(|told| told.revision);
    let word = Word { verb, model, revision, actor: actor(), reason, at: spark_nats::now() };
    let expected = expected(told.as_ref(), scores, &word, config)?;
    if let Some(refusal) = &expected.refusal {
        let document = json!({"status": "refused", "refusal": refusal, "rollout": told});
        said(global, None, &document)?;
        return Err(Failure::no(format!("it would be refused: {}", visible(refusal))));
    }
    if !arguments.confirm {
        let document = json!({"status": "confirmation_required", "would": expected.summary, "rollout": told});
        said(global, Some(&format!("would be: {}", visible(&expected.summary))), &document)?;
        return Err(Failure::no("nothing was changed; add --confirm to mean it"));
    }
    let meta = Meta { msg_id: Some(format!("operator:{}:{}", subject::ROLLOUT, word.at.as_nanos())), cause: None };
    let sent = tokio::time::timeout(system::CONNECT_LIMIT, bus.publish(subject::ROLLOUT, &word, meta)).await;
    let sent = sent.map_err(|_| Failure::unavailable("the broker went away; nothing is certain, try again"))?;
    let sequence = sent.map_err(|error| Failure::unavailable(format!("publish {}: {}", subject::ROLLOUT, chain(&error))))?;
    let answer = answer(&bus, sequence).await?;
    let status = if answer.refusal.is_some() { "refused" } else { "accepted" };
    let document = json!({"status": status, "sequence": sequence, "refusal": answer.refusal, "rollout": answer});
    if let Some(refusal) = &answer.refusal {
        said(global, None, &document)?;
        return Err(Failure::no(format!("refused: {} (LEDGER:{sequence})", visible(refusal))));
    }
    said(global, Some(&format!("{} (LEDGER:{sequence})", visible(&answer.summary))), &document)
}

fn said(global: &Global, text: Option<&str>, document: &Value) -> Result<(), Failure> {
    match text {
        _ if global.json => output::line(&document.to_string()),
        Some(text) => output::line(text),
        None => Ok(()),
    }
}

/// The model that is meant by a version or the beginning of a hash.
fn pick(wanted: &str, about: Option<&ModelId>) -> Result<ModelId, Failure> {
    let is_meant = |model: &&ModelId| {
        model.model_version == wanted || wanted.len() >= 6 && model.hash.starts_with(&wanted.to_ascii_lowercase())
    };
    about.filter(is_meant).cloned().ok_or_else(|| {
        let there =
            about.map_or("there is none".to_owned(), |model| format!("it is {}, hash {}", model.model_version, model.hash));
        Failure::no(format!("--model {wanted}: not the model that this would be about; {there}"))
    })
}

/// What the rollout will answer, by its own step.
fn expected(
    told: Option<&RolloutChanged>,
    in_force: Option<ModelId>,
    word: &Word,
    config: &Config,
) -> Result<RolloutChanged, Failure> {
    let mut status = Status { in_force, ..Status::default() };
    if let Some(told) = told {
        status.adopt(told);
    }
    let observation = Observation::Command { sequence: 0, command: Box::new(word.clone()) };
    let (_, actions) = next(&status, word.at, &observation, &config.rollout);
    let answer = actions.into_iter().find_map(|action| if let Action::Tell(told) = action { Some(*told) } else { None });
    answer.ok_or_else(|| Failure::no("no model is known yet: `signal` has not said which one it scores with (`spark status`)"))
}

/// What the process said to the command.
async fn answer(bus: &Bus, sequence: u64) -> Result<RolloutChanged, Failure> {
    let looked = tokio::time::timeout(ANSWER_LIMIT, async {
        loop {
            if let Some(told) = answered(bus, sequence).await? {
                return Ok(told);
            }
            tokio::time::sleep(ANSWER_POLL).await;
        }
    });
    looked.await.map_err(|_| {
        Failure::unavailable(format!(
            "the command is stored (LEDGER:{sequence}), and nobody has answered it within {ANSWER_LIMIT:?}: does `rollout` run? \
             It will act on it when it does"
        ))
    })?
}

async fn answered(bus: &Bus, sequence: u64) -> Result<Option<RolloutChanged>, Failure> {
    let Some(end) = bus.last(LEDGER, subject::ROLLOUT_CHANGED).await?.filter(|end| end.sequence > sequence) else {
        return Ok(None);
    };
    let Some(word) = bus.get(LEDGER, sequence).await? else { return Ok(None) };
    let mut found = None;
    let subjects = vec![subject::ROLLOUT_CHANGED.to_owned()];
    let start = spark_nats::Start::After(word.cursor());
    history::read_from(bus, "rollout", subjects, start, end.sequence, |delivery| {
        let told = delivery.decode::<RolloutChanged>().ok().filter(|told| told.command == Some(sequence));
        found = found.take().or(told);
    })
    .await?;
    Ok(found)
}

async fn tell_history(bus: &Bus, arguments: &RolloutHistoryArgs, global: &Global) -> Result<(), Failure> {
    let all = changes(bus, arguments.all).await?;
    let newest = all.len().saturating_sub(usize::try_from(arguments.limit).unwrap_or(usize::MAX));
    let shown = all.get(newest..).unwrap_or_default();
    if global.json {
        let lines: Vec<Value> = shown.iter().map(|(sequence, told)| json!({"sequence": sequence, "rollout": told})).collect();
        return output::line(&Value::from(lines).to_string());
    }
    if shown.is_empty() {
        return output::line("no rollout yet");
    }
    let mut rows = vec![["AT", "LEDGER", "MODEL", "STAGE", "PHASE", "WHO", "WHAT"].map(ToOwned::to_owned).to_vec()];
    rows.extend(shown.iter().map(|(sequence, told)| {
        let refusal = told.refusal.as_deref().map(|why| format!(": {}", visible(why))).unwrap_or_default();
        vec![
            Timestamp::from_millis(told.at.as_millis()).to_string(),
            sequence.to_string(),
            named(&told.model),
            told.stage.to_string(),
            phase(told.phase).to_owned(),
            visible(&told.actor),
            visible(&told.summary) + &refusal,
        ]
    }));
    output::table(&rows).iter().try_for_each(|line| output::line(line))
}

/// What was told, with its LEDGER sequence; without `all` only what changed something or answered somebody.
async fn changes(bus: &Bus, all: bool) -> Result<Vec<(u64, RolloutChanged)>, Failure> {
    let mut found: Vec<(u64, RolloutChanged)> = Vec::new();
    let Some(end) = bus.last(LEDGER, subject::ROLLOUT_CHANGED).await? else { return Ok(found) };
    let subjects = vec![subject::ROLLOUT_CHANGED.to_owned()];
    let mut before = None;
    history::read(bus, "rollout", subjects, end.sequence, |delivery| match delivery.decode::<RolloutChanged>() {
        Ok(told) => {
            let place = Some((told.model.clone(), told.stage, told.phase, told.stage_since));
            let is_new = std::mem::replace(&mut before, place.clone()) != place;
            if all || is_new || told.command.is_some() {
                found.push((delivery.sequence, told));
            }
        }
        Err(error) => output::note(&format!("LEDGER:{}: {}", delivery.sequence, chain(&error))),
    })
    .await?;
    Ok(found)
}
