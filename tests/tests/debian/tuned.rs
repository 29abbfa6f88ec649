//! The rules that `spark tune` writes, before promtool.

use std::process::Command;

use spark_nats::server::free_port;

use crate::programs::{printed, run};
use crate::{BINARY, Folder};

#[test]
fn promtool_takes_the_tuned_rules_with_and_without_thresholds_for_each_exchange() {
    let folder = Folder::new("tuned");
    let exchanges: [spark_tests::history::Exchange<'_>; 2] =
        [("binance", |minute| 200.0 + (minute % 300) as f64), ("btcturk", |minute| 900.0 + (minute % 100) as f64)];
    spark_tests::history::record(&folder.0.join("data"), &exchanges, 400);
    for (name, further) in [("all", None), ("each", Some("--per-exchange"))] {
        let out = folder.0.join(name);
        let mut command = Command::new(BINARY);
        command
            .current_dir(&folder.0)
            .args(["tune", "--data", "data", "--url"])
            .arg(format!("nats://127.0.0.1:{}", free_port().unwrap()));
        let output = command.arg("--out").arg(&out).args(further).output().unwrap();
        assert!(output.status.success(), "{}", printed(&output));
        let rules = out.join("spark-portfolio-tuned.rules.yml");
        let text = std::fs::read_to_string(&rules).unwrap();
        assert_eq!(text.contains("exchange=\"btcturk\""), further.is_some(), "{text}");
        let checked = run("promtool", &["check", "rules", &rules.display().to_string()], "");
        assert!(checked.status.success() && printed(&checked).contains("SUCCESS"), "{}", printed(&checked));
    }
}
