//! `spark up` as a person and a machine meet it: start, stop, deaths, and nothing left behind.

mod common;

use common::{Up, freeze, get, run, signal, text, wait_for};
use nix::sys::signal::Signal;

#[test]
fn ctrl_c_stops_everything_in_order_with_nothing_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), &[]);
    assert!(get(up.port, "/health").unwrap().contains("true"));
    let data = up.data.display().to_string();
    let second = run(folder.path(), &["up", "--data", &data, "--port", &common::free_port().to_string()]);
    assert_eq!(second.status.code(), Some(75));
    assert!(text(&second.stderr).contains(&format!("pid {}", up.child.id())), "{}", text(&second.stderr));
    let targets = std::fs::read_to_string(up.data.join("prometheus/targets.json")).unwrap();
    assert!(targets.contains(&format!("127.0.0.1:{}", up.port)), "{targets}");
    // The page is there before the last process is.
    up.pid_of("feed", None);
    up.remember();
    signal(i32::try_from(up.child.id()).unwrap(), Signal::SIGINT);
    assert_eq!(up.wait().code(), Some(0), "{}", up.said());
    up.assert_nothing_left();
    let said = up.said();
    let order: Vec<Option<usize>> =
        ["feed | stopped", "guardrail | stopped", "gateway | stopped", "exchange-sim | stopped", "nats-server | stopped"]
            .map(|line| said.find(line))
            .to_vec();
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{said}");
    assert!(!up.data.join("run.json").exists());
}

#[test]
fn a_second_ctrl_c_kills_what_does_not_stop() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), &[]);
    up.remember();
    let feed = up.pid_of("feed", None);
    // Stopped by the system, it cannot take in the request to end.
    freeze(feed);
    let supervisor = i32::try_from(up.child.id()).unwrap();
    signal(supervisor, Signal::SIGINT);
    up.wait_said("Ctrl-C again kills");
    assert!(common::is_alive(supervisor) && common::is_alive(feed));
    signal(supervisor, Signal::SIGINT);
    assert_eq!(up.wait().code(), Some(0), "{}", up.said());
    assert!(up.said().contains("feed | killed"), "{}", up.said());
    up.assert_nothing_left();
}

#[test]
fn a_process_that_dies_is_shown_and_started_again_and_so_is_the_broker() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), &[]);
    let gateway = up.pid_of("gateway", None);
    signal(gateway, Signal::SIGKILL);
    up.wait_said("gateway | died: signal 9 (SIGKILL)");
    up.pid_of("gateway", Some(gateway));
    wait_for("the page answers again", || get(up.port, "/health"));
    let nats = up.nats_pid(None);
    signal(nats, Signal::SIGKILL);
    up.wait_said("nats-server | died");
    let again = up.nats_pid(Some(nats));
    let launcher = up.pid_of("nats-server", None);
    // Without its launcher the broker must not linger on the port.
    signal(launcher, Signal::SIGKILL);
    up.pid_of("nats-server", Some(launcher));
    up.nats_pid(Some(again));
    let data = up.data.display().to_string();
    wait_for("heartbeats through the third broker", || {
        let status = run(folder.path(), &["status", "--json", "--data", &data]);
        let json: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
        let alive = |name: &str| {
            json["processes"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == name && one["alive"] == true))
        };
        if alive("gateway") && alive("guardrail") { Ok(()) } else { Err(text(&status.stdout) + &text(&status.stderr)) }
    });
    up.remember();
    signal(i32::try_from(up.child.id()).unwrap(), Signal::SIGTERM);
    up.wait();
    up.assert_nothing_left();
}

#[test]
fn when_up_itself_is_killed_every_process_ends_by_itself_and_it_can_start_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), &[]);
    up.remember();
    up.child.kill().unwrap();
    up.child.wait().unwrap();
    up.assert_nothing_left();
    drop(up);
    let mut again = Up::start(folder.path(), &[]);
    signal(i32::try_from(again.child.id()).unwrap(), Signal::SIGTERM);
    again.wait();
    again.assert_nothing_left();
}

#[test]
fn a_person_can_look_and_act_on_the_running_system() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]);
    let data = up.data.display().to_string();
    let on = |arguments: &[&str]| {
        let output = run(folder.path(), &[arguments, &["--data", &data]].concat());
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    };
    assert!(on(&["breaker", "binance", "open", "--reason", "a test"]).contains("binance"));
    let line = on(&["tail", "control.breaker.>", "--since", "5m", "--limit", "1", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(document["subject"], "control.breaker.binance");
    assert_eq!(document["kind"], "breaker_command.v1");
    assert_eq!(document["message"]["reason"], "a test");
    assert!(on(&["tail", "telemetry.heartbeat.>", "--since", "5m", "--limit", "1"]).contains("pid"));
    assert!(on(&["sim", "fault", "add", "delay", "exchange=binance", "ms=10"]).contains("id=1"));
    assert!(on(&["sim", "fault", "ls"]).contains("ms=10"));
    on(&["sim", "fault", "clear"]);
    assert!(on(&["sim", "fault", "ls"]).contains("no faults"));
    assert!(on(&["doctor"]).contains("sync_interval: always"));
    assert!(on(&["status"]).contains("gateway"));
}

#[test]
fn a_message_that_cannot_be_handled_is_listed_shown_and_published_again() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]);
    let data = up.data.display().to_string();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let url = up.run_file()["nats_url"].as_str().unwrap().to_owned();
        let credentials = spark_nats::Credentials::NkeySeedFile(up.data.join("keys/operator.nk"));
        let bus =
            spark_nats::Bus::connect(spark_nats::ConnectOptions { url, name: "operator".into(), credentials }).await.unwrap();
        bus.wait_connected().await;
        bus.raw_client().publish("market.ticks.binance.BTCUSDT", "\u{1}garbage".into()).await.unwrap();
        bus.raw_client().flush().await.unwrap();
    });
    let parked = |arguments: &[&str]| run(folder.path(), &[&["parked"], arguments, &["--data", &data]].concat());
    let first = wait_for("the garbage is parked", || {
        let list = text(&parked(&["ls", "--json"]).stdout);
        let first: serde_json::Value = list.lines().next().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        first["sequence"].as_u64().ok_or(list)
    })
    .to_string();
    let shown = text(&parked(&["show", &first]).stdout);
    assert!(shown.contains("missing_kind") && shown.contains("garbage"), "{shown}");
    let replayed = parked(&["replay", &first]);
    assert_eq!(replayed.status.code(), Some(0), "{}", text(&replayed.stderr));
    // It is still garbage: it is parked once more, under a new number, and the old one is gone.
    assert_eq!(parked(&["show", &first]).status.code(), Some(1));
    let tail = run(folder.path(), &["tail", "market.ticks.>", "--since", "5m", "--limit", "1", "--data", &data]);
    assert!(text(&tail.stdout).contains("cannot be decoded"), "{}", text(&tail.stdout));
}
