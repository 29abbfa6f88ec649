//! Section `[notifier]` of `spark.toml`.

use serde::{Deserialize, Serialize};

/// Section `[notifier]` of `spark.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

impl Config {
    /// Every mistake, each as "key = value: what is wrong; what would be right".
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        Vec::new()
    }
}
