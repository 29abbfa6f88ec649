//! A process that hangs is missed, restarted, and heard of again.

use std::collections::BTreeMap;

use spark_bus_schema::actions::{Action, ActionStage, RestartCommand, RestartDone, RestartOutcome};
use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::{header, subject};
use spark_tests::orders::ledger;
use spark_tests::system::signal;

use super::stage::{first, rules_file, stage, step, system};

const MISSING: &str = "SparkUpMissing";

fn config() -> String {
    let changes = [("process_missing", "warning", "4"), ("process_missing", "critical", "6")];
    let rules = rules_file("actions-restart.toml", &["process_missing"], &changes);
    format!("[guardrail]\nrules = {rules:?}\ncalm = \"2s\"\n[guardrail.restart]\nafter = \"1s\"\nwatch = \"8s\"\n")
}

#[tokio::test]
async fn a_hung_feed_is_missed_restarted_and_heard_of_again_and_the_whole_story_is_in_the_ledger() {
    let system = system(&config()).await;
    let bus = system.bus("operator").await;
    let hung = system.pid("feed").await;
    signal(hung, "STOP");
    let of_feed = |action: &Action| action.service.as_deref() == Some("feed");
    let asked = step(&bus, "a restart is asked for", |action| action.stage == ActionStage::RestartAsked && of_feed(action)).await;
    let helped = step(&bus, "the restart helped", |action| {
        of_feed(action) && matches!(action.stage, ActionStage::RestartHelped | ActionStage::RestartFailed)
    })
    .await;
    assert_eq!(helped.stage, ActionStage::RestartHelped, "{helped:?}");
    stage(&bus, ActionStage::Ended).await;

    let all = ledger(&bus).await;
    let scope = BTreeMap::from([("service".to_owned(), "feed".to_owned())]);
    let on = subject::alert(MISSING, &scope);
    let (fired, alert) = first(&all, &on, |alert: &Alert| alert.severity == Some(Severity::Critical));
    let (began, _) = first(&all, subject::ACTIONS, |action: &Action| action.stage == ActionStage::Began);
    let (told, command) = first(&all, &subject::restart("feed"), |_: &RestartCommand| true);
    let (answered, done) = first(&all, &subject::restarted("feed"), |_: &RestartDone| true);
    let (resolved, _) = first(&all, &on, |alert: &Alert| alert.state == AlertState::Resolved);
    let (judged, _) = first(&all, subject::ACTIONS, |action: &Action| *action == helped);
    let order = [fired, began, told, answered, judged].map(|delivery| delivery.sequence);
    assert!(order.is_sorted() && told.sequence < resolved.sequence && resolved.sequence < judged.sequence, "{order:?}");

    // Why: the alert as it stands in the LEDGER, with its figures.
    let evidence = command.evidence.iter().find(|evidence| evidence.alert == MISSING && evidence.scope == scope);
    let evidence = evidence.unwrap_or_else(|| panic!("{command:?}"));
    assert_eq!((evidence.severity, evidence.threshold, evidence.unit.as_str()), (Severity::Critical, Some(6.0), "s"));
    assert!(evidence.value > Some(6.0) && evidence.revision >= alert.revision, "{evidence:?} of {alert:?}");
    assert!(asked.evidence.iter().any(|evidence| evidence.scope == scope), "{asked:?}");
    // What became of it, and on whose word.
    assert_eq!((done.command, done.outcome), (told.sequence, RestartOutcome::Restarted), "{done:?}");
    assert_eq!(answered.header(header::CAUSE), Some(format!("LEDGER:{}", told.sequence).as_str()));
    assert_eq!(done.pid, Some(system.pid("feed").await));
    assert!(done.pid != Some(hung) && system.printed().contains("guardrail asks for a restart"), "{}", system.printed());
    assert_eq!(system.run()["processes"]["feed"]["restarts"], 1, "{}", system.run());
}
