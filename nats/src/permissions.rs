//! Least privilege: turns `permissions.toml` into the broker's own permission lists.

use std::sync::LazyLock;

use serde::Deserialize;
use spark_bus_schema::subject;

use crate::bus::inbox_prefix;
use crate::{lease, topology};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    user: Vec<User>,
}

/// One process's rights as declared.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The process.
    pub name: String,
    /// Subjects it may publish, besides its heartbeat and its parked messages.
    #[serde(default)]
    pub publish: Vec<String>,
    /// `STREAM.consumer` pairs it may read through.
    #[serde(default)]
    pub consume: Vec<String>,
    /// Streams whose single messages and state it may look at.
    #[serde(default)]
    pub read: Vec<String>,
    /// Streams whose readers it may see: names and figures of every consumer, no message.
    #[serde(default)]
    pub watch: Vec<String>,
    /// Subjects it may hear as they pass by, besides the wish that it be restarted.
    #[serde(default)]
    pub listen: Vec<String>,
    /// Whether it runs under a lease: key `<name>` of the bucket `leases`.
    #[serde(default)]
    pub lease: bool,
    /// Streams it may set up and look through freely.
    #[serde(default)]
    pub admin: Vec<String>,
}

static DECLARED: LazyLock<File> = LazyLock::new(|| {
    toml_edit::de::from_str(include_str!("../permissions.toml")).expect("permissions.toml is part of the build and tested")
});

/// Every user.
#[must_use]
pub fn users() -> &'static [User] {
    &DECLARED.user
}

impl User {
    /// Every subject the broker lets it publish, the JetStream API included.
    #[must_use]
    pub fn publish_allow(&self) -> Vec<String> {
        let mut allow = self.publish.clone();
        allow.push(subject::heartbeat(&self.name));
        if !self.consume.is_empty() {
            allow.push(format!("parked.{}.>", self.name));
        }
        for pair in &self.consume {
            let (stream, consumer) = pair.split_once('.').unwrap_or((pair, &self.name));
            allow.extend([
                format!("$JS.API.CONSUMER.CREATE.{stream}.{consumer}"),
                format!("$JS.API.CONSUMER.CREATE.{stream}.{consumer}.>"),
                format!("$JS.API.CONSUMER.DELETE.{stream}.{consumer}"),
                format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}"),
                format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            ]);
            if topology::is_work_queue(stream) {
                // nats-server 2.15 knows two forms: this one, and one with domain and account in front (ADR-15).
                allow.extend([format!("$JS.ACK.{stream}.{consumer}.>"), format!("$JS.ACK.*.*.{stream}.{consumer}.>")]);
            }
        }
        for stream in &self.read {
            allow.extend([
                format!("$JS.API.STREAM.INFO.{stream}"),
                format!("$JS.API.STREAM.MSG.GET.{stream}"),
                format!("$JS.API.DIRECT.GET.{stream}"),
                format!("$JS.API.DIRECT.GET.{stream}.>"),
            ]);
        }
        allow.extend(self.watch.iter().map(|stream| format!("$JS.API.CONSUMER.LIST.{stream}")));
        if self.lease {
            let key = lease::subject(&self.name);
            allow.extend([
                key.clone(),
                format!("$JS.API.STREAM.INFO.{}", lease::STREAM),
                format!("$JS.API.STREAM.MSG.GET.{}", lease::STREAM),
                format!("$JS.API.DIRECT.GET.{}.{key}", lease::STREAM),
            ]);
        }
        for stream in &self.admin {
            allow.extend(
                [
                    "STREAM.CREATE",
                    "STREAM.UPDATE",
                    "STREAM.INFO",
                    "STREAM.MSG.GET",
                    "STREAM.MSG.DELETE",
                    "DIRECT.GET",
                    "CONSUMER.LIST",
                    "CONSUMER.NAMES",
                ]
                .map(|call| format!("$JS.API.{call}.{stream}")),
            );
            allow.extend(
                ["DIRECT.GET", "CONSUMER.CREATE", "CONSUMER.DELETE", "CONSUMER.INFO", "CONSUMER.MSG.NEXT"]
                    .map(|call| format!("$JS.API.{call}.{stream}.>")),
            );
        }
        if !self.admin.is_empty() {
            allow.extend(["$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST"].map(ToOwned::to_owned));
        }
        allow
    }

    /// The only subjects it may subscribe to: answers to its own requests, the wish that it be restarted, what it listens to.
    #[must_use]
    pub fn subscribe_allow(&self) -> Vec<String> {
        let own = [format!("{}.>", inbox_prefix(&self.name)), subject::restart(&self.name)];
        own.into_iter().chain(self.listen.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use spark_bus_schema::catalogue::entries;

    use super::*;

    #[test]
    fn only_the_publishers_of_the_catalogue_may_publish_a_kind() {
        for entry in entries() {
            let sample = entry.subject.replace('>', "x");
            for user in users() {
                let declared = entry.publishers.contains(&user.name.as_str());
                let allowed = user.publish.iter().any(|pattern| subject::matches(pattern, &sample));
                // The operator may publish again what was parked.
                if user.name != "operator" && !entry.publishers.contains(&"*") {
                    assert_eq!(allowed, declared, "{} on {}", user.name, entry.subject);
                }
            }
        }
    }
}
