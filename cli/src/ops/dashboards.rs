//! The dashboards and Prometheus rules of this build.

/// Name in an evidence file, and text.
pub const FILES: &[(&str, &str)] = &[
    PORTFOLIO,
    BUS,
    (
        "dashboards/prometheus/rules/spark-portfolio.rules.yml",
        include_str!("../../../dashboards/prometheus/rules/spark-portfolio.rules.yml"),
    ),
    ("dashboards/prometheus/rules/spark-bus.rules.yml", include_str!("../../../dashboards/prometheus/rules/spark-bus.rules.yml")),
];

/// The dashboards alone.
pub const DASHBOARDS: [(&str, &str); 2] = [PORTFOLIO, BUS];

const PORTFOLIO: (&str, &str) = (
    "dashboards/grafana/dashboards/spark-portfolio.json",
    include_str!("../../../dashboards/grafana/dashboards/spark-portfolio.json"),
);
const BUS: (&str, &str) =
    ("dashboards/grafana/dashboards/spark-bus.json", include_str!("../../../dashboards/grafana/dashboards/spark-bus.json"));
