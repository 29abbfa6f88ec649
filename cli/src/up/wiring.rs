//! What differs from process to process when `spark up` starts them: overrides of their configuration by environment.

use std::ffi::OsString;

use spark_bus_schema::session::Day;
use spark_exchange_sim::{
    DEMO_BINANCE_KEY, DEMO_BINANCE_SECRET, DEMO_BINANCE_TRADE_KEY, DEMO_BINANCE_TRADE_SECRET, DEMO_BIST_TOKEN, DEMO_BTCTURK_KEY,
    DEMO_BTCTURK_SECRET, DEMO_BTCTURK_TRADE_KEY, DEMO_BTCTURK_TRADE_SECRET,
};
use spark_feed::bist::config::CalendarKind;

use super::plan::Plan;
use crate::config::Config;
use crate::process::Process;

/// The processes of this build, in the order in which they start.
pub const PROCESSES: &[Process] = &[
    Process::ExchangeSim,
    Process::Auditor,
    Process::Risk,
    Process::Candles,
    Process::Notifier,
    Process::Reporter,
    Process::Executor,
    Process::Signal,
    Process::Rollout,
    Process::Backtest,
    Process::Guardrail,
    Process::Gateway,
    Process::Portfolio,
    Process::Feed,
    Process::Strategy,
];
/// Ports that the simulator needs: Binance, BTCTurk, its own API, the vendor of BIST's prices.
pub const SIMULATOR_PORTS: usize = 4;

/// Time between two polls of the simulated accounts: nobody's allowance is spent on them, and the page lives.
const DEMO_POLL_MS: u64 = 5_000;

/// Time between two polls of the simulated vendor of share prices.
const DEMO_SHARES_MS: u64 = 1_000;

const REAL_ENDPOINTS: [(&str, &str, &str, &str); 2] = [
    ("BINANCE", "binance", "wss://stream.binance.com:9443", "https://api.binance.com"),
    ("BTCTURK", "btcturk", "wss://ws-feed-pro.btcturk.com", "https://api.btcturk.com"),
];

/// One simulated exchange: section, host and port.
fn simulated(plan: &Plan) -> impl Iterator<Item = (&'static str, String)> + '_ {
    let ports = plan.ports.simulator.iter().map(|port| format!("127.0.0.1:{port}"));
    ["BINANCE", "BTCTURK"].into_iter().zip(ports)
}

/// Configuration of one process that follows from the command line of `spark up`.
#[must_use]
pub fn environment(plan: &Plan, config: &Config, process: Process) -> Vec<(String, OsString)> {
    let settings = match process {
        Process::Feed => feed(plan, config),
        Process::Portfolio => portfolio(plan, config),
        Process::Executor => executor(plan),
        Process::Candles => candles(plan, config),
        Process::Guardrail | Process::Auditor | Process::Risk | Process::Strategy | Process::Signal | Process::Rollout => {
            Vec::new()
        }
        Process::Backtest => backtest(plan, config),
        Process::Notifier => address(plan, config, "notifier", "external_url"),
        Process::Reporter => reporter(plan, config),
        Process::Gateway => gateway(plan, config),
        Process::ExchangeSim => exchange_sim(plan),
    };
    settings.into_iter().map(|(key, value)| (key, OsString::from(value))).collect()
}

fn feed(plan: &Plan, config: &Config) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    if plan.live {
        // What a person wrote stays: a mirror, a proxy.
        for (variable, section, socket, rest) in REAL_ENDPOINTS {
            for (name, key, address) in [("WS_URL", "ws_url", socket), ("REST_URL", "rest_url", rest)] {
                if !config.is_given(&["feed", section, key]) {
                    settings.push((format!("SPARK_FEED__{variable}__{name}"), address.to_owned()));
                }
            }
        }
        return settings;
    }
    for (variable, address) in simulated(plan) {
        settings.push((format!("SPARK_FEED__{variable}__WS_URL"), format!("ws://{address}")));
        settings.push((format!("SPARK_FEED__{variable}__REST_URL"), format!("http://{address}")));
    }
    // Unless somebody has a vendor of their own: the simulated one, open around the clock and asked often, so that the demo shows a
    // session at any hour. Its key goes under a name of its own.
    if let Some(port) = simulated_shares(plan, config) {
        for (key, value) in [
            ("BASE_URL", format!("http://127.0.0.1:{port}")),
            ("API_KEY_ENV", "SPARK_DEMO_BIST_KEY".to_owned()),
            ("CALENDAR", "always".to_owned()),
            ("PROVIDER", "demo".to_owned()),
            ("POLL_INTERVAL_MS", DEMO_SHARES_MS.to_string()),
            ("PER_MINUTE", "120".to_owned()),
        ] {
            let given = key != "API_KEY_ENV" && config.is_given(&["feed", "bist", &key.to_ascii_lowercase()]);
            if !given {
                settings.push((format!("SPARK_FEED__BIST__{key}"), value));
            }
        }
        settings.push(("SPARK_DEMO_BIST_KEY".to_owned(), DEMO_BIST_TOKEN.to_owned()));
    }
    if !plan.replay.is_empty() && !config.is_given(&["feed", "binance", "from_oldest"]) {
        // A recording is wanted whole, whenever the feed joins it.
        settings.push(("SPARK_FEED__BINANCE__FROM_OLDEST".to_owned(), "true".to_owned()));
    }
    settings
}

/// Candles of the past come from where the trades come from.
fn candles(plan: &Plan, config: &Config) -> Vec<(String, String)> {
    if !plan.live {
        let rest =
            simulated(plan).map(|(name, address)| (format!("SPARK_CANDLES__{name}__REST_URL"), format!("http://{address}")));
        return rest.chain(sessions(plan, config, "candles")).collect();
    }
    let rest = REAL_ENDPOINTS.map(|(variable, section, _, rest)| (variable, section, "rest_url", rest));
    let graph = ("BTCTURK", "btcturk", "graph_url", "https://graph-api.btcturk.com");
    let missing = rest.into_iter().chain([graph]).filter(|(_, section, key, _)| !config.is_given(&["candles", section, key]));
    missing
        .map(|(variable, _, key, address)| {
            (format!("SPARK_CANDLES__{variable}__{}", key.to_ascii_uppercase()), address.to_owned())
        })
        .chain(sessions(plan, config, "candles"))
        .collect()
}

/// The past of the demo is the simulated exchanges'. The record becomes candles as in `candles`.
fn backtest(plan: &Plan, config: &Config) -> Vec<(String, String)> {
    let sessions = sessions(plan, config, "candles");
    if plan.live {
        return sessions;
    }
    let open = simulated(plan)
        .filter(|(variable, _)| !config.is_given(&["backtest", &format!("{}_url", variable.to_ascii_lowercase())]));
    let open = open.map(|(variable, address)| (format!("SPARK_BACKTEST__{variable}_URL"), format!("http://{address}")));
    open.chain(sessions).collect()
}

fn portfolio(plan: &Plan, config: &Config) -> Vec<(String, String)> {
    if plan.live {
        return Vec::new();
    }
    // The demo account's read-only keys, under names of their own: real keys in the environment stay out of the simulator.
    let keys = [(DEMO_BINANCE_KEY, DEMO_BINANCE_SECRET), (DEMO_BTCTURK_KEY, DEMO_BTCTURK_SECRET)];
    let mut settings = Vec::new();
    for ((variable, address), (key, secret)) in simulated(plan).zip(keys) {
        let section = format!("SPARK_PORTFOLIO__{variable}");
        settings.push((format!("{section}__BASE_URL"), format!("http://{address}")));
        if !config.is_given(&["portfolio", &variable.to_ascii_lowercase(), "poll_interval_ms"]) {
            settings.push((format!("{section}__POLL_INTERVAL_MS"), DEMO_POLL_MS.to_string()));
        }
        for (name, value) in [("KEY", key), ("SECRET", secret)] {
            settings.push((format!("{section}__API_{name}_ENV"), format!("SPARK_DEMO_{variable}_{name}")));
            settings.push((format!("SPARK_DEMO_{variable}_{name}"), value.to_owned()));
        }
    }
    settings
}

/// In the demo on paper unless somebody writes otherwise, with the simulated exchanges' filters; `mode = "live"` then trades
/// on the simulated accounts, under names of its own: real keys in the environment stay out of the simulator.
fn executor(plan: &Plan) -> Vec<(String, String)> {
    if plan.live {
        return Vec::new();
    }
    let keys = [
        (DEMO_BINANCE_TRADE_KEY, DEMO_BINANCE_TRADE_SECRET, "/ws-api/v3"),
        (DEMO_BTCTURK_TRADE_KEY, DEMO_BTCTURK_TRADE_SECRET, ""),
    ];
    let mut settings = Vec::new();
    for ((variable, address), (key, secret, socket)) in simulated(plan).zip(keys) {
        let section = format!("SPARK_EXECUTOR__{variable}");
        settings.push((format!("{section}__BASE_URL"), format!("http://{address}")));
        settings.push((format!("{section}__USER_DATA__URL"), format!("ws://{address}{socket}")));
        for (name, value) in [("KEY", key), ("SECRET", secret)] {
            settings.push((format!("{section}__TRADE_{name}_ENV"), format!("SPARK_DEMO_{variable}_TRADE_{name}")));
            settings.push((format!("SPARK_DEMO_{variable}_TRADE_{name}"), value.to_owned()));
        }
    }
    settings
}

/// Where a process finds the gateway, or where its links lead.
fn address(plan: &Plan, config: &Config, section: &str, key: &str) -> Vec<(String, String)> {
    if config.is_given(&[section, key]) {
        return Vec::new();
    }
    vec![(format!("SPARK_{}__{}", section.to_ascii_uppercase(), key.to_ascii_uppercase()), plan.address())]
}

/// When Borsa Istanbul is open, as the feed has it, for those who count its sessions as well.
fn sessions(plan: &Plan, config: &Config, section: &str) -> Vec<(String, String)> {
    let shares = &config.feed.bist;
    let demo = simulated_shares(plan, config).is_some() && !config.is_given(&["feed", "bist", "calendar"]);
    let always = demo || shares.calendar == CalendarKind::Always;
    let days = |days: &[Day]| (!days.is_empty()).then(|| list(&days.iter().map(ToString::to_string).collect::<Vec<_>>()));
    let values = [
        ("bist_always_open", Some(always.to_string())),
        ("bist_holidays", days(&shares.holidays)),
        ("bist_half_days", days(&shares.half_days)),
    ];
    let told = values.into_iter().filter(|(key, _)| !config.is_given(&[section, key]));
    let variable = |key: &str| format!("SPARK_{}__{}", section.to_ascii_uppercase(), key.to_ascii_uppercase());
    told.filter_map(|(key, value)| Some((variable(key), value?))).collect()
}

/// The port of the simulated vendor of share prices, unless somebody has a vendor of their own.
fn simulated_shares(plan: &Plan, config: &Config) -> Option<u16> {
    plan.ports.simulator.get(3).copied().filter(|_| !plan.live && !config.is_given(&["feed", "bist", "base_url"]))
}

fn gateway(plan: &Plan, config: &Config) -> Vec<(String, String)> {
    let mut settings = vec![
        ("SPARK_GATEWAY__LISTEN".to_owned(), plan.ports.gateway.to_string()),
        ("SPARK_GATEWAY__DEMO".to_owned(), (!plan.live).to_string()),
    ];
    if plan.live && !config.is_given(&["gateway", "environment"]) {
        settings.push(("SPARK_GATEWAY__ENVIRONMENT".to_owned(), "live".to_owned()));
    }
    if !config.is_given(&["gateway", "expected"]) {
        // The gateway itself is there when anybody can ask it.
        let expected: Vec<&str> = plan.processes().map(Process::name).filter(|name| *name != "gateway").collect();
        settings.push(("SPARK_GATEWAY__EXPECTED".to_owned(), list(&expected)));
    }
    if !config.is_given(&["gateway", "receivers"]) {
        let receivers: Vec<&str> = config.notifier.receiver.iter().map(|receiver| receiver.name.as_str()).collect();
        settings.push(("SPARK_GATEWAY__RECEIVERS".to_owned(), list(&receivers)));
    }
    settings.extend(sessions(plan, config, "gateway"));
    if let Some(token) = &plan.tokens.admin {
        settings.push(("SPARK_GATEWAY__ADMIN_TOKEN_FILE".to_owned(), token.display().to_string()));
    }
    settings
}

fn reporter(plan: &Plan, config: &Config) -> Vec<(String, String)> {
    let mut settings = address(plan, config, "reporter", "gateway_url");
    if !config.is_given(&["reporter", "gateway_token_file"]) {
        settings.push(("SPARK_REPORTER__GATEWAY_TOKEN_FILE".to_owned(), plan.tokens.reporter.display().to_string()));
    }
    // Of a certificate that signed itself; one by a known authority is trusted anyway.
    if let Some(certificate) = plan.tls.as_ref().filter(|_| !config.is_given(&["reporter", "gateway_ca_file"])) {
        settings.push(("SPARK_REPORTER__GATEWAY_CA_FILE".to_owned(), certificate.display().to_string()));
    }
    settings
}

fn exchange_sim(plan: &Plan) -> Vec<(String, String)> {
    let mut settings: Vec<(String, String)> =
        simulated(plan).map(|(variable, address)| (format!("SPARK_EXCHANGE_SIM__{variable}"), address)).collect();
    if let Some(port) = plan.ports.simulator.get(2) {
        settings.push(("SPARK_EXCHANGE_SIM__ADMIN".to_owned(), format!("127.0.0.1:{port}")));
    }
    if let Some(port) = plan.ports.simulator.get(3) {
        settings.push(("SPARK_EXCHANGE_SIM__BIST".to_owned(), format!("127.0.0.1:{port}")));
    }
    if !plan.replay.is_empty() {
        let files: Vec<String> = plan.replay.iter().map(|file| file.display().to_string()).collect();
        settings.push(("SPARK_EXCHANGE_SIM__REPLAY__FILES".to_owned(), list(&files)));
        settings.push(("SPARK_EXCHANGE_SIM__REPLAY__SPEED".to_owned(), plan.speed.clone()));
    }
    settings
}

/// A list as the configuration reads it from a variable.
fn list(items: &[impl AsRef<str>]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("{:?}", item.as_ref())).collect();
    format!("[{}]", quoted.join(", "))
}

/// Base URL of the simulator's own API.
#[must_use]
pub fn simulator(plan: &Plan) -> Option<String> {
    let port = plan.ports.simulator.get(2)?;
    (!plan.live && PROCESSES.contains(&Process::ExchangeSim)).then(|| format!("http://127.0.0.1:{port}"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use std::collections::BTreeMap;
    use std::net::{Ipv4Addr, SocketAddr};

    use spark_bus_schema::orders::TradingMode;

    use super::super::plan::Ports;
    use super::super::tokens::Tokens;
    use super::*;

    fn plan(live: bool, replay: &[&str]) -> Plan {
        Plan {
            executable: "spark".into(),
            data: "/tmp/da ta".into(),
            config: None,
            nats_binary: "nats-server".into(),
            ports: Ports {
                gateway: SocketAddr::from((Ipv4Addr::LOCALHOST, 4001)),
                nats: 1,
                nats_monitor: 2,
                simulator: vec![5001, 5002, 5003, 5004],
                metrics: BTreeMap::new(),
            },
            live,
            strategy: !live,
            replay: replay.iter().map(PathBuf::from).collect(),
            speed: "max".to_owned(),
            tokens: Tokens {
                admin: Some("/tmp/da ta/keys/admin.token".into()),
                reporter: "/tmp/da ta/keys/reporter.token".into(),
            },
            tls: None,
            reading_open: true,
            json_logs: false,
        }
    }

    /// What the processes of a plan read, on top of what a person set.
    fn read(plan: &Plan, set: &[(&str, &str)]) -> Config {
        let set: Vec<(String, String)> = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let before = Config::from_parts(None, set.clone()).unwrap();
        let overrides = PROCESSES.iter().flat_map(|process| environment(plan, &before, *process));
        let overrides = overrides.map(|(key, value)| (key, value.into_string().unwrap()));
        Config::from_parts(None, set.into_iter().chain(overrides)).unwrap()
    }

    #[test]
    fn every_override_is_a_key_that_the_process_knows() {
        let demo = read(&plan(false, &[]), &[]);
        assert_eq!(demo.feed.binance.ws_url, "ws://127.0.0.1:5001");
        assert_eq!(demo.feed.btcturk.rest_url, "http://127.0.0.1:5002");
        assert!(!demo.feed.binance.from_oldest && demo.gateway.demo);
        assert_eq!(demo.candles.binance.rest_url, "http://127.0.0.1:5001");
        assert!(demo.candles.bist_always_open);
        assert_eq!((demo.candles.btcturk.rest_url.as_str(), demo.candles.btcturk.graph_url), ("http://127.0.0.1:5002", None));
        assert_eq!(demo.feed.bist.base_url.as_deref(), Some("http://127.0.0.1:5004"));
        assert_eq!((demo.feed.bist.calendar, demo.exchange_sim.bist.port()), (CalendarKind::Always, 5004));
        assert!(demo.candles.bist_always_open && demo.gateway.bist_always_open == Some(true));
        assert_eq!(demo.portfolio.btcturk.base_url.as_deref(), Some("http://127.0.0.1:5002"));
        assert_eq!((demo.portfolio.binance.poll_interval_ms, demo.portfolio.btcturk.poll_interval_ms), (5_000, 5_000));
        assert_eq!(
            demo.gateway.expected,
            [
                "exchange-sim",
                "auditor",
                "risk",
                "candles",
                "notifier",
                "reporter",
                "executor",
                "signal",
                "rollout",
                "backtest",
                "guardrail",
                "portfolio",
                "feed",
                "strategy"
            ]
        );
        assert_eq!(demo.gateway.admin_token_file, Some("/tmp/da ta/keys/admin.token".into()));
        assert_eq!(demo.executor.btcturk.base_url.as_deref(), Some("http://127.0.0.1:5002"));
        assert_eq!(demo.executor.binance.user_data.url.as_deref(), Some("ws://127.0.0.1:5001/ws-api/v3"));
        assert_eq!(demo.executor.binance.mode, TradingMode::Paper);
        let replay = read(&plan(false, &["/tmp/a \"b\".gz", "/tmp/c.gz"]), &[]);
        assert!(replay.feed.binance.from_oldest);
        assert_eq!(replay.exchange_sim.replay.files, [PathBuf::from("/tmp/a \"b\".gz"), "/tmp/c.gz".into()]);
        assert_eq!(replay.exchange_sim.admin.port(), 5003);
        assert_eq!(replay.portfolio.binance.api_key_env.as_deref(), Some("SPARK_DEMO_BINANCE_KEY"));
        let closed = read(
            &plan(false, &[]),
            &[("SPARK_FEED__BIST__CALENDAR", "exchange"), ("SPARK_FEED__BIST__HOLIDAYS", "[\"2028-02-28\"]")],
        );
        assert_eq!((closed.candles.bist_always_open, closed.gateway.bist_always_open), (false, Some(false)));
        assert_eq!(
            (&closed.candles.bist_holidays, &closed.gateway.bist_holidays),
            (&closed.feed.bist.holidays, &closed.feed.bist.holidays)
        );
        let live = read(&plan(true, &[]), &[]);
        assert_eq!(live.feed, spark_feed::Config::live());
        assert_eq!(live.candles.binance.rest_url, "https://api.binance.com");
        assert_eq!(live.candles.btcturk.graph_url.as_deref(), Some("https://graph-api.btcturk.com"));
        assert!(!live.gateway.demo);
        for demo_only in ["exchange-sim", "strategy"] {
            assert!(!live.gateway.expected.contains(&demo_only.to_owned()), "{demo_only}");
        }
        assert_eq!(live.portfolio, spark_portfolio::Config::default());
        assert_eq!(live.executor, spark_executor::Config::default());
    }

    #[test]
    fn the_demo_leaves_what_a_person_set() {
        let set = [("SPARK_PORTFOLIO__BTCTURK__POLL_INTERVAL_MS", "200"), ("SPARK_GATEWAY__EXPECTED", "[\"feed\"]")];
        let demo = read(&plan(false, &[]), &set);
        assert_eq!((demo.portfolio.binance.poll_interval_ms, demo.portfolio.btcturk.poll_interval_ms), (5_000, 200));
        assert_eq!(demo.gateway.expected, ["feed"]);
    }

    #[test]
    fn live_leaves_what_a_person_set() {
        let live = read(&plan(true, &[]), &[("SPARK_FEED__BINANCE__WS_URL", "wss://mirror.example:443")]);
        assert_eq!(live.feed.binance.ws_url, "wss://mirror.example:443");
        assert_eq!(live.feed.binance.rest_url, "https://api.binance.com");
        let live = read(&plan(true, &[]), &[("SPARK_CANDLES__BINANCE__REST_URL", "https://mirror.example")]);
        assert_eq!(live.candles.binance.rest_url, "https://mirror.example");
        assert_eq!(live.candles.btcturk.rest_url, "https://api.btcturk.com");
    }
}
