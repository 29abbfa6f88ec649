//! Who was there, second by second.

use std::collections::BTreeMap;

use super::{ProcessUptime, Uptime};
use crate::history::{Presence, Run, Window};

/// A process that was heard of so many seconds ago is there: the guardrail's own warning threshold.
pub(crate) const HEARD_SECONDS: i64 = 5;

/// A process that was heard of in a second counts as there in that second and the [`HEARD_SECONDS`] after it. Time before the
/// first sign of life of all does not count.
pub(crate) fn of(presence: &[Presence], runs: &[Run], window: Window) -> Uptime {
    let second = |at: spark_bus_schema::Timestamp| at.as_millis().div_euclid(1_000);
    let heard = presence.iter().filter(|row| row.heard != 0);
    let Some(first) = heard.map(|row| second(row.minute) + i64::from(row.heard.trailing_zeros())).min() else {
        return Uptime::default();
    };
    let (from, to) = (first.max(second(window.from)), second(window.to));
    let seconds = usize::try_from(to - from).unwrap_or(0);
    let mut services: BTreeMap<&str, Vec<&Presence>> = BTreeMap::new();
    presence.iter().filter(|row| row.heard != 0).for_each(|row| services.entry(&row.service).or_default().push(row));
    let mut all = vec![true; seconds];
    let mut processes = Vec::new();
    for (service, minutes) in &services {
        let there = covered(minutes, from, seconds);
        let up = there.iter().filter(|up| **up).count() as u64;
        all.iter_mut().zip(&there).for_each(|(all, up)| *all &= up);
        let degraded = minutes.iter().flat_map(|row| bits(row.degraded).map(|bit| second(row.minute) + bit));
        processes.push(ProcessUptime {
            service: (*service).to_owned(),
            up_s: up,
            uptime: share(up, seconds as u64).unwrap_or(0.0),
            degraded_s: degraded.filter(|at| (from..to).contains(at)).count() as u64,
            starts: runs.iter().filter(|run| run.service == *service).count() as u64,
        });
    }
    let overall = share(all.iter().filter(|up| **up).count() as u64, seconds as u64);
    Uptime { observed_s: seconds as u64, overall, processes }
}

fn covered(minutes: &[&Presence], from: i64, seconds: usize) -> Vec<bool> {
    let mut there = vec![false; seconds];
    for row in minutes {
        for bit in bits(row.heard) {
            let at = row.minute.as_millis().div_euclid(1_000) + bit - from;
            for index in at.max(0)..=at + HEARD_SECONDS {
                if let Some(slot) = usize::try_from(index).ok().and_then(|index| there.get_mut(index)) {
                    *slot = true;
                }
            }
        }
    }
    there
}

fn bits(mask: u64) -> impl Iterator<Item = i64> {
    (0..60).filter(move |bit| mask >> bit & 1 == 1)
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a window fit into 53 bits")]
fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}
