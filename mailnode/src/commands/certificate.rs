//! `mailnode certificate`: a self-signed one for first steps.
//! It does not know X.509; the room `tls` does.

use std::path::Path;

use super::CommandError;
use crate::config::read_tls_files;
use crate::tls::make_self_signed;

pub(super) fn self_signed(
    file: &Path,
    names: &[String],
    days: u32,
    replace: bool,
) -> Result<(), CommandError> {
    let files = read_tls_files(file)?;
    let made = make_self_signed(&files, names, days, replace);
    let until = made.map_err(|fault| CommandError::Failed(fault.to_string()))?;
    println!(
        "{} is for {} until {until}; its key is {}",
        files.certificate.display(),
        names.join(", "),
        files.key.display()
    );
    Ok(())
}
