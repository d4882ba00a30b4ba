//! Are certificate and key fit to be served? It does not know X.509; the room `tls` does.
//! `checkup` calls it.

use shared::checkup::Checkup;

use crate::clock;
use crate::config::NodeConfig;
use crate::mail::date::day;
use crate::tls::{Pair, PairFault};

pub(super) fn look(checkup: &mut Checkup, config: &NodeConfig) {
    let Some(files) = &config.tls else {
        if config.plain_text_login {
            checkup.good("tls", "none; passwords are taken without it");
        } else {
            checkup.fault(
                "tls",
                "is missing, and passwords are not taken without it (`plain_text_login`): most \
                 clients cannot log in",
                "give it the keys certificate and key; `mailnode certificate self-signed NAME` \
                 makes a pair for first steps",
            );
        }
        return;
    };
    let pair = match Pair::look(files) {
        Ok(pair) => pair,
        Err(fault) => return tell(checkup, &fault),
    };
    let in_time = pair.in_time(clock::now_us() / 1_000_000);
    let faults = [in_time, pair.is_for(&config.hostname.0)].into_iter().filter_map(Result::err);
    let faults: Vec<_> = faults.collect();
    if faults.is_empty() {
        let until = pair.lifetime.map_or_else(String::new, |lifetime| day(lifetime.until));
        checkup.good("tls.certificate", format!("it fits key and hostname, valid until {until}"));
    }
    faults.iter().for_each(|fault| tell(checkup, fault));
}

/// A fault's own words are `key: what: remedy`.
fn tell(checkup: &mut Checkup, fault: &PairFault) {
    let text = fault.to_string();
    let (key, rest) = text.split_once(": ").unwrap_or(("tls", &text));
    let (what, remedy) = rest.rsplit_once(": ").unwrap_or((rest, "give a pair that fits"));
    checkup.fault(key, what, remedy);
}
