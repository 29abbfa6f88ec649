//! TLS at the gateway's own port: certificate and key from PEM files, read again when they are others.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

use crate::config::Config;
use crate::error::Error;

/// It is looked this often whether the files are others.
const LOOK: Duration = Duration::from_secs(5);

/// Certificate and key.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    held: Mutex<Held>,
}

struct Held {
    acceptor: TlsAcceptor,
    stamps: [Stamp; 2],
    looked: Instant,
}

type Stamp = Option<(u64, u64, i64, i64)>;

impl Tls {
    /// As configured; none without files.
    ///
    /// # Errors
    /// A file cannot be read or does not hold what it should, or key and certificate do not fit.
    pub fn load(config: &Config) -> Result<Option<Arc<Self>>, Error> {
        let (Some(certificate), Some(key)) = (&config.tls_cert_file, &config.tls_key_file) else { return Ok(None) };
        let stamps = [stamp(certificate), stamp(key)];
        let acceptor = read(certificate, key)?;
        let held = Mutex::new(Held { acceptor, stamps, looked: Instant::now() });
        Ok(Some(Arc::new(Self { certificate: certificate.clone(), key: key.clone(), held })))
    }

    /// What makes a TLS connection of the next socket. New files that cannot be used are reported once, and the old ones stay.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.looked.elapsed() >= LOOK {
            held.looked = Instant::now();
            self.look(&mut held);
        }
        held.acceptor.clone()
    }

    fn look(&self, held: &mut Held) {
        let stamps = [stamp(&self.certificate), stamp(&self.key)];
        if stamps == held.stamps {
            return;
        }
        held.stamps = stamps;
        match read(&self.certificate, &self.key) {
            Ok(acceptor) => {
                held.acceptor = acceptor;
                tracing::info!(certificate = %self.certificate.display(), "the new certificate is in use");
            }
            Err(error) => {
                tracing::error!(error = spark_nats::text(&error), "the new certificate cannot be used; the old one stays");
            }
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let about = std::fs::metadata(path).ok()?;
    Some((about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
}

fn read(certificate: &Path, key: &Path) -> Result<TlsAcceptor, Error> {
    let wrong = |path: &Path, what: String| Error::Tls { path: path.to_owned(), what };
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| wrong(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(certificate, "no `BEGIN CERTIFICATE` in it".to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error.to_string()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(certificate, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| wrong(certificate, format!("with the key in {}: {error}", key.display())))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
