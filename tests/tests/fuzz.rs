//! The API is what its own document says: schemathesis makes requests of the document, right and wrong ones, for a running
//! system with every process, and looks at the answers. No 5xx, no undocumented status, no body or header of another shape.
//!
//! Needs `python3` and a package index, so it is behind the feature `python`, which .ci/run switches on.

#![cfg(feature = "python")]
#![allow(clippy::unwrap_used, reason = "a test that cannot prepare has failed, and its helpers with it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use spark_tests::system::System;

/// Requests an operation and phase at most: the run is to take about a minute on a busy machine.
const EXAMPLES_MAX: &str = "6";
const CONFIG: &str = "[strategy]\nenabled = false\n[gateway]\nrate_per_second = 100000\nrate_burst = 100000\n";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

/// The programs of a Python with what `requirements.txt` names, removed with the build folder.
fn programs() -> PathBuf {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("venv-fuzz-{}", std::process::id()));
    succeed(Command::new("python3").arg("-m").arg("venv").arg(&venv));
    let programs = venv.join("bin");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    succeed(Command::new(programs.join("python")).args(pip).arg(folder().join("requirements.txt")));
    programs
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_made_of_the_document_are_answered_as_the_document_says() {
    let (system, programs) = tokio::join!(System::start(env!("CARGO_BIN_EXE_spark-under-test"), CONFIG, &[]), async {
        tokio::task::spawn_blocking(programs).await.unwrap()
    });
    let document = system.data().join("openapi.json");
    std::fs::write(&document, system.get("/api/openapi.json").await.unwrap()).unwrap();
    let validated = succeed(Command::new(programs.join("python")).arg(folder().join("validate.py")).arg(&document));
    assert!(validated.starts_with("valid"), "{validated}");
    let token = std::fs::read_to_string(system.data().join("keys").join("admin.token")).unwrap();
    let mut command = Command::new(programs.join("schemathesis"));
    command
        .current_dir(system.data())
        .arg("--config-file")
        .arg(folder().join("schemathesis.toml"))
        .arg("run")
        .arg(&document)
        .args(["--url", &system.address(), "--max-examples", EXAMPLES_MAX, "--seed", "20261121", "--no-color"])
        .args(["-H", &format!("Authorization: Bearer {}", token.trim())]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}\n{}", text(&output), system.printed());
    assert_eq!(system.json("/health").await.unwrap()["ok"], true);
}
