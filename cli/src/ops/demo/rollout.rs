//! `spark demo rollout`: in a market with momentum a model that follows it goes to 100 %, one that bets against it goes back.
//!
//! The durations of the contract, 7200 times as fast: one second stands for two hours. Candles are a second long.

use std::time::{Duration, Instant};

use serde_json::json;
use spark_bus_schema::actions::RestartCommand;
use spark_bus_schema::rollout::{Phase, RolloutChanged, RolloutCommand, RolloutVerb, Stage as Share};
use spark_bus_schema::signals::{ModelId, ModelInForce, Score};
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Message, Venue};
use spark_nats::{Bus, Follower, Meta, Start};
use spark_signal::assignment::is_assigned;
use spark_signal::model::Model;
use tokio::signal::unix::{SignalKind, signal};

use super::stage::Stage;
use crate::args::Global;
use crate::exit::{Failure, chain};
use crate::ops::rollout::{phase, table};
use crate::output::{self, Style, paint, visible};
use crate::system;

/// All of it.
const LIMIT: Duration = Duration::from_secs(150);
/// How often it is looked for what is waited for.
const POLL: Duration = Duration::from_millis(50);
/// What is traded; the first one is the preview's.
const SYMBOLS: [&str; 5] = ["BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT"];
/// Names of a model that are tried until its tenth of five symbols is one of them.
const NAMES_MAX: u32 = 1_000;

/// The configuration. Times are the contract's, divided by `scale`; the gates need fewer samples and compare less strictly
/// than in production, where hours of them are there.
const CONFIG: &str = r#"
[exchange-sim]
momentum = 6.0
activity = 2.0
history_hours = 1

[feed.binance]
symbols = ["BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT"]
[feed.btcturk]
enabled = false
# An address of one's own without a key: Borsa Istanbul is not polled.
[feed.bist]
base_url = "http://127.0.0.1:9"

[candles]
timeframes = ["1s"]
backfill = false

[signal]
model = "MODEL"

[strategy]
enabled = false

[rollout]
scale = 7200.0
preview_symbol = "binance.BTCUSDT"
preview_timeframe = "1s"
window = "40h"

[rollout.gates]
scores_min = 5
outcomes_min = 8
hit_rate_margin = 0.25
move_bps_margin = 8.0
latency_p95_ms_max = 5000.0
staleness = "20s"
ignored_alerts = ["HighLatency", "PortfolioRefreshLatencyHighP95"]
"#;

/// A model of the demonstration: what a rising price means is all that the good and the bad one differ in.
fn model(version: &str, reading: &str) -> String {
    format!(
        "feature_version = \"v2.0\"\nmodel_version = \"{version}\"\nconfid_floor = 0.5\nhorizon = 2\n\
         [rsi]\nweight = 1.0\nperiod = 5\nscale = 10.0\nreading = \"{reading}\"\n\
         [macd]\nweight = 0.0\nfast = 2\nslow = 4\nsignal = 2\nscale = 0.00005\nreading = \"{reading}\"\n\
         [trend]\nweight = 2.0\nperiod = 5\nscale = 0.00002\nreading = \"{reading}\"\n"
    )
}

/// A version whose tenth is one of the symbols at least, and whose half leaves one: the first such name.
fn version(name: &str) -> String {
    let count = |version: &str, percent| {
        SYMBOLS.iter().filter(|symbol| is_assigned(version, Venue::Binance.as_str(), symbol, percent)).count()
    };
    let names = (1..=NAMES_MAX).map(|number| format!("{name}-{number}"));
    let mut fitting = names.filter(|version| count(version, 10) == 1 && (2..=3).contains(&count(version, 50)));
    // Of a thousand names about one in six fits; with none the stages would say so.
    fitting.next().unwrap_or_else(|| name.to_owned())
}

/// Runs it.
///
/// # Errors
/// Exit 1: the good model did not reach 100 %, or the bad one was not rolled back; 75: the system cannot run.
pub fn run(global: &Global) -> Result<(), Failure> {
    let good = model(&version("trend"), "momentum");
    let bad = model(&version("contrary"), "reversal");
    let ids = [&good, &bad].map(|text| Model::parse(text).map(|model| model.id().clone()));
    let [Ok(good_id), Ok(bad_id)] = ids else {
        return Err(Failure::internal("the demonstration's own models cannot be read"));
    };
    system::block_on(async {
        let mut interrupted = Interrupted::new()?;
        let folder = std::env::temp_dir().join(format!("spark-demo-{}", std::process::id()));
        let config = CONFIG.replace("MODEL", &folder.join("model.toml").display().to_string());
        let files = [("spark.toml", config), ("model.toml", good)];
        let mut stage = Stage::start(&files)?;
        let mut show = Show { began: Instant::now(), json: global.json };
        let shown = tokio::select! {
            shown = tokio::time::timeout(LIMIT, play(&mut stage, &mut show, (&good_id, &bad_id), &bad)) => shown
                .unwrap_or_else(|_| Err(Failure::no(format!("not done within {LIMIT:?}")))),
            () = interrupted.wait() => Err(Failure::no("interrupted; everything is stopped and removed")),
        };
        if shown.is_err() && !global.json {
            output::note(&stage.last_lines());
        }
        drop(stage);
        shown
    })
}

/// Ctrl-C, SIGTERM or a terminal that goes away.
struct Interrupted([tokio::signal::unix::Signal; 3]);

impl Interrupted {
    fn new() -> Result<Self, Failure> {
        let catch = |kind| signal(kind).map_err(|error| Failure::internal(format!("catch signals: {error}")));
        Ok(Self([catch(SignalKind::interrupt())?, catch(SignalKind::terminate())?, catch(SignalKind::hangup())?]))
    }

    async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// What the person at the keyboard sees.
struct Show {
    began: Instant,
    json: bool,
}

impl Show {
    fn say(&self, text: &str) -> Result<(), Failure> {
        let seconds = self.began.elapsed().as_secs_f64();
        if self.json {
            return output::line(&json!({"event": "said", "seconds": seconds, "text": text}).to_string());
        }
        output::line(&format!("{} {text}", paint(&format!("{seconds:6.1} s"), Style::Dim)))
    }

    fn told(&self, told: &RolloutChanged, is_change: bool) -> Result<(), Failure> {
        if self.json {
            let seconds = self.began.elapsed().as_secs_f64();
            return output::line(&json!({"event": "rollout", "seconds": seconds, "rollout": told}).to_string());
        }
        let style = match told.phase {
            Phase::RolledBack => Style::Red,
            Phase::Promoted => Style::Green,
            _ if is_change => Style::Bold,
            _ => Style::Dim,
        };
        let place = format!("{:>7} {:<11}", told.stage.as_str(), phase(told.phase));
        self.say(&paint(&format!("{place} {}", visible(&told.summary)), style))?;
        let is_end = matches!(told.phase, Phase::RolledBack | Phase::Promoted);
        if is_end && is_change {
            table(told).iter().try_for_each(|line| output::line(&format!("           {line}")))?;
        }
        Ok(())
    }
}

async fn play(stage: &mut Stage, show: &mut Show, (good, bad): (&ModelId, &ModelId), bad_file: &str) -> Result<(), Failure> {
    show.say("starts a system of its own: broker, simulated exchange with momentum, every process")?;
    let bus = stage.bus().await?;
    show.say(&format!("waits until {} scores {} symbols a second", good.model_version, SYMBOLS.len()))?;
    // The broker answers before its streams are set up.
    while bus.last(LEDGER, subject::MODEL).await.is_err() {
        tokio::time::sleep(POLL).await;
    }
    scoring(&bus, good).await?;
    show.say(&format!("the good model, {}: what rises goes on rising; 1 s stands for 2 h", good.model_version))?;
    tell(&bus, RolloutVerb::Start, good).await?;
    let last = follow(&bus, good, show, None, |told| told.phase == Phase::Promoted).await?;
    if (last.phase, last.stage) != (Phase::Promoted, Share::Full) {
        return Err(Failure::no(format!("the good model was not promoted: {}", visible(&last.summary))));
    }
    show.say("another model file, and `signal` is started again: nobody has approved of that one")?;
    std::fs::write(stage.path("model.toml"), bad_file)
        .map_err(|error| Failure::temporary(format!("write the other model: {error}")))?;
    restart_signal(&bus).await?;
    let last = follow(&bus, good, show, Some(&last), |_| false).await?;
    if last.phase != Phase::RolledBack {
        return Err(Failure::no("another model scores, and the one before was not taken off"));
    }
    scoring(&bus, bad).await?;
    show.say(&format!("the bad model, {}: what rises falls", bad.model_version))?;
    tell(&bus, RolloutVerb::Start, bad).await?;
    let last = follow(&bus, bad, show, None, |told| told.phase == Phase::Promoted).await?;
    if last.phase != Phase::RolledBack || last.actor != spark_rollout::step::ACTOR {
        return Err(Failure::no(format!("the bad model was not rolled back: {}", visible(&last.summary))));
    }
    show.say(&format!(
        "{} one model went through every stage to 100 %, the other was rolled back by its gates",
        paint("done:", Style::Green)
    ))?;
    show.say("the same on your own system: spark up, then spark rollout start --reason TEXT --confirm")
}

/// Waits until every symbol has a score of this model.
async fn scoring(bus: &Bus, model: &ModelId) -> Result<(), Failure> {
    for symbol in SYMBOLS {
        let on = subject::score(Venue::Binance, symbol, spark_bus_schema::candles::TimeFrame::S1);
        loop {
            let score = bus.last(LEDGER, &on).await?.and_then(|found| found.decode::<Score>().ok());
            if score.is_some_and(|score| score.model == *model && score.score.is_some()) {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
    }
    let said = bus.last(LEDGER, subject::MODEL).await?.and_then(|found| found.decode::<ModelInForce>().ok());
    match said {
        Some(said) if said.model == *model => Ok(()),
        _ => Err(Failure::no(format!("{} scores, and is not said to be in force", model.model_version))),
    }
}

async fn tell(bus: &Bus, verb: RolloutVerb, model: &ModelId) -> Result<(), Failure> {
    let at = spark_nats::now();
    let (actor, reason) = ("demo".to_owned(), "spark demo rollout".to_owned());
    let word = RolloutCommand { verb, model: Some(model.clone()), revision: None, actor, reason, at };
    publish(bus, subject::ROLLOUT, &word).await
}

async fn restart_signal(bus: &Bus) -> Result<(), Failure> {
    let command = RestartCommand {
        service: "signal".to_owned(),
        episode: None,
        attempt: 1,
        actor: "demo".to_owned(),
        reason: "another model file".to_owned(),
        evidence: Vec::new(),
        at: spark_nats::now(),
    };
    publish(bus, &subject::restart("signal"), &command).await
}

async fn publish<T: Message>(bus: &Bus, on: &str, message: &T) -> Result<(), Failure> {
    let meta = Meta { msg_id: Some(format!("demo:{on}:{}", spark_nats::now().as_nanos())), cause: None };
    let sent = bus.publish(on, message, meta).await;
    sent.map(|_| ()).map_err(|error| Failure::unavailable(format!("publish {on}: {}", chain(&error))))
}

/// Shows what is told about a model after `before`, until it is rolled back or `done`; what was told last.
async fn follow(
    bus: &Bus,
    model: &ModelId,
    show: &Show,
    before: Option<&RolloutChanged>,
    done: impl Fn(&RolloutChanged) -> bool,
) -> Result<RolloutChanged, Failure> {
    /// A report without a change is shown this often.
    const QUIET: Duration = Duration::from_secs(5);
    let on = subject::rollout_changed(&model.model_version);
    let mut follower = Follower::start(bus.clone(), "operator-demo", LEDGER, vec![on], Start::LastPerSubject);
    let mut place = before.map(|told| (told.stage, told.phase));
    let mut shown = Instant::now();
    loop {
        let Some(batch) = follower.next().await else { return Err(Failure::unavailable("the LEDGER cannot be read")) };
        for told in batch.iter().filter_map(|delivery| delivery.decode::<RolloutChanged>().ok()) {
            if let Some(refusal) = &told.refusal {
                return Err(Failure::no(format!("refused: {}", visible(refusal))));
            }
            let now = Some((told.stage, told.phase));
            let is_change = std::mem::replace(&mut place, now) != now;
            if is_change || shown.elapsed() >= QUIET {
                show.told(&told, is_change)?;
                shown = Instant::now();
            }
            if told.phase == Phase::RolledBack || done(&told) {
                return Ok(told);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn its_configuration_and_models_are_valid_and_each_stage_has_somebody_to_judge_and_to_compare_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.toml");
        let versions = [version("trend"), version("contrary")];
        for (version, reading) in versions.iter().zip(["momentum", "reversal"]) {
            std::fs::write(&path, model(version, reading)).unwrap();
            let file = folder.path().join("spark.toml");
            std::fs::write(&file, CONFIG.replace("MODEL", &path.display().to_string())).unwrap();
            let config = Config::from_parts(Some(&file), []).unwrap_or_else(|problems| panic!("{problems:?}"));
            assert_eq!(config.rollout.hold(Share::Preview), Duration::from_secs(2));
            assert_ne!(*version, "trend");
        }
        assert_ne!(versions[0], versions[1]);
    }
}
