//! Who is started, with which ports, arguments and environment. Nothing is started here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use spark_nats::identities::Identities;
use spark_nats::server;

use super::child::Program;
use super::tokens::Tokens;
use super::wiring;
use crate::config::Config;
use crate::process::{Process, stop};

/// The order in which processes start once the broker is there.
pub const START_ORDER: &[Process] = wiring::PROCESSES;
/// The order in which they stop: sources first, so that what they brought in is still decided on; the broker last.
pub const STOP_ORDER: &[&str] = &[
    "strategy",
    "signal",
    "rollout",
    "backtest",
    "feed",
    "portfolio",
    "risk",
    "executor",
    "candles",
    "guardrail",
    "notifier",
    "reporter",
    "gateway",
    "exchange-sim",
    "auditor",
    BROKER,
];
/// The broker's name among the processes.
pub const BROKER: &str = "nats-server";

/// Every port of one system. All on loopback.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Page and API.
    pub gateway: SocketAddr,
    /// Broker, clients.
    pub nats: u16,
    /// Broker, monitoring.
    pub nats_monitor: u16,
    /// The simulator.
    pub simulator: Vec<u16>,
    /// Each process's own metrics.
    pub metrics: BTreeMap<&'static str, u16>,
}

impl Ports {
    /// Free ports, all different, below the range from which the system takes ports for outgoing connections: a process
    /// that is restarted finds its own again.
    ///
    /// # Errors
    /// There are none left.
    pub fn choose(gateway: SocketAddr) -> io::Result<Self> {
        let next = || match server::free_port() {
            // Free only until the gateway takes it.
            Ok(port) if port == gateway.port() => server::free_port(),
            chosen => chosen,
        };
        let simulator = (0..wiring::SIMULATOR_PORTS).map(|_| next()).collect::<io::Result<_>>()?;
        let metrics = START_ORDER.iter().map(|process| Ok((process.name(), next()?))).collect::<io::Result<_>>()?;
        Ok(Self { gateway, nats: next()?, nats_monitor: next()?, simulator, metrics })
    }
}

/// What one `up` is about.
#[derive(Clone, Debug)]
pub struct Plan {
    /// This binary.
    pub executable: PathBuf,
    /// Data folder, absolute.
    pub data: PathBuf,
    /// Configuration file, absolute.
    pub config: Option<PathBuf>,
    /// nats-server.
    pub nats_binary: PathBuf,
    /// Ports.
    pub ports: Ports,
    /// Real exchanges.
    pub live: bool,
    /// Built-in strategies.
    pub strategy: bool,
    /// Recorded files to replay, absolute.
    pub replay: Vec<PathBuf>,
    /// Replay speed.
    pub speed: String,
    /// Tokens for the gateway.
    pub tokens: Tokens,
    /// Certificate of the gateway, when it speaks TLS.
    pub tls: Option<PathBuf>,
    /// Whether reading takes no token.
    pub reading_open: bool,
    /// Logs as JSON.
    pub json_logs: bool,
}

impl Plan {
    /// Where clients reach the broker.
    #[must_use]
    pub fn nats_url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.ports.nats)
    }

    /// Where the broker lives.
    #[must_use]
    pub fn nats_dir(&self) -> PathBuf {
        self.data.join(BROKER)
    }

    /// Page and API.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.gateway())
    }

    /// Who reaches the gateway, and what it takes to read.
    #[must_use]
    pub fn reach(&self) -> String {
        let ip = self.ports.gateway.ip();
        let who = if ip.is_loopback() { "this machine only".to_owned() } else { format!("every machine that reaches {ip}") };
        let how = if self.tls.is_some() { "TLS" } else { "no TLS" };
        let reading = if self.reading_open { "reading is open" } else { "reading takes a token" };
        format!("{who} · {how} · {reading}")
    }

    /// The gateway's address as a client on this machine uses it.
    fn gateway(&self) -> SocketAddr {
        let mut address = self.ports.gateway;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        address
    }

    /// The processes to start after the broker.
    pub fn processes(&self) -> impl Iterator<Item = Process> + use<'_> {
        START_ORDER.iter().copied().filter(|process| match process {
            Process::ExchangeSim => !self.live,
            Process::Strategy => self.strategy,
            _ => true,
        })
    }

    /// The broker's launcher.
    #[must_use]
    pub fn broker(&self) -> Program {
        let mut arguments: Vec<OsString> = vec!["broker".into()];
        let mut flag = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        flag("--binary", self.nats_binary.clone().into());
        flag("--dir", self.nats_dir().into());
        flag("--port", self.ports.nats.to_string().into());
        flag("--monitor-port", self.ports.nats_monitor.to_string().into());
        self.program(BROKER, arguments, Vec::new())
    }

    /// One process.
    #[must_use]
    pub fn process(&self, process: Process, identities: &Identities, config: &Config) -> Program {
        let name = process.name();
        let mut environment: Vec<(String, OsString)> = vec![
            ("NATS_URL".into(), self.nats_url().into()),
            // A context of the person who starts all this is about another broker.
            ("NATS_CONTEXT".into(), "".into()),
            ("SPARK_DATA".into(), self.data.clone().into()),
            ("SPARK_ENVIRONMENT".into(), if self.live { "live" } else { "demo" }.into()),
        ];
        if let Some(seed) = identities.seed_file(name) {
            environment.push(("SPARK_NKEY_SEED_FILE".into(), seed.into()));
        }
        if let Some(config) = &self.config {
            environment.push(("SPARK_CONFIG".into(), config.clone().into()));
        }
        if let Some(port) = self.ports.metrics.get(name) {
            environment.push(("SPARK_METRICS_ADDR".into(), format!("127.0.0.1:{port}").into()));
        }
        environment.extend(wiring::environment(self, config, process));
        self.program(name, vec![name.into()], environment)
    }

    fn program(&self, name: &'static str, mut arguments: Vec<OsString>, mut environment: Vec<(String, OsString)>) -> Program {
        environment.push((stop::SUPERVISED.into(), "1".into()));
        if self.json_logs {
            arguments.push("--json".into());
        }
        Program {
            name,
            executable: self.executable.clone(),
            arguments,
            environment,
            log: self.data.join("logs").join(format!("{name}.log")),
        }
    }

    /// Prometheus' `file_sd` document: the gateway for the whole system, each process for itself.
    #[must_use]
    pub fn prometheus_targets(&self) -> serde_json::Value {
        let environment = if self.live { "live" } else { "demo" };
        let target = |address: String, service: &str| serde_json::json!({"targets": [address], "labels": {"service": service, "environment": environment}});
        let own = self.processes().filter_map(|process| {
            let port = self.ports.metrics.get(process.name())?;
            Some(target(format!("127.0.0.1:{port}"), process.name()))
        });
        let mut system = target(self.gateway().to_string(), "spark");
        if self.tls.is_some() {
            system["labels"]["__scheme__"] = "https".into();
        }
        std::iter::once(system).chain(own).collect()
    }
}

/// Where nats-server is kept: `SPARK_TOOLS_DIR`, else `.tools` in the working folder.
#[must_use]
pub fn tools_dir() -> PathBuf {
    std::env::var_os("SPARK_TOOLS_DIR").map_or_else(|| PathBuf::from(".tools"), PathBuf::from)
}

/// An absolute form of a path that need not exist.
///
/// # Errors
/// The working folder is gone.
pub fn absolute(path: &Path) -> io::Result<PathBuf> {
    std::path::absolute(path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_are_all_different_and_below_those_of_outgoing_connections() {
        let gateway = SocketAddr::from((Ipv4Addr::LOCALHOST, server::free_port().unwrap() + 1));
        let ports = Ports::choose(gateway).unwrap();
        let mut all: Vec<u16> = ports.metrics.values().copied().chain(ports.simulator).collect();
        all.extend([ports.nats, ports.nats_monitor, gateway.port()]);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
        assert!(all.iter().all(|port| (15_000..=32_000).contains(port)), "{all:?}");
    }
}
