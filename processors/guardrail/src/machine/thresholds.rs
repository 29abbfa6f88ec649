//! Thresholds that were changed at run time. They stand above those of the rule file, also when the file changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;
use spark_bus_schema::actions::{ThresholdChange, ThresholdsCommand};

use crate::alert::{Limit, Limits};
use crate::rule::text::figure;
use crate::rule::{Rule, impossible, reversed};

/// Changed thresholds, over all rules and scopes.
pub const CHANGES_MAX: usize = 1_000;
/// Longest label value of a scope, bytes.
const LABEL_BYTES_MAX: usize = 64;

/// Labels of a scope; none for every scope that has no threshold of its own.
pub type Scope = BTreeMap<String, String>;

/// Thresholds in place of the file's; none leaves the file's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// In place of the warning threshold.
    pub warning: Option<f64>,
    /// In place of the critical threshold.
    pub critical: Option<f64>,
}

/// Everything that was changed, by rule and scope. Rules that the file no longer has are kept: they may come back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    by_rule: BTreeMap<String, BTreeMap<Scope, Changed>>,
    /// LEDGER sequence and own time of the newest command that was taken in before the run began.
    seeded: Option<(u64, Timestamp)>,
}

impl Thresholds {
    /// Whether a command was taken in before the run began, and is only met again.
    #[must_use]
    pub fn knows(&self, sequence: u64, command: &ThresholdsCommand) -> bool {
        // Of a LEDGER that was wiped the sequences begin anew; its commands are younger all the same.
        self.seeded.is_some_and(|(newest, at)| sequence <= newest && command.at <= at)
    }

    /// Remembers the place up to which commands were taken in before the run began.
    pub fn seeded_through(&mut self, sequence: u64, at: Timestamp) {
        self.seeded = self.seeded.max(Some((sequence, at)));
    }

    /// Takes in a command, as a whole or not at all.
    ///
    /// # Errors
    /// Which change cannot be, and what would be right.
    pub fn command<'r>(
        &mut self,
        command: &ThresholdsCommand,
        rule: impl Fn(&str) -> Option<&'r Rule>,
        known: &[&str],
    ) -> Result<(), String> {
        let mut next = if command.reset { BTreeMap::new() } else { self.by_rule.clone() };
        for change in &command.changes {
            let Some(rule) = rule(&change.rule) else {
                return Err(format!(
                    "changes.{:.64}: unknown rule; {}",
                    change.rule,
                    crate::rule::suggestion(&change.rule, known)
                ));
            };
            fits(rule, change)?;
            let changed = next.entry(change.rule.clone()).or_default().entry(change.scope.clone()).or_default();
            changed.warning = change.warning.or(changed.warning);
            changed.critical = change.critical.or(changed.critical);
        }
        if next.values().map(BTreeMap::len).sum::<usize>() > CHANGES_MAX {
            return Err(format!("changes: more than {CHANGES_MAX} would be in force; reset some first"));
        }
        for change in &command.changes {
            let (Some(rule), Some(scopes)) = (rule(&change.rule), next.get(&change.rule)) else { continue };
            for scope in scopes.keys() {
                if let Some((what, fix)) = reversed(&over(rule, scopes, scope)) {
                    return Err(format!("changes.{}: critical {} {what}; {fix}", change.rule, words(scope)));
                }
            }
        }
        self.by_rule = next;
        Ok(())
    }

    /// The limits of a rule in a scope. Thresholds that no longer go together with the file's are not in force.
    #[must_use]
    pub fn in_force(&self, rule: &Rule, scope: &Scope) -> Limits {
        self.by_rule.get(&rule.id).map_or(rule.limits, |scopes| in_force(rule, scopes, scope))
    }

    /// What is changed of a rule, by scope.
    #[must_use]
    pub fn of(&self, rule: &str) -> BTreeMap<Scope, Changed> {
        self.by_rule.get(rule).cloned().unwrap_or_default()
    }

    /// Whether anything is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_rule.is_empty()
    }

    /// One sentence for each changed rule and scope, for people: the threshold, the file's, and whether it is in force.
    #[must_use]
    pub fn told<'r>(&self, rule: impl Fn(&str) -> Option<&'r Rule>) -> Vec<String> {
        let mut lines = Vec::new();
        for (id, scopes) in &self.by_rule {
            for (scope, changed) in scopes {
                let figures = |warning: Option<f64>, critical: Option<f64>| {
                    let word = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), figure);
                    format!("warning {}, critical {}", word(warning), word(critical))
                };
                let line = match rule(id) {
                    None => format!("no rule {id} in the file: {} wait for it", figures(changed.warning, changed.critical)),
                    Some(rule) => {
                        let limits = over(rule, scopes, scope);
                        let of = |limit: Option<Limit>| limit.map(|limit| limit.threshold);
                        let own = figures(of(rule.limits.warning), of(rule.limits.critical));
                        let set = figures(of(limits.warning), of(limits.critical));
                        let force =
                            if sound(rule, &limits) { "in place of" } else { "not in force, it does not go together with" };
                        format!("{id} {}: {set}, {force} the file's {own}", words(scope))
                    }
                };
                lines.push(line);
            }
        }
        lines
    }
}

/// The limits of a rule in a scope, by what is changed of the rule.
#[must_use]
pub fn in_force(rule: &Rule, scopes: &BTreeMap<Scope, Changed>, scope: &Scope) -> Limits {
    let limits = over(rule, scopes, scope);
    if sound(rule, &limits) { limits } else { rule.limits }
}

/// The file's limits with what was changed for all scopes, and above that with what was changed for this one.
fn over(rule: &Rule, scopes: &BTreeMap<Scope, Changed>, scope: &Scope) -> Limits {
    let mut limits = rule.limits;
    let all = Scope::new();
    for changed in [scopes.get(&all), scopes.get(scope)].into_iter().flatten() {
        for (limit, threshold) in [(&mut limits.warning, changed.warning), (&mut limits.critical, changed.critical)] {
            if let (Some(limit), Some(threshold)) = (limit.as_mut(), threshold) {
                limit.threshold = threshold;
            }
        }
    }
    limits
}

fn sound(rule: &Rule, limits: &Limits) -> bool {
    let possible = |limit: Option<Limit>| {
        limit.is_none_or(|limit| impossible(limit.threshold, &rule.metric, rule.aggregation, limits.direction).is_none())
    };
    reversed(limits).is_none() && possible(limits.warning) && possible(limits.critical)
}

fn fits(rule: &Rule, change: &ThresholdChange) -> Result<(), String> {
    let id = &rule.id;
    if change.warning.is_none() && change.critical.is_none() {
        return Err(format!("changes.{id}: neither warning nor critical; name the one to change"));
    }
    if !change.scope.is_empty() && !change.scope.keys().eq(rule.scope.iter()) {
        let known = if rule.scope.is_empty() { "none".to_owned() } else { rule.scope.join(", ") };
        let named = change.scope.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(format!("changes.{id}.scope: labels {named:.128}; the rule's scope labels are {known}, name all or none"));
    }
    if let Some((label, _)) = change.scope.iter().find(|(_, value)| value.is_empty() || value.len() > LABEL_BYTES_MAX) {
        return Err(format!("changes.{id}.scope.{label}: must have 1 to {LABEL_BYTES_MAX} bytes"));
    }
    let pairs = [("warning", change.warning, rule.limits.warning), ("critical", change.critical, rule.limits.critical)];
    for (field, threshold, limit) in pairs {
        let Some(threshold) = threshold else { continue };
        if limit.is_none() {
            return Err(format!("changes.{id}.{field}: the rule has no {field} threshold; add one in the rule file"));
        }
        if let Some((what, fix)) = impossible(threshold, &rule.metric, rule.aggregation, rule.limits.direction) {
            return Err(format!("changes.{id}.{field} = {}: {what}; {fix}", figure(threshold)));
        }
    }
    Ok(())
}

fn words(scope: &Scope) -> String {
    if scope.is_empty() {
        return "in every scope".to_owned();
    }
    let labels: Vec<String> = scope.iter().map(|(label, value)| format!("{label}={value}")).collect();
    format!("in {}", labels.join(", "))
}
