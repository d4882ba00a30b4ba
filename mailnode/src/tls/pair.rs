//! A certificate and its key as they lie in two files: read, held against one another, judged.
//! It does not know whether a node runs on them; `Tls` and `mailnode check` ask.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

use super::certificate::{Lifetime, lifetime};
use super::{TlsFiles, provider};
use crate::mail::date::day;

/// What is wrong with the two files; each names the key of the settings file and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum PairFault {
    /// A file cannot be read.
    #[error("tls.{0}: {path}: {2}: give a file this user can read, PEM", path = .1.display())]
    Unreadable(&'static str, PathBuf, io::Error),
    /// No certificate in it, or one that is cut off.
    #[error(
        "tls.certificate: {path}: {1}: it needs a PEM block `BEGIN CERTIFICATE`, the server's own \
         first, then those up to the authority", path = .0.display()
    )]
    NoCertificate(PathBuf, String),
    /// No private key in it, or an encrypted one.
    #[error(
        "tls.key: {path}: {1}: it needs a PEM block `BEGIN PRIVATE KEY` without a pass phrase \
         (openssl pkey -in OLD -out NEW takes that off)", path = .0.display()
    )]
    NoKey(PathBuf, String),
    /// A key of a kind that is not served.
    #[error("tls.key: {path}: {1}: take RSA of 2048 bits or more, P-256, P-384 or Ed25519",
        path = .0.display())]
    KeyUnfit(PathBuf, rustls::Error),
    /// Each is good, but they are not of one another.
    #[error(
        "tls.key: {key} does not fit the first certificate in {certificate}: give the key that \
         certificate was made for, and that certificate first",
        key = .0.key.display(), certificate = .0.certificate.display()
    )]
    NotOfOneAnother(TlsFiles),
    /// Its first day has not come.
    #[error("tls.certificate: {path} is valid only from {1} on: is this machine's clock right?",
        path = .0.display())]
    NotYet(PathBuf, String),
    /// Its last day is over.
    #[error("tls.certificate: {path} has expired on {1}: renew it; it is read anew by itself",
        path = .0.display())]
    Expired(PathBuf, String),
    /// It names other hosts.
    #[error(
        "tls.certificate: {path} is not for {1} (`hostname`), clients will refuse it; it names: \
         {2}", path = .0.display()
    )]
    OtherName(PathBuf, String, String),
}

/// A certificate chain and its key, fit for one another.
#[derive(Debug)]
pub struct Pair {
    pub(super) certified: Arc<CertifiedKey>,
    /// From when to when it is valid; `None` where that cannot be read.
    pub lifetime: Option<Lifetime>,
    file: PathBuf,
}

impl Pair {
    /// Reads both files, for a look at them.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn look(files: &TlsFiles) -> Result<Self, PairFault> {
        Self::read(files, &provider())
    }

    pub(super) fn read(files: &TlsFiles, provider: &CryptoProvider) -> Result<Self, PairFault> {
        let (path, key_path) = (files.certificate.clone(), files.key.clone());
        let text = read("certificate", &path)?;
        let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
        let chain = match chain {
            Ok(chain) if !chain.is_empty() => chain,
            Ok(_) => return Err(PairFault::NoCertificate(path, "no certificate in it".into())),
            Err(error) => return Err(PairFault::NoCertificate(path, error.to_string())),
        };
        let lifetime = lifetime(&chain[0]);
        let key = PrivateKeyDer::from_pem_slice(&read("key", &key_path)?)
            .map_err(|error| PairFault::NoKey(key_path.clone(), error.to_string()))?;
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|error| PairFault::KeyUnfit(key_path, error))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => Ok(Self { certified: Arc::new(certified), lifetime, file: path }),
            Err(rustls::Error::InvalidCertificate(error))
                if error != rustls::CertificateError::BadEncoding =>
            {
                Err(PairFault::NotOfOneAnother(files.clone()))
            }
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(PairFault::NotOfOneAnother(files.clone()))
            }
            Err(error) => Err(PairFault::NoCertificate(path, error.to_string())),
        }
    }

    /// Whether it is valid at this second since 1970.
    ///
    /// # Errors
    /// It is not yet, or no longer.
    pub fn in_time(&self, now: i64) -> Result<(), PairFault> {
        match self.lifetime {
            Some(Lifetime { from, .. }) if now < from => {
                Err(PairFault::NotYet(self.file.clone(), day(from)))
            }
            Some(Lifetime { until, .. }) if now > until => {
                Err(PairFault::Expired(self.file.clone(), day(until)))
            }
            _ => Ok(()),
        }
    }

    /// Whether it is for a host of this name.
    ///
    /// # Errors
    /// It names others.
    pub fn is_for(&self, hostname: &str) -> Result<(), PairFault> {
        let other =
            |names: String| PairFault::OtherName(self.file.clone(), hostname.to_owned(), names);
        let Some(first) = self.certified.cert.first() else { return Err(other(String::new())) };
        let parsed = ParsedCertificate::try_from(first).map_err(|e| other(e.to_string()))?;
        let name = ServerName::try_from(hostname).map_err(|e| other(e.to_string()))?;
        verify_server_name(&parsed, &name).map_err(|error| match error {
            rustls::Error::InvalidCertificate(
                rustls::CertificateError::NotValidForNameContext { presented, .. },
            ) => other(presented.join(", ")),
            error => other(error.to_string()),
        })
    }
}

/// A file of at most 1 MiB.
fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, PairFault> {
    use std::io::Read;
    let mut text = Vec::new();
    let file = std::fs::File::open(path).and_then(|file| file.take(1 << 20).read_to_end(&mut text));
    file.map_err(|error| PairFault::Unreadable(key, path.to_owned(), error))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::make_self_signed;
    use super::*;

    fn made(directory: &Path, name: &str, days: u32) -> TlsFiles {
        let files = TlsFiles {
            certificate: directory.join(format!("{name}.pem")),
            key: directory.join(format!("{name}.key")),
        };
        make_self_signed(&files, &[name.to_owned()], days, false).unwrap();
        files
    }

    #[test]
    fn each_fault_is_told_with_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let good = made(directory.path(), "mx.example.test", 30);
        let other = made(directory.path(), "other.example.test", 30);
        let pair = Pair::look(&good).unwrap();
        let now = crate::clock::now_us() / 1_000_000;
        pair.in_time(now).unwrap();
        pair.is_for("mx.example.test").unwrap();
        let junk = directory.path().join("junk");
        std::fs::write(&junk, "nothing\n").unwrap();
        let told = |fault: Result<Pair, PairFault>| fault.unwrap_err().to_string();
        let with = |certificate: &Path, key: &Path| {
            told(Pair::look(&TlsFiles { certificate: certificate.into(), key: key.into() }))
        };
        for (fault, part) in [
            (with(&good.certificate, &other.key), "does not fit the first certificate"),
            (with(&junk, &good.key), "tls.certificate: "),
            (with(&good.certificate, &junk), "tls.key: "),
            (with(Path::new("/nowhere"), &good.key), "tls.certificate: /nowhere: No such file"),
            (with(&good.certificate, Path::new("/nowhere")), "tls.key: /nowhere: No such file"),
            (pair.in_time(now + 31 * 86_400).unwrap_err().to_string(), "has expired on 2"),
            (pair.in_time(now - 3 * 86_400).unwrap_err().to_string(), "only from"),
            (pair.is_for("a.test").unwrap_err().to_string(), "mx.example.test"),
        ] {
            assert!(fault.contains(part), "{part:?} is not in {fault:?}");
        }
    }
}
