//! TLS at the gateway's own port. The keys in `tests/tls` are for these tests and open nothing.
#![allow(clippy::unwrap_used, reason = "tests may unwrap; clippy sees that only inside test functions")]

mod common;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::running::begin;
use common::{bounded, get, roomy, until};
use spark_gateway::{Config, Error};
use spark_nats::testing::TestBroker;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

/// What a client that trusts one certificate gets.
async fn ask(address: SocketAddr, trusted: &str) -> Result<String, String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file(trusted)).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
    bounded("an answer", async {
        let socket = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.map_err(|error| error.to_string())?;
        stream.write_all(b"GET /api/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        // Whoever closes says so, or not: the answer is whole.
        let _ = stream.read_to_string(&mut text).await;
        Ok(text)
    })
    .await
}

#[tokio::test]
async fn over_tls_everything_is_served_plain_http_is_told_so_and_a_new_certificate_is_taken_up() {
    let broker = TestBroker::start().await;
    let [certificate, key] = ["gateway.crt", "gateway.key"].map(|name| broker.dir().join(name));
    let put = |pair: &str| {
        std::fs::copy(file(&format!("{pair}.key")), &key).unwrap();
        std::fs::copy(file(&format!("{pair}.crt")), &certificate).unwrap();
    };
    put("one");
    let config = Config { tls_cert_file: Some(certificate.clone()), tls_key_file: Some(key.clone()), ..roomy() };
    let gateway = begin(&broker, config).await;
    let text = ask(gateway.address, "one.crt").await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("strict-transport-security: max-age="), "{text}");
    assert!(ask(gateway.address, "two.crt").await.is_err(), "another certificate is not trusted");

    let plain = get(gateway.address, "/health").await;
    assert_eq!(plain.status, 400);
    assert!(plain.body.contains("https://"), "{}", plain.body);

    put("two");
    until("the new certificate is shown", async || ask(gateway.address, "two.crt").await).await;
    std::fs::write(&certificate, "no certificate").unwrap();
    assert!(ask(gateway.address, "two.crt").await.is_ok(), "what cannot be used changes nothing");
    gateway.stop().await;
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let check = |certificate: &str, key: &str, want: &str| {
        let config = Config { tls_cert_file: Some(file(certificate)), tls_key_file: Some(file(key)), ..roomy() };
        let error = spark_gateway::http::tls::Tls::load(&config).err().unwrap();
        assert!(matches!(error, Error::Tls { .. }));
        let text = error.to_string();
        assert!(text.contains(want) && text.contains("gateway.tls_cert_file") && text.contains("would be right"), "{text}");
    };
    check("none.crt", "one.key", "none.crt");
    check("one.crt", "none.key", "none.key");
    check("one.key", "one.key", "BEGIN CERTIFICATE");
    check("one.crt", "two.key", "two.key");
}
