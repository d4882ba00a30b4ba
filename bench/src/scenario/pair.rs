//! Two contenders that each take their turn alone: our balancer and HAProxy, before the same nodes.
//!
//! It does not know what they carry. Called by the scenarios `held` and `slow`.

use crate::machine;
use crate::peers::balancer::{self, Header};
use crate::peers::haproxy::{self, Besides, Bulk};
use crate::peers::{Nodes, Peer};
use crate::process::{Step, Workplace};
use crate::report::Report;

pub(super) const OURS: &str = "ours";
pub(super) const HAPROXY: &str = "haproxy";

/// Starts one of the two for a round, and says in the first how it is set.
pub(super) async fn start(
    name: &'static str,
    round: usize,
    place: &Workplace,
    nodes: &Nodes,
    report: &mut Report,
) -> Step<Peer> {
    let dir = place.room(&format!("{name}-{round}"))?;
    if name == OURS {
        if round == 0 {
            report.setting(OURS, balancer::SETTINGS);
        }
        return balancer::start(&dir, &nodes.addresses, Header::None, "warn").await;
    }
    if round == 0 {
        let version = machine::haproxy_version();
        report.setting(HAPROXY, format!("{version},{}", haproxy::SETTINGS));
    }
    haproxy::start(&dir, &nodes.addresses, Bulk::Copy, Besides::Nothing).await
}
