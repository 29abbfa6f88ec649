//! Several servers that hold every message in common: one configuration a node, the same users in each.

use std::fs;
use std::path::Path;

use crate::error::Error;
use crate::identities::{self, Identities};

/// The user that nodes are to each other.
const ROUTE_USER: &str = "route";
/// Where a node listens for the others, unless it is told.
const ROUTE_PORT: u16 = 6222;

/// One node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name: server name, host name, name of its file.
    pub name: String,
    /// `host:port` where the other nodes reach it.
    pub route: String,
}

impl Node {
    /// From `NAME` (reached at `NAME:6222`) or `NAME=HOST:PORT`.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, route) = match text.split_once('=') {
            Some((name, route)) => (name, route.to_owned()),
            None => (text, format!("{text}:{ROUTE_PORT}")),
        };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(format!("{name:?} is not a node's name; letters, digits and hyphens make one, like nats-1"));
        }
        let (host, port) = route.rsplit_once(':').unwrap_or((&route, ""));
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(format!("{route:?} is not an address; write NAME or NAME=HOST:PORT, like nats-1=10.0.0.1:{ROUTE_PORT}"));
        }
        Ok(Self { name: name.to_owned(), route })
    }
}

/// All nodes, and the password by which they know each other.
pub struct Cluster {
    nodes: Vec<Node>,
    secret: String,
}

impl Cluster {
    /// With these nodes, and the password in `<dir>/keys/cluster.secret`, which is made when it is missing (mode 0600).
    ///
    /// # Errors
    /// Not three or five nodes, two of one name, or the file cannot be read or written.
    pub fn open_or_create(dir: &Path, nodes: Vec<Node>) -> Result<Self, Error> {
        // Two nodes have no majority without each other, four no more of one than three.
        if !matches!(nodes.len(), 3 | 5) {
            return Err(Error::Definition(format!(
                "{} nodes: a cluster has 3 or 5, so that a majority is left without one",
                nodes.len()
            )));
        }
        let twice = nodes
            .iter()
            .enumerate()
            .find(|(index, node)| nodes.iter().take(*index).any(|other| other.name == node.name || other.route == node.route));
        if let Some((_, node)) = twice {
            return Err(Error::Definition(format!("node {}: its name or address is another one's too", node.name)));
        }
        Ok(Self { nodes, secret: secret(&dir.join("keys").join("cluster.secret"))? })
    }

    /// Its nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The text of one node's configuration, which holds the password. `route_listen` is where it listens for the others.
    #[must_use]
    pub fn configuration(
        &self,
        node: &Node,
        [listen, monitor, route_listen]: [&str; 3],
        store: &Path,
        identities: Option<&Identities>,
    ) -> String {
        let secret = &self.secret;
        let others = self.nodes.iter().filter(|other| *other != node);
        let routes: Vec<String> =
            others.map(|other| format!("    \"nats-route://{ROUTE_USER}:{secret}@{}\"\n", other.route)).collect();
        let block = format!(
            "cluster {{\n  name: spark\n  listen: {route_listen}\n  authorization {{ user: {ROUTE_USER}, password: \"{secret}\" }}\n  \
             routes: [\n{}  ]\n}}",
            routes.concat()
        );
        super::fill(&node.name, listen, monitor, store, &block, identities)
    }
}

fn secret(path: &Path) -> Result<String, Error> {
    let failed = |action, source| Error::File { action, path: path.to_owned(), source };
    if path.exists() {
        return fs::read_to_string(path).map(|text| text.trim().to_owned()).map_err(|source| failed("read", source));
    }
    // A fresh seed is 256 random bits in letters and digits.
    let made = nkeys::KeyPair::new_user().seed().map_err(|error| Error::Definition(format!("make a password: {error}")))?;
    identities::keep(path, &made).map_err(|source| failed("write", source))?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_a_name_with_or_without_an_address() {
        let check = |text: &str, want: Result<(&str, &str), &str>| match (Node::parse(text), want) {
            (Ok(node), Ok((name, route))) => assert_eq!((node.name.as_str(), node.route.as_str()), (name, route)),
            (Err(said), Err(part)) => assert!(said.contains(part), "{text}: {said}"),
            (got, want) => panic!("{text}: {got:?}, not {want:?}"),
        };
        check("nats-1", Ok(("nats-1", "nats-1:6222")));
        check("a=127.0.0.1:7000", Ok(("a", "127.0.0.1:7000")));
        check("", Err("is not a node's name"));
        check("a b", Err("is not a node's name"));
        check("a=host", Err("is not an address"));
        check("a=host:99999", Err("is not an address"));
        check("a=:1", Err("is not an address"));
    }
}
