//! What differs from process to process when `spark up` starts them: overrides of their configuration by environment.

use std::ffi::OsString;

use super::plan::Plan;
use crate::process::Process;

/// The processes of this build, in the order in which they start.
pub const PROCESSES: &[Process] = &[];
/// Ports that the simulator needs.
pub const SIMULATOR_PORTS: usize = 1;

/// Configuration of one process that follows from the command line of `spark up`.
#[must_use]
pub fn environment(plan: &Plan, process: Process) -> Vec<(String, OsString)> {
    match process {
        Process::Gateway => vec![
            ("SPARK_GATEWAY__LISTEN".into(), format!("127.0.0.1:{}", plan.ports.gateway).into()),
            ("SPARK_GATEWAY__DEMO".into(), (!plan.live).to_string().into()),
        ],
        _ => Vec::new(),
    }
}

/// Base URL of the simulator's own API.
#[must_use]
pub fn simulator(plan: &Plan) -> Option<String> {
    let port = plan.ports.simulator.first()?;
    (!plan.live && PROCESSES.contains(&Process::ExchangeSim)).then(|| format!("http://127.0.0.1:{port}"))
}
