//! Is every text that is no good told by its faults, each with a place in it, and never a panic?
//! It does not know any binary's keys but those it asks for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::config::read_text;

fuzz_target!(|text: &str| {
    let outcome = read_text("fuzz.yaml", text, &|_| None, |root| {
        let name = root.optional::<String>("name");
        let ports: Vec<u16> = root.list("ports");
        for mut node in root.maps("nodes") {
            let _weight = node.within::<u32>("weight", 1, 1..=256);
        }
        let _time = root.map("health").map(|mut map| map.or("interval", std::time::Duration::ZERO));
        Some((name, ports))
    });
    let Err(faults) = outcome else { return };
    assert!(faults.len() > 0);
    // YAML ends lines by CR too.
    let lines = text.replace("\r\n", "\n").split(['\r', '\n']).count();
    for fault in faults.iter() {
        assert!(fault.line() <= lines, "line {} of {lines}", fault.line());
    }
});
