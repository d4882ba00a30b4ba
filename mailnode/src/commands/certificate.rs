//! `mailnode certificate`, and what `mailnode check` says of the one in the settings.
//! It does not know X.509; the room `tls` does.

use std::path::Path;

use super::CommandError;
use super::check::Report;
use crate::clock;
use crate::config::{NodeConfig, read_tls_files};
use crate::mail::date::day;
use crate::tls::{Pair, make_self_signed};

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

/// Everything that is wrong with certificate and key, each fault once.
pub(super) fn check(report: &mut Report, config: &NodeConfig) {
    let Some(files) = &config.tls else {
        if config.plain_text_login {
            report.good("tls: none; passwords are taken without it".to_owned());
        } else {
            report.fault(
                "tls: is missing, and passwords are not taken without it (`plain_text_login`): \
                 most clients cannot log in; give it the keys certificate and key"
                    .to_owned(),
            );
        }
        return;
    };
    let pair = match Pair::look(files) {
        Ok(pair) => pair,
        Err(fault) => return report.fault(fault.to_string()),
    };
    let in_time = pair.in_time(clock::now_us() / 1_000_000);
    let faults: Vec<_> = [in_time, pair.is_for(&config.hostname.0)]
        .into_iter()
        .filter_map(Result::err)
        .map(|fault| fault.to_string())
        .collect();
    if faults.is_empty() {
        let until = pair.lifetime.map_or_else(String::new, |lifetime| day(lifetime.until));
        report.good(format!("tls: certificate and key fit, valid until {until}"));
    }
    faults.into_iter().for_each(|fault| report.fault(fault));
}
