//! A runbook from dashboards: what each panel shows, what is promised, what to look at, what to do.
//!
//! How a panel says that is written down in `dashboards/README.md`. A panel without one of its texts is a mistake that
//! [`Dashboard::mistakes`] names, with what would be right.

mod read;
mod render;
#[cfg(test)]
mod tests;

pub use read::read;
pub use render::render;

/// Panels of one dashboard.
pub const PANELS_MAX: usize = 500;

/// Why a dashboard cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not JSON.
    #[error("{file} is not JSON")]
    Json {
        /// The file.
        file: String,
        /// What is wrong, and where.
        #[source]
        source: serde_json::Error,
    },
    /// It is JSON, and no dashboard.
    #[error("{file} is no Grafana dashboard: {what}")]
    NotADashboard {
        /// The file.
        file: String,
        /// What it lacks.
        what: String,
    },
}

/// One dashboard.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Dashboard {
    /// The file, as it was named.
    pub file: String,
    /// Its uid.
    pub uid: String,
    /// Its title.
    pub title: String,
    /// Its panels, in its order; rows are none.
    pub panels: Vec<Panel>,
    /// Every text that is missing: file, panel, what, and what would be right.
    pub mistakes: Vec<String>,
}

/// One panel. A text that is missing is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Panel {
    /// Its title.
    pub title: String,
    /// What is shown.
    pub about: String,
    /// PromQL.
    pub queries: Vec<String>,
    /// What is promised.
    pub slo: String,
    /// What to look at.
    pub checks: Vec<String>,
    /// What helps now.
    pub fast_action: String,
    /// What helps for good.
    pub permanent_fix: String,
    /// Names of alerts; may be empty.
    pub alerts: Vec<String>,
    /// The written runbook, e.g. `docs/runbooks/parked.md`.
    pub runbook: String,
}
