//! Programs of the packages: run, asked, stopped.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A server that ends with the test.
pub struct Running {
    child: Child,
    name: &'static str,
    log: std::path::PathBuf,
    /// `http://127.0.0.1:<port>`.
    pub address: String,
    http: reqwest::Client,
}

impl Running {
    /// Starts it with its output in `<folder>/<name>.log`.
    pub fn start(name: &'static str, folder: &Path, port: u16, arguments: &[String]) -> Self {
        // Before the start: what fails behind it would leave the server running.
        let http = reqwest::Client::builder().timeout(std::time::Duration::from_secs(10)).build().unwrap();
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).unwrap();
        let child = Command::new(name)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}; apt-get install prometheus prometheus-alertmanager"));
        Self { child, name, log, address: format!("http://127.0.0.1:{port}"), http }
    }

    /// GET with parameters, as JSON.
    pub async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let failed = |what: String| {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let end: Vec<&str> = log.lines().rev().take(5).collect();
            format!("{} {path} {parameters:?}: {what}; its log's end: {end:?}", self.name)
        };
        let request = self.http.get(format!("{}{path}", self.address)).query(parameters);
        let answer = request.send().await.map_err(|error| failed(format!("{error:?}")))?;
        let text = answer.text().await.map_err(|error| failed(format!("{error:?}")))?;
        serde_json::from_str(&text).map_err(|_| failed(text))
    }

    /// What a query of Prometheus yields: labels with values, those that are no number left out.
    pub async fn query(&self, query: &str) -> Result<Vec<(Value, f64)>, String> {
        let answer = self.get("/api/v1/query", &[("query", query)]).await?;
        let rows = answer["data"]["result"].as_array().ok_or_else(|| format!("{query}: {answer}"))?;
        let row = |row: &Value| Some((row["metric"].clone(), row["value"][1].as_str()?.parse().ok()?));
        Ok(rows.iter().filter_map(row).filter(|(_, value): &(Value, f64)| !value.is_nan()).collect())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end with this on its stdin.
pub fn run(program: &str, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; apt-get install prometheus prometheus-alertmanager"));
    let mut stdin = child.stdin.take().unwrap();
    let text = input.to_owned();
    // Beside reading its output, so that neither waits for the other. One that ends early does not read all of it.
    let writer = std::thread::spawn(move || drop(stdin.write_all(text.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Everything that it printed.
pub fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
