//! `spark setup`: keys and the broker's configuration for processes that run elsewhere.

use std::fs;

use spark_nats::identities::Identities;
use spark_nats::server;

use crate::args::SetupArgs;
use crate::exit::Failure;
use crate::output;

/// Writes `<dir>/keys/<user>.nk` (mode 0600, existing ones stay) and `<dir>/nats-server.conf`.
///
/// # Errors
/// Exit 75: the folder cannot be written.
pub fn run(arguments: &SetupArgs) -> Result<(), Failure> {
    let identities = Identities::open_or_create(&arguments.dir)?;
    let text = server::configuration(&arguments.listen, &arguments.monitor, &arguments.store, Some(&identities));
    let path = arguments.dir.join("nats-server.conf");
    fs::write(&path, text).map_err(|error| Failure::temporary(format!("write {}: {error}", path.display())))?;
    output::line(&format!("{}\n{}", path.display(), arguments.dir.join("keys").display()))?;
    output::note("next: start nats-server with this file, then `spark topology --apply` as the user `supervisor`");
    Ok(())
}
