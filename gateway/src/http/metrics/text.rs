//! Prometheus' text format.

use std::fmt::Write;

use crate::view::calls::Histogram;

/// Writes families one after the other.
pub(super) struct Text {
    pub out: String,
    environment: String,
    family: String,
}

impl Text {
    pub fn new(environment: &str) -> Self {
        Self { out: String::with_capacity(16 * 1024), environment: environment.to_owned(), family: String::new() }
    }

    pub fn has(&self, name: &str) -> bool {
        self.out.contains(&format!("# TYPE {name} "))
    }

    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a String cannot fail, here and below.
        let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        name.clone_into(&mut self.family);
    }

    pub fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        self.sample_text(suffix, labels, &value.to_string());
    }

    pub fn sample_text(&mut self, suffix: &str, labels: &[(&str, &str)], value: &str) {
        let _ = write!(self.out, "{}{suffix}{{environment=\"{}\"", self.family, self.environment);
        for (name, value) in labels {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.out, ",{name}=\"{value}\"");
        }
        let _ = writeln!(self.out, "}} {value}");
    }

    pub fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let bucket = |le: &str, count: u64, text: &mut Self| {
            let labels: Vec<_> = labels.iter().copied().chain([("le", le)]).collect();
            text.sample("_bucket", &labels, count as f64);
        };
        for (bound, count) in histogram.cumulative() {
            bucket(&bound.to_string(), count, self);
        }
        bucket("+Inf", histogram.count(), self);
        self.sample("_sum", labels, histogram.sum());
        self.sample("_count", labels, histogram.count() as f64);
    }
}
