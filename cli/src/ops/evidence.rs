//! `spark evidence`: gathers what shows what happened into one file, or checks such a file. Whatever cannot be had is
//! named in the manifest with its reason; only a secret, or a file that cannot be written, keeps it from being made.

mod gather;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use spark_reporter::Window;
use spark_reporter::evidence::{self, Sealed, Verification};

use super::duration;
use crate::args::Global;
use crate::args::day::{EvidenceArgs, EvidenceCommand};
use crate::config::Config;
use crate::exit::{Exit, Failure, chain};
use crate::output::{self, Style, paint, visible};

/// A larger file is not read: none that Spark writes is.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Writes or checks.
///
/// # Errors
/// Writing: exit 1 a secret was found; 64 a time or file that cannot be; 75 the file cannot be written. Checking: exit 1
/// changed; 2 cannot be opened.
pub fn run(arguments: &EvidenceArgs, global: &Global) -> Result<(), Failure> {
    match &arguments.command {
        Some(EvidenceCommand::Verify { file }) => verify(file, global),
        None => make(arguments, global),
    }
}

fn make(arguments: &EvidenceArgs, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let length = duration(&arguments.window).map_err(|what| Failure::usage(format!("--window {what}")))?;
    if length.is_zero() {
        return Err(Failure::usage("--window is empty; 24h would be right"));
    }
    let window = Window::ending(spark_nats::now(), length);
    let out = arguments.out.clone().unwrap_or_else(|| default_name(&window));
    if out.exists() {
        return Err(Failure::usage(format!("{} is there already; evidence is not replaced: name another --out", out.display())));
    }
    let (bundle, about) = gather::everything(&config, global, window, arguments.messages)?;
    let environment = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let secrets = config.secrets(&global.data, environment);
    let sealed = bundle.seal(about, &secrets).map_err(|error| match error {
        evidence::Error::Secret { .. } => Failure::no(chain(&error)),
        evidence::Error::TooLarge { .. } => Failure::usage(chain(&error)),
        other => Failure::internal(chain(&other)),
    })?;
    write(&out, &sealed.bytes)?;
    told(&out, &sealed, secrets.len(), global)
}

/// `spark-evidence-20261121T093000Z.zip`
fn default_name(window: &Window) -> PathBuf {
    let time: String = window.to.to_string().chars().take(19).filter(|c| !matches!(c, '-' | ':')).collect();
    PathBuf::from(format!("spark-evidence-{time}Z.zip"))
}

/// A reader finds the whole file or none; what is in it is for the owner's eyes.
fn write(out: &Path, bytes: &[u8]) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |error: std::io::Error| Failure::temporary(format!("write {}: {error}", out.display()));
    let mut beside = out.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside).map_err(failed)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&beside, out));
    written.map_err(|error| {
        // Half a file helps nobody.
        let _ = fs::remove_file(&beside);
        failed(error)
    })
}

fn told(out: &Path, sealed: &Sealed, secrets: usize, global: &Global) -> Result<(), Failure> {
    let manifest = &sealed.manifest;
    if global.json {
        return output::line(
            &json!({"file": out, "bytes": sealed.bytes.len(), "sha256": sealed.sha256, "manifest": manifest, "secretsLookedFor": secrets})
                .to_string(),
        );
    }
    output::line(&format!("{} ({} bytes, {} entries)", out.display(), sealed.bytes.len(), manifest.entries.len()))?;
    output::line(&format!("sha256 {}", sealed.sha256))?;
    output::line(&paint(&format!("{secrets} known secrets looked for in every entry, none is in it"), Style::Dim))?;
    for missing in &manifest.missing {
        output::line(&format!("{} {}: {}", paint("missing", Style::Yellow), missing.name, visible(&missing.why)))?;
    }
    Ok(())
}

fn verify(file: &Path, global: &Global) -> Result<(), Failure> {
    let cannot = |what: String| Failure { exit: Exit::CannotOpen, message: format!("{}: {what}", file.display()) };
    let size = fs::metadata(file).map_err(|error| cannot(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(cannot(format!("{size} bytes; Spark writes {FILE_BYTES_MAX} at most")));
    }
    let bytes = fs::read(file).map_err(|error| cannot(error.to_string()))?;
    let found = evidence::verify(&bytes).map_err(|error| cannot(chain(&error)))?;
    if global.json {
        output::line(&serde_json::to_string(&found).map_err(|error| Failure::internal(error.to_string()))?)?;
    } else {
        shown(file, &found)?;
    }
    if found.wrong.is_empty() { Ok(()) } else { Err(Failure::no("")) }
}

fn shown(file: &Path, found: &Verification) -> Result<(), Failure> {
    for wrong in &found.wrong {
        output::line(&format!("{} {}", paint("WRONG", Style::Red), visible(&wrong.to_string())))?;
    }
    if let Some(manifest) = &found.manifest {
        let about = &manifest.about;
        output::line(&format!(
            "made {} by {}, {} of {} entries as written",
            about.created_at,
            visible(&about.created_by),
            found.good,
            manifest.entries.len()
        ))?;
        if let Some(hash) = about.ledger.as_ref().and_then(|ledger| ledger.chain_hash.as_ref()) {
            output::line(&paint(
                &format!("chain head {}: `spark audit list` has it too when the LEDGER is the same", visible(hash)),
                Style::Dim,
            ))?;
        }
    }
    output::line(&format!("sha256 {}", found.sha256))?;
    let word = if found.wrong.is_empty() { paint("as it was written", Style::Green) } else { paint("changed", Style::Red) };
    output::line(&format!("{}: {word}", file.display()))
}
