//! When a process shall stop: SIGTERM, SIGINT, or a supervisor that is gone.

use std::io::Read;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Set by the supervisor: stdin is a pipe that it holds open for as long as it lives.
pub const SUPERVISED: &str = "SPARK_SUPERVISED";

/// Whether `spark up` runs this process, and restarts it.
#[must_use]
pub fn is_supervised() -> bool {
    std::env::var_os(SUPERVISED).is_some()
}

/// A token that is cancelled when this process shall stop. Call inside a runtime.
#[must_use]
pub fn token() -> CancellationToken {
    let token = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        // Registration fails only for signals that cannot be caught.
        if let Ok(mut signals) = signal(kind) {
            let token = token.clone();
            tokio::spawn(async move {
                signals.recv().await;
                token.cancel();
            });
        }
    }
    let supervised = token.clone();
    when_supervisor_is_gone(move || supervised.cancel());
    token
}

/// Calls `act` once the process that holds our stdin open is gone; never when nobody supervises this process.
pub fn when_supervisor_is_gone(act: impl FnOnce() + Send + 'static) {
    if !is_supervised() {
        return;
    }
    // A thread of its own: a blocked read must not keep the runtime from ending.
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while std::io::stdin().read(&mut buffer).is_ok_and(|count| count > 0) {}
        act();
    });
}
