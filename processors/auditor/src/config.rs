//! Section `[auditor]` of `spark.toml`.

use serde::{Deserialize, Serialize};

/// Section `[auditor]` of `spark.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// An anchor is published after this many messages of others.
    pub anchor_messages: u64,
    /// An anchor is published this long after the first message of others that has none, s.
    pub anchor_interval_s: u64,
    /// Messages are collected this long before they are written to the audit database in one synced transaction, ms.
    pub commit_interval_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { anchor_messages: 1_000, anchor_interval_s: 60, commit_interval_ms: 100 }
    }
}

impl Config {
    /// Every mistake, each as "key = value: what is wrong; what would be right".
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.anchor_messages == 0 {
            wrong.push("anchor_messages = 0: would never stop anchoring; write at least 1".to_owned());
        }
        if !(1..=86_400).contains(&self.anchor_interval_s) {
            wrong.push(format!("anchor_interval_s = {}: outside 1 to 86400; 60 is usual", self.anchor_interval_s));
        }
        if self.commit_interval_ms > 10_000 {
            wrong.push(format!("commit_interval_ms = {}: above 10000; 100 is usual", self.commit_interval_ms));
        }
        wrong
    }
}
