//! TLS (RFC 8446, RFC 5246): one certificate for all of a node's ports, changed without a restart.
//! It does not know protocols: `wire` shakes hands with what is here, `run` has it watched.

pub mod certificate;
mod pair;
mod self_signed;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use shared::shutdown::Stop;
use tokio::signal::unix::{SignalKind, signal};

pub use self::pair::{Pair, PairFault};
pub use self::self_signed::{SelfSignedFault, make as make_self_signed};
use crate::{clock, metrics};

/// How often the files' time stamps are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Where the certificate and its key lie, PEM both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate first, then those between it and the authority.
    pub certificate: PathBuf,
    /// Its private key: PKCS #8, SEC 1 or PKCS #1.
    pub key: PathBuf,
}

/// TLS of a running node; a copy is a handle to the same one.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    current: Arc<Current>,
    files: TlsFiles,
}

/// The pair in force: every handshake asks for it anew, open connections go on with theirs.
#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Tls {
    /// Reads the pair and makes TLS 1.2 and 1.3 of it. A pair that is whole but out of date is
    /// taken, and told: a start after its last day must not take plain-text ports away too.
    ///
    /// # Errors
    /// Why there is no TLS with these files; nothing was started.
    pub fn open(files: &TlsFiles) -> Result<Self, PairFault> {
        let pair = Pair::read(files, &provider())?;
        if let Err(fault) = pair.in_time(clock::now_us() / 1_000_000) {
            tracing::error!(%fault, "clients will refuse this certificate");
        }
        metrics::certificate(pair.lifetime);
        let current = Arc::new(Current(ArcSwap::new(pair.certified)));
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| PairFault::KeyUnfit(files.key.clone(), error))?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(current.clone());
        // A resumed session spares the client a round trip; only the node that gave the ticket
        // can take it, all others shake hands in full.
        if let Ok(tickets) = ring::Ticketer::new() {
            config.ticketer = tickets;
        }
        config.send_tls13_tickets = 1;
        Ok(Self { config: Arc::new(config), current, files: files.clone() })
    }

    /// What `wire` shakes hands with.
    pub fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        tokio_rustls::TlsAcceptor::from(self.config.clone())
    }

    /// Puts what lies in the files now in force, or keeps what is: a half-written or bad pair
    /// costs nobody a connection.
    fn reload(&self) {
        let now = clock::now_us() / 1_000_000;
        let read = Pair::read(&self.files, &provider());
        match read.and_then(|pair| pair.in_time(now).map(|()| pair)) {
            Ok(pair) => {
                metrics::certificate(pair.lifetime);
                metrics::certificate_reload("new");
                tracing::info!(file = %self.files.certificate.display(), "a new certificate");
                self.current.0.store(pair.certified);
            }
            Err(fault) => {
                metrics::certificate_reload("refused");
                tracing::error!(%fault, "the certificate stays as it was");
            }
        }
    }

    /// Looks at the files every few seconds, and at once on SIGHUP, until the stop.
    pub async fn watch(self, stop: Stop) {
        let mut seen = self.stamps().await;
        let mut hangup = signal(SignalKind::hangup()).ok();
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => false,
                () = next(&mut hangup) => true,
                () = stop.requested() => return,
            };
            let stamps = self.stamps().await;
            if stamps == seen && !asked {
                continue;
            }
            seen = stamps;
            let tls = self.clone();
            if tokio::task::spawn_blocking(move || tls.reload()).await.is_err() {
                tracing::error!("the certificate could not be looked at");
            }
        }
    }

    /// When each file was changed, and its size and number: a rename is a change too.
    async fn stamps(&self) -> [Option<(SystemTime, u64, u64)>; 2] {
        use std::os::unix::fs::MetadataExt;
        let mut stamps = [None, None];
        for (stamp, file) in stamps.iter_mut().zip([&self.files.certificate, &self.files.key]) {
            let Ok(found) = tokio::fs::metadata(file).await else { continue };
            *stamp = found.modified().ok().map(|time| (time, found.len(), found.ino()));
        }
        stamps
    }
}

/// A node without a certificate has nothing to read anew: SIGHUP must not end it.
pub fn ignore_hangup() {
    // Once listened to, the signal never ends the process again, whoever stops listening.
    drop(signal(SignalKind::hangup()));
}

async fn next(signals: &mut Option<tokio::signal::unix::Signal>) {
    match signals {
        Some(signals) => {
            signals.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Ring, and nothing else.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
