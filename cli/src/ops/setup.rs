//! `spark setup`: keys and the broker's configuration for processes that run elsewhere.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use spark_nats::Error;
use spark_nats::identities::Identities;
use spark_nats::server::{self, Cluster};

use crate::args::{Global, SetupArgs};
use crate::exit::Failure;
use crate::output;

/// Writes `<dir>/keys/<user>.nk` (mode 0600, existing ones stay) and `<dir>/nats-server.conf`, or one file for each node of a
/// cluster.
///
/// # Errors
/// Exit 64: not a cluster. Exit 75: the folder cannot be written.
pub fn run(arguments: &SetupArgs, global: &Global) -> Result<(), Failure> {
    let identities = Identities::open_or_create(&arguments.dir)?;
    let keys = arguments.dir.join("keys");
    if arguments.cluster.is_empty() {
        let text = server::configuration(&arguments.listen, &arguments.monitor, &arguments.store, Some(&identities));
        let path = arguments.dir.join("nats-server.conf");
        write(&path, &text)?;
        tell(&[path], &keys, global)?;
        output::note("next: start nats-server with this file, then `spark topology --apply` as the user `supervisor`");
        return Ok(());
    }
    let cluster = Cluster::open_or_create(&arguments.dir, arguments.cluster.clone()).map_err(|error| match error {
        Error::Definition(what) => Failure::usage(format!("--cluster: {what}")),
        other => Failure::from(other),
    })?;
    let addresses = [arguments.listen.as_str(), &arguments.monitor, &arguments.cluster_listen];
    let mut written = Vec::new();
    for node in cluster.nodes() {
        let text = cluster.configuration(node, addresses, &arguments.store, Some(&identities));
        let path = arguments.dir.join(format!("{}.conf", node.name));
        write(&path, &text)?;
        written.push(path);
    }
    tell(&written, &keys, global)?;
    let count = cluster.nodes().len();
    output::note(&format!(
        "next: start nats-server on each node with its file, then `spark topology --apply --replicas {count}` as the user `supervisor`"
    ));
    Ok(())
}

/// A file that only its owner can read: a cluster's has a password in it.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Failure::temporary(format!("write {}: {error}", path.display())))
}

/// What was written.
fn tell(files: &[PathBuf], keys: &Path, global: &Global) -> Result<(), Failure> {
    if global.json {
        return output::line(&serde_json::json!({"files": files, "keys": keys}).to_string());
    }
    files.iter().try_for_each(|path| output::line(&path.display().to_string()))?;
    output::line(&keys.display().to_string())
}
