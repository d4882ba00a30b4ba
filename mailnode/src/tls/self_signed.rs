//! A certificate without an authority: for the local cluster, tests and first steps.
//! It does not know who will trust it; `mailnode certificate self-signed` asks for one.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};

use super::TlsFiles;
use super::certificate::lifetime;
use crate::clock;
use crate::mail::date::day;

const DAY_S: i64 = 86_400;

/// Why none was made.
#[derive(Debug, thiserror::Error)]
pub enum SelfSignedFault {
    /// A name or a number that no certificate can have.
    #[error("the certificate cannot be made: {0}")]
    Unfit(#[from] rcgen::Error),
    /// There is a file already.
    #[error("{path} is there already: `--replace` puts another in its place", path = .0.display())]
    There(PathBuf),
    /// A file cannot be written.
    #[error("{path}: {1}", path = .0.display())]
    Unwritable(PathBuf, io::Error),
}

/// Makes a P-256 key and a certificate for `names` (host names and addresses) that is valid from
/// yesterday on for `days` days, and writes both. Returns its last day.
///
/// # Errors
/// Nothing was made, or one file could not be written; what was there before stays.
pub fn make(
    files: &TlsFiles,
    names: &[String],
    days: u32,
    replace: bool,
) -> Result<String, SelfSignedFault> {
    for file in [&files.certificate, &files.key] {
        if !replace && file.exists() {
            return Err(SelfSignedFault::There(file.clone()));
        }
    }
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, names.first().map_or("mailnode", String::as_str));
    params.distinguished_name = subject;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let today = clock::now_us() / 1_000_000;
    let (year, month, of_month) = date(today - DAY_S);
    params.not_before = rcgen::date_time_ymd(year, month, of_month);
    let (year, month, of_month) = date(today + i64::from(days) * DAY_S);
    params.not_after = rcgen::date_time_ymd(year, month, of_month);
    let certificate = params.self_signed(&key)?;
    // The key first: a node that looks in between finds a pair that does not fit, and waits.
    write(&files.key, &key.serialize_pem())?;
    write(&files.certificate, &certificate.pem())?;
    Ok(lifetime(certificate.der()).map_or_else(String::new, |lifetime| day(lifetime.until)))
}

/// Year, month and day; never one that is none.
fn date(seconds: i64) -> (i32, u8, u8) {
    let text = day(seconds);
    let mut parts = text.split('-');
    let year = parts.next().and_then(|year| year.parse().ok()).unwrap_or(1970);
    let mut part = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(1);
    (year, part(), part())
}

/// Writes a file beside it, readable for its owner alone, and puts it in its place.
fn write(file: &Path, text: &str) -> Result<(), SelfSignedFault> {
    let unwritable = |error| SelfSignedFault::Unwritable(file.to_owned(), error);
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let _absent = std::fs::remove_file(&new);
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
    let mut opened = opened.map_err(unwritable)?;
    opened.write_all(text.as_bytes()).and_then(|()| opened.sync_all()).map_err(unwritable)?;
    std::fs::rename(&new, file).map_err(unwritable)
}
