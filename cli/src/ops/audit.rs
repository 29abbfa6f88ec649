//! `spark audit`: is the record what it was, what is in it, and what a person accepts.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::json;
use spark_auditor::{Error, ListFrom, Query, Verification};
use spark_bus_schema::control::{HaltScope, ResumeCommand};
use spark_bus_schema::subject;
use spark_nats::Meta;

use crate::args::{AuditAcceptArgs, AuditCommand, AuditListArgs, AuditVerifyArgs, Global};
use crate::config::Config;
use crate::exit::{Exit, Failure, chain};
use crate::output::{self, Style, paint, visible};
use crate::system;

/// Who acts on the command line.
const ACTOR: &str = "operator";
/// Digits of a hash that are shown to people.
const HASH_DIGITS: usize = 12;

/// Runs one of the commands.
///
/// # Errors
/// Exit 2: the database or the LEDGER cannot be opened. Exit 1: broken, or nothing to accept. Exit 64: an empty reason.
pub fn run(command: &AuditCommand, global: &Global) -> Result<(), Failure> {
    match command {
        AuditCommand::Verify(arguments) => verify(arguments, global),
        AuditCommand::List(arguments) => list(arguments, global),
        AuditCommand::Accept(arguments) => accept(arguments, global),
    }
}

fn database(global: &Global) -> PathBuf {
    global.data.join("auditor").join(spark_auditor::DATABASE)
}

fn cannot_open(message: String) -> Failure {
    Failure { exit: Exit::CannotOpen, message }
}

fn failed(error: &Error) -> Failure {
    match error {
        Error::NothingToAccept { .. } => Failure::no(chain(error)),
        Error::Empty(_) => Failure::usage(format!("--{}", chain(error))),
        other => cannot_open(chain(other)),
    }
}

fn verify(arguments: &AuditVerifyArgs, global: &Global) -> Result<(), Failure> {
    let path = database(global);
    let found = if arguments.offline {
        spark_auditor::verify_offline(&path)
    } else {
        let config = Config::load(global.config.as_deref())?;
        system::block_on(async {
            let offline = |failure: Failure| {
                cannot_open(format!("{}\n`spark audit verify --offline` looks at the audit database alone", failure.message))
            };
            let bus = system::operator(global, &config).await.map_err(offline)?;
            let name = format!("operator-audit-{}", std::process::id());
            Ok(spark_auditor::verify(&path, &bus, &name).await)
        })?
    };
    let found = found.map_err(|error| failed(&error))?;
    if global.json {
        let document = serde_json::to_value(&found).map_err(|error| Failure::internal(error.to_string()))?;
        output::line(&document.to_string())?;
    } else {
        report(&found).lines().try_for_each(output::line)?;
    }
    if found.broken.is_some() { Err(Failure::no("")) } else { Ok(()) }
}

/// What a person reads.
fn report(found: &Verification) -> String {
    let mut text = String::new();
    for accepted in &found.accepted {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "era {}: from message {} on, {} accepted \"{}\" at {}: {}",
            accepted.era,
            accepted.first_sequence,
            visible(&accepted.actor),
            visible(&accepted.reason),
            accepted.at,
            visible(&accepted.found)
        );
    }
    let head = found.head.get(..HASH_DIGITS).unwrap_or_default();
    if let Some(broken) = &found.broken {
        let part = match broken.part {
            spark_auditor::verify::Part::Database => "the audit database",
            spark_auditor::verify::Part::Stream => "the LEDGER",
        };
        let line = format!("BROKEN: {part}, from message {} on ({})", broken.first_bad_sequence, broken.kind);
        let _ = write!(text, "{}\n{}\n{}", paint(&line, Style::Red), visible(&broken.detail), broken.advice);
        return text;
    }
    let compared = match found.compared {
        Some(compared) => format!("{compared} messages of the LEDGER compared, {} not chained yet", found.beyond),
        None => "the LEDGER was not looked at".to_owned(),
    };
    let _ = write!(
        text,
        "{}: {} entries, head {head}… at message {}, {compared}",
        paint("clean", Style::Bold),
        found.entries,
        found.head_sequence
    );
    if found.anchors_good + found.anchors_unknown > 0 {
        let _ = write!(text, ", {} anchors agree, {} are of no known era", found.anchors_good, found.anchors_unknown);
    }
    text
}

fn list(arguments: &AuditListArgs, global: &Global) -> Result<(), Failure> {
    let from = arguments.from.as_deref().map(str::parse::<ListFrom>).transpose();
    let from = from.map_err(|what| Failure::usage(format!("--from {what}")))?;
    let query = Query { limit: arguments.limit, action: arguments.action.clone(), from };
    let items = spark_auditor::list(&database(global), &query).map_err(|error| failed(&error))?;
    if global.json {
        return output::line(&json!({ "items": items }).to_string());
    }
    if items.is_empty() {
        return output::line("nothing in the record fits");
    }
    items.iter().try_for_each(|item| {
        let hash = item.hash.get(..HASH_DIGITS).unwrap_or_default();
        let text = format!("{} {} {} {} {hash} {}", item.sequence, item.timestamp, item.action, item.actor, item.payload);
        output::line(&visible(&text))
    })
}

fn accept(arguments: &AuditAcceptArgs, global: &Global) -> Result<(), Failure> {
    let accepted = || spark_auditor::accept(&database(global), &arguments.reason, ACTOR).map_err(|error| failed(&error));
    let told = |accepted: &spark_auditor::Accepted| {
        output::line(&format!(
            "accepted: from message {} on ({}) the LEDGER is taken as it is now, in era {}; older entries stay in the audit database",
            accepted.first_sequence, accepted.damage.kind, accepted.era
        ))
    };
    if arguments.keep_halted {
        return accepted().and_then(|accepted| told(&accepted));
    }
    let config = Config::load(global.config.as_deref())?;
    system::block_on(async {
        // The broker first: what is accepted cannot be taken back, and shall be followed by the command.
        let bus = system::operator(global, &config).await?;
        told(&accepted()?)?;
        let command = ResumeCommand {
            scope: HaltScope::Ledger,
            actor: ACTOR.to_owned(),
            reason: arguments.reason.trim().to_owned(),
            at: spark_nats::now(),
        };
        let halted = |why: String| {
            Failure::unavailable(format!("{why}: accepted, but trading stays halted until control.resume is stored"))
        };
        let meta = Meta { msg_id: Some(format!("operator:resume:{}", command.at.as_nanos())), cause: None };
        let sent = tokio::time::timeout(system::CONNECT_LIMIT, bus.publish(subject::RESUME, &command, meta)).await;
        let sent = sent.map_err(|_| halted("the broker went away".to_owned()))?;
        let sequence = sent.map_err(|error| halted(chain(&error)))?;
        output::line(&format!("trading may resume (LEDGER:{sequence})"))
    })
}
