//! axe-core, from the npm registry with the digest of its lock file, over everything that the page can look like.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use spark_tests::browser::{Key, Look};

use crate::stage::{Stage, Visit};

const PACKAGE: &str = include_str!("axe/package.json");
const LOCK: &str = include_str!("axe/package-lock.json");
/// Button that opens it, dialog.
const DIALOGS: [(&str, &str); 4] = [
    ("#kill", "#kill-dialog"),
    ("#settings", "#settings-dialog"),
    ("#account", "#sign-dialog"),
    ("#rollout-buttons button[data-verb=abort]", "#ask-dialog"),
];

/// The source of axe-core; npm checks it against the digest in the lock file.
fn source() -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("axe");
    let script = folder.join("node_modules/axe-core/axe.min.js");
    let is_there = script.exists() && std::fs::read_to_string(folder.join("package-lock.json")).is_ok_and(|lock| lock == LOCK);
    if !is_there {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("package.json"), PACKAGE).unwrap();
        std::fs::write(folder.join("package-lock.json"), LOCK).unwrap();
        let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=5"];
        let output =
            Command::new("npm").args(arguments).current_dir(&folder).output().unwrap_or_else(|error| panic!("npm: {error}"));
        assert!(output.status.success(), "npm ci: {}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::read_to_string(script).unwrap()
}

/// What axe finds serious or critical in a part of the document, ready to read.
async fn serious(visit: &Visit<'_>, part: &str) -> Vec<String> {
    let run = format!(
        "axe.run({part}, {{ resultTypes: ['violations'] }}).then((found) => found.violations
           .filter((one) => ['serious', 'critical'].includes(one.impact))
           .map((one) => `${{one.impact}} ${{one.id}}: ${{one.help}}\\n` + one.nodes.slice(0, 5).map((node) =>
             `    ${{node.target.join(' ')}}\\n      ${{node.html.slice(0, 200)}}\\n      ${{node.failureSummary.replaceAll('\\n', ' ')}}`).join('\\n')))"
    );
    let found = visit.evaluate(&run).await;
    found.as_array().into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}

/// Dark, light and on a phone, and each dialog in dark and light.
pub async fn nothing_serious(stage: &Stage) {
    let visit = stage.visit(Look::DESK).await;
    visit.evaluate(&source()).await;
    let mut all: Vec<String> = Vec::new();
    for (name, look) in [("dark", Look::DESK), ("light", Look::DESK.light()), ("360 px", Look::PHONE)] {
        visit.look(look).await;
        visit.until("the look is taken", &format!("innerWidth === {} || innerWidth", look.width)).await;
        all.extend(serious(&visit, "document").await.into_iter().map(|found| format!("{name}: {found}")));
    }
    for (opener, dialog) in DIALOGS {
        visit.look(Look::DESK).await;
        visit.click(opener).await;
        visit.until(&format!("{dialog} is open"), &format!("document.querySelector('{dialog}').matches(':modal')")).await;
        for (name, look) in [("dark", Look::DESK), ("light", Look::DESK.light())] {
            visit.look(look).await;
            all.extend(
                serious(&visit, &format!("'{dialog}'")).await.into_iter().map(|found| format!("{dialog}, {name}: {found}")),
            );
        }
        visit.press(Key::Escape).await;
        visit.until(&format!("{dialog} is closed"), &format!("!document.querySelector('{dialog}').open")).await;
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
    visit.end().await;
}
