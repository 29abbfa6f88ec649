//! What the command line says about itself, and what a shell makes of it.

#![allow(clippy::unwrap_used, reason = "these are tests, outside of test functions")]

mod common;

use std::process::Command;

use common::{run, text};

#[test]
fn the_manual_groups_commands_and_documents_environment_and_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let manual = run(folder.path(), &["--help"]);
    assert_eq!(manual.status.code(), Some(0));
    let said = text(&manual.stdout);
    for part in ["First steps:", "Run:", "Look:", "Guard:", "Environment:", "Exit codes:", "NATS_URL", "--context <NAME>"] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    assert!(!said.contains('\u{1b}'), "no colours into a pipe");
    for arguments in [&["help"][..], &["-h"]] {
        assert_eq!(text(&run(folder.path(), arguments).stdout).trim_end(), said.trim_end(), "{arguments:?}");
    }
    let help = text(&run(folder.path(), &["help", "order", "buy"]).stdout);
    assert!(help.contains("Usage: spark order buy") && help.contains("spark order buy BTCUSDT 0.01"), "{help}");
    assert!(text(&run(folder.path(), &["help", "exit-codes"]).stdout).contains("69  the broker"));
    let wrong = run(folder.path(), &["help", "ordr"]);
    assert_eq!(wrong.status.code(), Some(64));
    assert!(text(&wrong.stderr).contains("`order`"), "{}", text(&wrong.stderr));
}

#[test]
fn completions_are_scripts_that_know_the_commands() {
    let folder = tempfile::tempdir().unwrap();
    for (shell, parts) in [
        ("bash", ["complete -F _spark", "rollout", "--context"]),
        ("zsh", ["#compdef spark", "rollout", "--context"]),
        ("fish", ["complete -c spark", "rollout", "context"]),
    ] {
        let output = run(folder.path(), &["completions", shell]);
        let script = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        for part in parts {
            assert!(script.contains(part), "{shell} lacks {part}");
        }
    }
    let script = folder.path().join("spark.bash");
    std::fs::write(&script, run(folder.path(), &["completions", "bash"]).stdout).unwrap();
    let parsed = Command::new("bash").arg("-n").arg(&script).output().unwrap();
    assert!(parsed.status.success(), "{}", text(&parsed.stderr));
    // What a person gets who types `spark conf` and tab.
    let asked = ". ./spark.bash; COMP_WORDS=(spark conf); COMP_CWORD=1; _spark spark conf spark; echo ${COMPREPLY[@]}";
    let offered = Command::new("bash").args(["-c", asked]).current_dir(folder.path()).output().unwrap();
    assert_eq!(text(&offered.stdout).trim(), "config", "{}", text(&offered.stderr));
}
