//! `spark parked`: messages that could not be handled.

use std::time::Duration;

use serde_json::json;
use spark_bus_schema::parked::Parked;
use spark_bus_schema::subject::{PARKED, PARKED_ALL};
use spark_nats::{Bus, Delivery, Follower, Start};

use crate::args::{Global, ParkedCommand};
use crate::config::Config;
use crate::exit::{Failure, chain};
use crate::output::{self, Style, paint, visible};
use crate::system;

/// How long the end of the list is waited for.
const LIST_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of the payload shown by `show`.
const SHOWN_BYTES: usize = 256;

/// Lists, shows or replays.
///
/// # Errors
/// Exit 1 when there is no such message or a replay failed; 69 without a broker.
pub fn run(command: &ParkedCommand, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    system::block_on(async {
        let bus = system::operator(global, &config).await?;
        match command {
            ParkedCommand::Ls => list(&bus, global.json).await,
            ParkedCommand::Show { id } => show(&bus, *id, global.json).await,
            ParkedCommand::Replay { id: Some(id), .. } => {
                let delivery = find(&bus, *id).await?;
                replay(&bus, &delivery).await
            }
            ParkedCommand::Replay { id: None, .. } => replay_all(&bus).await,
        }
    })
}

/// Every parked message, oldest first.
async fn all(bus: &Bus) -> Result<Vec<Delivery>, Failure> {
    let count = bus.message_count(PARKED).await?;
    if count == 0 {
        return Ok(Vec::new());
    }
    let name = format!("operator-parked-{}", std::process::id());
    let mut follower = Follower::start(bus.clone(), &name, PARKED, vec![PARKED_ALL.to_owned()], Start::Beginning);
    let mut found = Vec::new();
    let deadline = tokio::time::Instant::now() + LIST_LIMIT;
    while found.is_empty() || !follower.is_caught_up() {
        match tokio::time::timeout_at(deadline, follower.next()).await {
            Ok(Some(batch)) => found.extend(batch),
            _ => {
                return Err(Failure::unavailable(format!(
                    "only {} of {count} parked messages came within {LIST_LIMIT:?}",
                    found.len()
                )));
            }
        }
    }
    Ok(found)
}

async fn list(bus: &Bus, as_json: bool) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for delivery in all(bus).await? {
        let parked = delivery.decode::<Parked>();
        if as_json {
            output::line(&super::tail::document(&delivery).to_string())?;
            continue;
        }
        rows.push(match parked {
            Ok(parked) => vec![
                delivery.sequence.to_string(),
                delivery.stored_at.to_string().get(..19).unwrap_or_default().to_owned(),
                parked.process,
                parked.reason,
                format!("{}:{}", parked.stream, parked.sequence),
                visible(&parked.subject),
                visible(&parked.detail),
            ],
            Err(error) => vec![delivery.sequence.to_string(), String::new(), String::new(), visible(&chain(&error))],
        });
    }
    if as_json {
        return Ok(());
    }
    if rows.is_empty() {
        return output::line("nothing is parked");
    }
    let heads = ["ID", "PARKED AT", "PROCESS", "REASON", "ORIGINAL", "SUBJECT", "DETAIL"];
    rows.insert(0, heads.map(ToOwned::to_owned).to_vec());
    output::table(&rows).iter().try_for_each(|line| output::line(line))
}

async fn find(bus: &Bus, id: u64) -> Result<Delivery, Failure> {
    let found = bus.get(PARKED, id).await?;
    found.ok_or_else(|| Failure::no(format!("no parked message has the id {id}; `spark parked ls` lists them")))
}

async fn show(bus: &Bus, id: u64, as_json: bool) -> Result<(), Failure> {
    let delivery = find(bus, id).await?;
    let parked: Parked = delivery.decode().map_err(|error| Failure::no(format!("message {id}: {}", chain(&error))))?;
    let original = original(bus, &parked).await?;
    if as_json {
        let mut document = super::tail::document(&delivery);
        document["original"] = original.as_ref().map_or(json!(null), super::tail::document);
        return output::line(&document.to_string());
    }
    let field =
        |name: &str, value: &str| output::line(&format!("{} {}", paint(&format!("{name:>12}"), Style::Bold), visible(value)));
    field("id", &id.to_string())?;
    field("parked at", &parked.parked_at.to_string())?;
    field("process", &parked.process)?;
    field("reason", &parked.reason)?;
    field("detail", &parked.detail)?;
    field("original", &format!("{}:{} on {}", parked.stream, parked.sequence, parked.subject))?;
    field("still there", if original.is_some() { "yes" } else { "no: only the bytes kept here are left" })?;
    for (name, value) in &parked.headers {
        field("header", &format!("{name}: {value}"))?;
    }
    field("payload", &format!("{} bytes", parked.payload_bytes))?;
    hex_lines(&parked.payload[..parked.payload.len().min(SHOWN_BYTES)]).iter().try_for_each(|line| output::line(line))
}

fn hex_lines(bytes: &[u8]) -> Vec<String> {
    const ROW: usize = 16;
    let row = |(number, row): (usize, &[u8])| {
        let hex: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        let text: String = row.iter().map(|&byte| if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '.' }).collect();
        format!("  {:04x}  {:47}  {text}", number * ROW, hex.join(" "))
    };
    bytes.chunks(ROW).enumerate().map(row).collect()
}

/// The message itself from its own stream, unless it was dropped by age.
async fn original(bus: &Bus, parked: &Parked) -> Result<Option<Delivery>, Failure> {
    let Some(stream) = super::STREAMS.into_iter().find(|stream| *stream == parked.stream) else { return Ok(None) };
    let found = bus.get(stream, parked.sequence).await?;
    // After the broker lost a stream's end, the number may belong to another message.
    Ok(found.filter(|found| found.subject == parked.subject && found.payload.starts_with(&parked.payload)))
}

async fn replay(bus: &Bus, delivery: &Delivery) -> Result<(), Failure> {
    let id = delivery.sequence;
    let parked: Parked = delivery.decode().map_err(|error| Failure::no(format!("message {id}: {}", chain(&error))))?;
    let original = match original(bus, &parked).await? {
        Some(original) => original,
        None => kept(delivery, &parked)?,
    };
    let published = bus.publish_again(&original).await;
    let sequence = published.map_err(|error| Failure::no(format!("message {id} on {}: {}", parked.subject, chain(&error))))?;
    bus.delete(PARKED, id).await?;
    output::line(&format!(
        "{id}: {}:{} is now {}:{sequence} on {}",
        parked.stream,
        parked.sequence,
        parked.stream,
        visible(&parked.subject)
    ))
}

/// The original from the bytes kept with the parked message, when they are all there.
fn kept(delivery: &Delivery, parked: &Parked) -> Result<Delivery, Failure> {
    let whole = parked.payload.len() as u64 == parked.payload_bytes;
    let stream = super::STREAMS.into_iter().find(|stream| *stream == parked.stream);
    match stream {
        Some(stream) if whole => Ok(Delivery {
            stream,
            sequence: parked.sequence,
            stored_at: parked.parked_at,
            subject: parked.subject.clone(),
            kind: parked.kind.clone(),
            headers: parked.headers.clone(),
            payload: parked.payload.clone().into(),
            pending: 0,
        }),
        _ => Err(Failure::no(format!(
            "message {}: the original {}:{} is gone and only {} of its {} bytes were kept",
            delivery.sequence,
            parked.stream,
            parked.sequence,
            parked.payload.len(),
            parked.payload_bytes
        ))),
    }
}

async fn replay_all(bus: &Bus) -> Result<(), Failure> {
    let parked = all(bus).await?;
    let total = parked.len();
    let mut failed = 0;
    for delivery in &parked {
        if let Err(failure) = replay(bus, delivery).await {
            if failure.message.is_empty() {
                return Err(failure);
            }
            output::note(&failure.message);
            failed += 1;
        }
    }
    match failed {
        0 => output::line(&format!("{total} replayed")),
        _ => Err(Failure::no(format!("{failed} of {total} could not be replayed"))),
    }
}
