//! The process: the decision in the bus's loop, the delivery beside it.

use std::collections::BTreeMap;
use std::path::Path;

use spark_bus_schema::subject;
use spark_bus_schema::telemetry::ProcessState;
use spark_nats::checkpoint::{Checkpoint, Saved};
use spark_nats::{Input, Machine, Service, now, run_machine};

use crate::config::Config;
use crate::delivery::{self, Leaf};
use crate::machine::Notifier;
use crate::plan::Plan;

/// Why it stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is not usable.
    #[error("[notifier] {0}")]
    Config(String),
    /// The broker or the checkpoint failed.
    #[error("run the process")]
    Bus(#[source] spark_nats::Error),
    /// The delivery failed.
    #[error("deliver notifications")]
    Delivery(#[source] delivery::Error),
    /// The newest alerts could not be read.
    #[error("read the newest alerts: the reader ended")]
    Ended,
}

/// Runs until the service is told to stop.
///
/// # Errors
/// [`Error`]; a broker or a receiver that is away is waited for and is none.
pub fn run(service: Service, config: Config) -> spark_nats::BoxFuture<'static, Result<(), Error>> {
    Box::pin(async move {
        let plan = Plan::new(&config).map_err(|wrong| Error::Config(wrong.join("\n[notifier] ")))?;
        let leaves = leaves(&plan, &service.data_dir)?;
        service.status.set(ProcessState::Starting, None);
        let notifier = tokio::select! {
            notifier = restore(&service, &plan) => notifier?,
            () = service.shutdown.cancelled() => return Ok(()),
        };
        let decide = async { run_machine(&service, notifier).await.map_err(Error::Bus) };
        let deliver = async { delivery::run(&service, &plan, leaves).await.map_err(Error::Delivery) };
        tokio::try_join!(decide, deliver).map(|_| ())
    })
}

/// Every receiver, ready to be spoken to.
fn leaves(plan: &Plan, data_dir: &Path) -> Result<BTreeMap<String, Leaf>, Error> {
    let made = plan.receivers.iter().map(|(name, target)| {
        let leaf = Leaf::new(target, &plan.external_url, plan.timeout, data_dir).map_err(Error::Config)?;
        Ok((name.clone(), leaf))
    });
    made.collect()
}

/// The decision to run. Where its checkpoint cannot be continued (none yet, other routes, another build's), it is made from
/// the newest messages of the LEDGER and takes the checkpoint's place, so that the loop goes on behind them.
async fn restore(service: &Service, plan: &Plan) -> Result<Notifier, Error> {
    let checkpoint = Checkpoint::open(&service.data_dir.join("checkpoint.sqlite")).map_err(Error::Bus)?;
    if let Some(saved) = checkpoint.load().map_err(Error::Bus)? {
        match Notifier::new(plan.clone()).load(&saved.state) {
            Ok(()) => return Ok(Notifier::new(plan.clone())),
            Err(reason) => tracing::warn!(reason, "the saved state is not continued; beginning with the newest alerts"),
        }
    }
    let mut subjects: Vec<String> =
        Notifier::INPUTS.iter().flat_map(|Input { subjects, .. }| subjects.iter().map(|&pattern| pattern.to_owned())).collect();
    subjects.push(subject::NOTIFICATIONS.to_owned());
    let newest = delivery::newest(service, service.name, subjects).await.ok_or(Error::Ended)?;
    let notifier = Notifier::begin(plan.clone(), &newest, now());
    let cursors = newest.last().map(|last| (last.stream.to_owned(), last.cursor())).into_iter().collect();
    checkpoint.save(&Saved { state: notifier.save(), cursors, boundary_ns: 0 }).map_err(Error::Bus)?;
    Ok(Notifier::new(plan.clone()))
}
