//! Does every node answer as its service has it: the port, the PROXY header, the protocol?
//! It does not know the machine. `checkup` calls it; a visit is what a health check does too.

use std::time::Duration;

use shared::checkup::Checkup;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::key;
use crate::backends::{Backend, Backends, Service};
use crate::config::Config;
use crate::interview::visit;
use crate::outcome::Cause;
use crate::settings::{self, Protocol, ProxyProtocol};

/// All visits are made at once, and none may take longer: a check is over in five seconds.
const VISIT_MAX: Duration = Duration::from_secs(2);

/// What one node said.
struct Visited {
    service: usize,
    node: usize,
    /// As the file has it.
    seen: Result<Duration, Cause>,
    /// Another way of introducing the client with which it answers well, where this one fails; no
    /// introduction where it answers well to that too: it does not wait for one, so reads none.
    cure: Option<ProxyProtocol>,
}

pub(super) async fn look(checkup: &mut Checkup, config: &Config) {
    let mut visits = JoinSet::new();
    for (service, settings) in config.services.iter().enumerate() {
        for node in 0..settings.nodes.len() {
            let settings = settings.clone();
            visits.spawn(async move {
                let seen = visit_as(&settings, node, settings.proxy_protocol).await;
                let cure = match seen {
                    Err(cause) if may_be_the_header(cause) => find_cure(&settings, node).await,
                    Ok(_) if ignores_header(&settings, node).await => Some(ProxyProtocol::None),
                    _ => None,
                };
                Visited { service, node, seen, cure }
            });
        }
    }
    let mut all = visits.join_all().await;
    all.sort_by_key(|visited| (visited.service, visited.node));
    for Visited { service, node, seen, cure } in all {
        let settings = &config.services[service];
        tell(checkup, service, settings, node, seen, cure);
    }
}

/// Visits a node by the health check's own steps, with a header of this kind.
async fn visit_as(
    settings: &settings::Service,
    node: usize,
    header: ProxyProtocol,
) -> Result<Duration, Cause> {
    let mut settings = settings.clone();
    settings.proxy_protocol = header;
    let backends = Backends::default();
    backends.replace(vec![settings]);
    let picture = backends.picture();
    let service: &Service = &picture.services[0];
    let backend: &Backend = &service.candidates()[node].backend;
    timeout(VISIT_MAX, visit(backend, service)).await.unwrap_or(Err(Cause::Silent))
}

/// Whether a node that was told too much, or too little, of the client would answer like this.
fn may_be_the_header(cause: Cause) -> bool {
    matches!(cause, Cause::Reset | Cause::Closed | Cause::Busy | Cause::Silent | Cause::Strange)
}

/// Whether a node that is told who the client is would greet without that as well.
async fn ignores_header(settings: &settings::Service, node: usize) -> bool {
    settings.protocol.node_greets_first()
        && settings.proxy_protocol != ProxyProtocol::None
        && visit_as(settings, node, ProxyProtocol::None).await.is_ok()
}

async fn find_cure(settings: &settings::Service, node: usize) -> Option<ProxyProtocol> {
    if !settings.protocol.node_greets_first() {
        return None;
    }
    let try_with = async |header| {
        header != settings.proxy_protocol && visit_as(settings, node, header).await.is_ok()
    };
    // At the same time: a node may be silent to each for as long as a visit may take.
    let [v2, v1, none] = [ProxyProtocol::V2, ProxyProtocol::V1, ProxyProtocol::None];
    let (with_v2, with_v1, without) = tokio::join!(try_with(v2), try_with(v1), try_with(none));
    [(with_v2, v2), (with_v1, v1), (without, none)]
        .into_iter()
        .find_map(|(well, it)| well.then_some(it))
}

fn tell(
    checkup: &mut Checkup,
    service: usize,
    settings: &settings::Service,
    node: usize,
    seen: Result<Duration, Cause>,
    cure: Option<ProxyProtocol>,
) {
    let settings::Node { name, address, .. } = &settings.nodes[node];
    let (at, protocol) = (key(service, &format!("nodes[{node}].address")), settings.protocol);
    let who = format!("{name} at {address}");
    if let Some(cure) = cure {
        let (is, needs) = (name_of(settings.proxy_protocol), name_of(cure));
        let what = match seen {
            Err(_) => format!("with {is} {who} does not greet, with {needs} it does"),
            Ok(_) => format!("{who} greets before it could read a header of {is}: it expects none"),
        };
        return checkup.fault(
            key(service, "proxy_protocol"),
            what,
            format!(
                "set `proxy_protocol: {needs}` here, or let the node expect {is} from this \
                     machine (a mailnode: `proxy_protocol_from`)"
            ),
        );
    }
    match seen {
        Ok(took) => {
            let how = if protocol.node_greets_first() { "greets" } else { "answers" };
            checkup.good(at, format!("{who} {how} after {} ms", took.as_millis()));
        }
        Err(cause) => {
            let (what, remedy) = why(cause, protocol);
            checkup.fault(at, format!("{who} {what}"), remedy);
        }
    }
}

/// What a node's answer, or the want of one, means.
fn why(cause: Cause, protocol: Protocol) -> (&'static str, &'static str) {
    match cause {
        Cause::Refused => {
            ("refuses connections: nothing listens there", "start the node, or correct the address")
        }
        Cause::Unreachable => (
            "cannot be reached: there is no way to it",
            "correct the address, or the routes of this machine (`ip route get ADDRESS`)",
        ),
        Cause::Timeout => (
            "does not answer at all",
            "correct the address, start the machine, or open the port in the firewall between",
        ),
        Cause::Silent if protocol.node_greets_first() => (
            "accepts and says nothing",
            "look into the node's log; it may be overloaded, or wait for a PROXY header",
        ),
        Cause::Silent => ("does not answer", "look into the node's log"),
        Cause::Reset | Cause::Closed => (
            "closes the connection without a word",
            "look into the node's log: it may refuse this machine's address, or expect TLS",
        ),
        Cause::Busy => {
            ("says that it takes nobody now", "`mailnode check` there names what is wrong with it")
        }
        Cause::Strange => (
            "greets in another protocol than this service's",
            "correct the port, or the service's `protocol`",
        ),
        Cause::Overtaken | Cause::Local => (
            "could not be asked: this machine has no port or descriptor left",
            "look at what uses them up (`ss -s`)",
        ),
    }
}

fn name_of(header: ProxyProtocol) -> &'static str {
    match header {
        ProxyProtocol::None => "none",
        ProxyProtocol::V1 => "v1",
        ProxyProtocol::V2 => "v2",
    }
}
