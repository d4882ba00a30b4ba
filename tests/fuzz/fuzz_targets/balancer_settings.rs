//! Are the balancer's settings either whole and within their limits, or told by faults that each
//! have a place? It does not know what is done with a setting.
#![no_main]

use balancer::config::from_map;
use libfuzzer_sys::fuzz_target;
use shared::config::read_text;

fuzz_target!(|text: &str| {
    let config = match read_text("fuzz.yaml", text, &|_| None, from_map) {
        Ok(config) => config,
        Err(faults) => {
            assert!(faults.len() > 0);
            // YAML ends lines by CR too.
            let lines = text.replace("\r\n", "\n").split(['\r', '\n']).count();
            assert!(faults.iter().all(|fault| fault.line() <= lines));
            return;
        }
    };
    assert!(!config.services.is_empty());
    for service in &config.services {
        assert!(!service.listen.is_empty() && !service.nodes.is_empty());
        assert!((1..=63).contains(&service.name.0.len()));
        assert!(service.nodes.iter().all(|node| (1..=256).contains(&node.weight)));
        let twice = |at: usize| {
            service.nodes[..at].iter().any(|one| one.name == service.nodes[at].name)
        };
        assert!(!(0..service.nodes.len()).any(twice), "a name names two nodes");
        assert!(service.health.rise > 0 && service.health.fall > 0);
        assert!(!service.timeouts.idle.is_zero() && !service.timeouts.vanished.is_zero());
    }
});
