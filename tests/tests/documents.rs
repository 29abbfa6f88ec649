//! What the documents say is true: their links lead somewhere, the commands that they name exist, their examples do what they say.

#![allow(clippy::unwrap_used, reason = "a test that cannot read the workspace has failed, and its helpers with it")]

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::time::Duration;

use clap::CommandFactory;
use serde_json::Value;
use spark_tests::documents::{Block, Command, Shell, blocks, commands};
use spark_tests::system::System;
use spark_tests::wait::until;

const SPARK: &str = env!("CARGO_BIN_EXE_spark-under-test");
/// Documents of docs/ that `spark schema` writes, and its option for each.
const GENERATED: [(&str, &str); 2] = [("subjects.md", "--markdown"), ("api.md", "--api-markdown")];
/// Beyond this a document's examples hang.
const DOCUMENT_LIMIT_S: u64 = 240;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Every Markdown file of the project with its text, by its path below the root.
fn markdown() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let built = name.starts_with('.') || ["target", "node_modules", "deploy"].contains(&name.as_str());
            if path.is_dir() && !path.is_symlink() && !built {
                open.push(path);
            } else if name.ends_with(".md") {
                let short = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((short, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The documents whose examples are run: README.md first, then docs/*.md by name.
fn guides() -> Vec<(String, String)> {
    let is_guide = |path: &str| path == "README.md" || path.strip_prefix("docs/").is_some_and(|name| !name.contains('/'));
    let mut found: Vec<(String, String)> = markdown().into_iter().filter(|(path, _)| is_guide(path)).collect();
    found.sort_by_key(|(path, _)| path != "README.md");
    found
}

/// Lines outside of fenced blocks, with their numbers.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut open = false;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            open = !open;
        } else if !open {
            found.push((index + 1, line));
        }
    }
    found
}

/// What a heading is called in a link.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, line) in prose(text) {
        let Some(heading) = line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')) else { continue };
        // A link in a heading counts with its words alone.
        let words: String = heading
            .split("](")
            .enumerate()
            .map(|(n, part)| if n == 0 { part } else { part.split_once(')').map_or("", |p| p.1) })
            .collect();
        let name = spark_bus_schema::schema::markdown::anchor(&words);
        let mut number = 0;
        let mut unique = name.clone();
        while !found.insert(unique.clone()) {
            number += 1;
            unique = format!("{name}-{number}");
        }
    }
    found
}

#[test]
fn every_link_leads_to_a_file_and_to_a_heading_of_it() {
    let documents = markdown();
    let mut checked = 0;
    let mut dead = Vec::new();
    for (path, text) in &documents {
        for (line, words) in prose(text) {
            // What is in code is not a link.
            let plain: String = words.split('`').step_by(2).collect::<Vec<&str>>().join("`");
            for target in plain.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                if target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                checked += 1;
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                let file = if file.is_empty() { root().join(path) } else { root().join(path).parent().unwrap().join(file) };
                let known = anchor.is_empty() || std::fs::read_to_string(&file).is_ok_and(|text| anchors(&text).contains(anchor));
                if !file.exists() || !known {
                    dead.push(format!("{path}:{line}: {target}"));
                }
            }
        }
    }
    assert!(dead.is_empty(), "these links lead nowhere:\n{}", dead.join("\n"));
    assert!(checked > 100, "only {checked} links were found");
}

/// The command lines of `spark` in a text: in code between the lines, and in blocks of `sh`.
fn command_lines(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, words) in prose(text) {
        let code = words.split('`').skip(1).step_by(2);
        found.extend(code.filter(|code| code.starts_with("spark ")).map(|code| (line, code.to_owned())));
    }
    for block in blocks(text).iter().filter(|block| block.language == "sh") {
        for command in commands(block) {
            for part in command.text.split(['\n', '|', ';', '(']).flat_map(|part| part.split("&&")) {
                let part = part.trim().split(" #").next().unwrap_or_default();
                if part.starts_with("spark ") {
                    found.push((command.line, part.to_owned()));
                }
            }
        }
    }
    found
}

/// What is wrong with a command line, as far as its words say. Placeholders and values are not looked at.
fn mistake(spark: &clap::Command, line: &str) -> Option<String> {
    let longs = |command: &clap::Command| -> Vec<String> {
        command.get_arguments().filter_map(|argument| argument.get_long().map(str::to_owned)).collect()
    };
    let global = longs(spark);
    let mut at = spark;
    // What is between quotes is no option.
    let bare: String = line.split(['"', '\'']).step_by(2).collect::<Vec<&str>>().join(" _ ");
    for word in bare.split_whitespace().skip(1) {
        if let Some(option) = word.strip_prefix("--") {
            let name = option.split(|c: char| !c.is_ascii_lowercase() && c != '-').next().unwrap_or_default();
            let known = ["", "help", "version"].contains(&name) || global.iter().chain(&longs(at)).any(|long| long == name);
            if !known {
                return Some(format!("`{}` has no --{name}", at.get_name()));
            }
        } else if at.has_subcommands() && word.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c == '|') {
            // `spark token create|ls` names several.
            let mut next = at;
            for name in word.split('|') {
                let Some(found) = at.find_subcommand(name) else {
                    return Some(format!("`{}` has no command `{name}`", at.get_name()));
                };
                next = found;
            }
            at = next;
        }
    }
    None
}

#[test]
fn every_command_that_a_document_names_exists_with_its_options() {
    let mut spark = spark_cli::args::Cli::command();
    spark.build();
    let mut checked = 0;
    let mut wrong = Vec::new();
    for (path, text) in markdown() {
        for (line, words) in command_lines(&text) {
            checked += 1;
            wrong.extend(mistake(&spark, &words).map(|mistake| format!("{path}:{line}: `{words}`: {mistake}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 100, "only {checked} commands were found");
    for (line, want) in [
        ("spark stauts", "`spark` has no command `stauts`"),
        ("spark silence add|rm --for 2h", "`silence` has no command `rm`"),
        ("spark status --jsn", "`status` has no --jsn"),
    ] {
        assert_eq!(mistake(&spark, line).as_deref(), Some(want));
    }
}

fn spark(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Program::new(SPARK).args(arguments).current_dir(folder).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), printed.into_owned())
}

/// `SPARK_WRITE_DOCUMENTS=1` writes what is generated instead of comparing it.
fn are_written() -> bool {
    std::env::var_os("SPARK_WRITE_DOCUMENTS").is_some()
}

#[test]
fn what_is_generated_is_as_the_program_writes_it() {
    for (document, option) in GENERATED {
        let (code, printed) = spark(&root(), &["schema", option]);
        assert_eq!(code, 0, "{printed}");
        let file = root().join("docs").join(document);
        if are_written() {
            std::fs::write(&file, &printed).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            kept == printed,
            "docs/{document} is an old one; write it with: spark schema {option} > docs/{document} (or all with SPARK_WRITE_DOCUMENTS=1)"
        );
    }
}

#[test]
fn the_reference_of_the_configuration_is_what_the_program_writes() {
    let file = root().join("docs/configuration.md");
    let mark = "written by: spark config init --out -";
    let (code, written) = spark(&root(), &["config", "init", "--out", "-"]);
    assert_eq!(code, 0, "{written}");
    if are_written() {
        let text = std::fs::read_to_string(&file).unwrap();
        let (before, _) = text.split_once(mark).unwrap();
        std::fs::write(&file, format!("{before}{mark} -->\n```toml\n{}\n```\n", written.trim_end())).unwrap();
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let blocks = blocks(&text);
    let block = blocks.iter().find(|block| block.mark.as_deref() == Some(mark)).unwrap_or_else(|| panic!("no <!-- {mark} -->"));
    assert!(
        block.text().trim_end() == written.trim_end(),
        "the block in docs/configuration.md is an old one; replace it with what `spark config init --out -` writes (or run this with SPARK_WRITE_DOCUMENTS=1)"
    );
}

#[test]
fn every_example_of_a_configuration_is_accepted() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("toml-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // What the documents' examples have written by then.
    std::fs::copy(root().join("processors/guardrail/guardrail.toml"), folder.join("my-rules.toml")).unwrap();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (path, text) in guides() {
        for block in blocks(&text).iter().filter(|block| block.language == "toml") {
            let text = block.text();
            let file = folder.join(format!("{checked}.toml"));
            std::fs::write(&file, &text).unwrap();
            let file = file.display().to_string();
            let first = text.lines().find(|line| line.starts_with('[')).unwrap_or_default();
            let arguments = match first {
                "[[rule]]" => vec!["rules", "lint", &file],
                // Those of rules are run where the document runs them, limits where it sets them.
                "[[test]]" | "[default]" => continue,
                _ => vec!["config", "--check", "--config", &file],
            };
            let (code, printed) = spark(&folder, &arguments);
            checked += 1;
            if code != 0 {
                wrong.push(format!("{path}:{}: {printed}", block.line));
            }
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 5, "only {checked} examples were found");
}

#[test]
fn every_example_of_json_is_json() {
    for (path, text) in guides() {
        for block in blocks(&text).iter().filter(|block| block.language == "json") {
            let read: Result<serde_json::Value, _> = serde_json::from_str(&block.text());
            assert!(read.is_ok(), "{path}:{}: {}", block.line, read.unwrap_err());
        }
    }
}

/// What a document runs: its files, and its commands, in order.
fn steps(text: &str, packages: bool) -> Vec<Command> {
    let mut found = Vec::new();
    for block in blocks(text) {
        if block.not_run().is_some() || (block.needs_packages() && !packages) {
            continue;
        }
        match (block.language.as_str(), block.file()) {
            ("sh", _) => found.extend(commands(&block)),
            (_, Some(name)) => {
                let text = format!("cat >{name} <<'__END'\n{}__END", block.text());
                found.push(Command { line: block.line, text, exit: 0, prints: Vec::new() });
            }
            _ => {}
        }
    }
    found
}

/// A folder that looks like the project's with a system running in it.
fn stage(system: &System) -> Shell {
    // The system's own: what its configuration names is looked for beside it.
    let folder = system.data().parent().unwrap().to_owned();
    std::fs::create_dir(folder.join("bin")).unwrap();
    for name in ["examples", "dashboards", "processors", "nats", "compose.yaml"] {
        symlink(root().join(name), folder.join(name)).unwrap();
    }
    symlink(SPARK, folder.join("bin/spark")).unwrap();
    symlink(system.data(), folder.join(".spark")).unwrap();
    let path = format!("{}:{}", folder.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let port = spark_nats::server::free_port().unwrap().to_string();
    let tools = spark_nats::testing::tools_dir().display().to_string();
    let environment = [("PATH", path), ("SPARK_URL", system.address()), ("PORT", port), ("SPARK_TOOLS_DIR", tools)];
    let environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
    Shell { folder, environment, limit_s: DOCUMENT_LIMIT_S }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_does_what_its_document_says() {
    let system = System::start(SPARK, "", &[]).await;
    // A reader does not type within the first second either.
    until("every process runs", Duration::from_secs(60), async || {
        let told = system.json("/api/processes").await?;
        let all: Vec<&Value> = told["processes"].as_array().into_iter().flatten().collect();
        let running = all.iter().filter(|process| process["state"] == "running").count();
        if all.len() > 10 && running == all.len() { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    let shell = stage(&system);
    let mut broken = Vec::new();
    let mut ran = 0;
    // `SPARK_DOCUMENT=docs/cookbook.md` runs the examples of that one alone.
    let only = std::env::var("SPARK_DOCUMENT").ok();
    for (path, text) in guides().into_iter().filter(|(path, _)| only.as_ref().is_none_or(|only| only == path)) {
        let steps = steps(&text, cfg!(feature = "python"));
        match shell.run(&path, &steps) {
            Ok(times) => {
                let whole: f64 = times.iter().map(|step| step.0).sum();
                println!("{path}: {} commands in {whole:.1} s", times.len());
                for (seconds, text) in times.iter().filter(|step| step.0 > 2.0) {
                    println!("  {seconds:.1} s: {}", text.lines().next().unwrap_or_default());
                }
                ran += times.len();
            }
            Err(example) => broken.push(example.to_string()),
        }
    }
    assert!(broken.is_empty(), "{}\n\nspark up said:\n{}", broken.join("\n\n"), system.printed());
    assert!(ran > 50 || only.is_some(), "only {ran} examples were run");
}

#[test]
fn an_example_that_is_not_run_says_why() {
    let shown = |block: &Block| block.mark.clone().unwrap_or_default();
    let known =
        |block: &Block| block.mark.is_none() || block.needs_packages() || block.not_run().is_some_and(|reason| reason.len() > 8);
    for (path, text) in guides() {
        let blocks = blocks(&text);
        for block in blocks.iter().filter(|block| block.language == "sh") {
            assert!(known(block), "{path}:{}: <!-- {} --> is neither `not run: reason` nor `python`", block.line, shown(block));
        }
    }
}
