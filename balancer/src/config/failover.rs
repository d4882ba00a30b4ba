//! What is done when a node goes down or comes back: the keys below `failover`.
//! It does not know what is done with them. `config` calls it.

use std::time::Duration;

use shared::config::{Map, Value};

use crate::settings::{Failover, OnDown};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads them; each has a default.
pub(super) fn read(service: &mut Map<'_>) -> Failover {
    let mut failover = Failover::default();
    let Some(mut map) = service.map("failover") else { return failover };
    failover.preempt = map.or("preempt", failover.preempt);
    failover.return_percent = map.within("return_percent", failover.return_percent, 1..=10_000);
    failover.return_time = map.within("return_time", failover.return_time, Duration::ZERO..=DAY);
    failover.on_down = map.or("on_down", failover.on_down);
    failover.close_per_second =
        map.within("close_per_second", failover.close_per_second, 1..=1_000_000);
    failover
}

impl Value for OnDown {
    const ALLOWED: &'static str = "keep, close";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "keep" => Some(Self::Keep),
            "close" => Some(Self::Close),
            _ => None,
        }
    }
}
