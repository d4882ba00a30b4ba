//! `bench failover`: a client every millisecond while one of three nodes goes wrong; our balancer
//! beside HAProxy set as well as it can be, each before nodes of its own, at the same time.
//!
//! It does not know how a node goes wrong or what a client counts (`faults` does). Called by
//! `main`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::faults::network::Drops;
use crate::faults::node::Port;
use crate::faults::visits::{self, Tally};
use crate::faults::{Fault, Voice};
use crate::machine;
use crate::outages::{Outages, Row, Seen};
use crate::peers::front::{Front, ServiceOf};
use crate::peers::{balancer, haproxy};
use crate::process::{Daemon, Sign, Step, Workplace, free_address};

use super::Options;

const OURS: &str = "ours";
const HAPROXY: &str = "haproxy";

/// Protocols that are measured at the same time, each as a service of its own.
const PAIRS: [[Voice; 2]; 2] = [[Voice::Smtp, Voice::Pop3], [Voice::Imap, Voice::Tls]];

/// A run in which the clients' own clock was later than this is done again, while the allowance
/// lasts: something else used the processors.
const LATE_MAX: Duration = Duration::from_millis(8);

/// How far into the run the fault begins: time to learn how the nodes usually are.
const LEARNING: f64 = 0.2;

/// One contender with its nodes, for one fault and one pair of protocols.
struct Stand {
    name: &'static str,
    services: Vec<ServiceOf>,
    nodes: Vec<Node>,
    front: Front,
}

/// A node in a process of its own.
struct Node {
    room: PathBuf,
    ports: Vec<Port>,
    daemon: Option<Daemon>,
}

/// Runs the bench.
pub(crate) async fn run(options: &Options) -> Step<Outages> {
    let place = Workplace::new(&options.parents)?;
    let names = options.choose(&[OURS, HAPROXY])?;
    let mut outages = Outages::new(names.clone());
    outages.setting(OURS, balancer::SHIPPED);
    if names.contains(&HAPROXY) {
        outages.setting(HAPROXY, format!("{}, {}", machine::haproxy_version(), haproxy::TUNED));
    }
    let faults = if options.tiny { &Fault::ALL[..1] } else { &Fault::ALL[..] };
    let (mut again, mut stand) = (options.again_max, 0);
    let all = (0..options.rounds).flat_map(|_| faults);
    for (fault, pair) in all.flat_map(|fault| PAIRS.iter().map(move |pair| (*fault, pair))) {
        loop {
            let mut stands = Vec::new();
            for name in &names {
                stand += 1;
                let room = place.room(&format!("{name}-{stand}"))?;
                stands.push(Stand::build(name, fault, pair, room).await?);
            }
            let seen = measure(&mut stands, fault, options.run).await?;
            let late = seen.iter().map(|one| one.tally.late).max().unwrap_or_default();
            if late <= LATE_MAX || again == 0 {
                seen.iter().for_each(|one| outages.add(one));
                break;
            }
            again -= 1;
        }
    }
    outages.note(format!("{} runs were done again", options.again_max - again));
    Ok(outages)
}

/// One fault for all stands at once.
async fn measure(stands: &mut [Stand], fault: Fault, time: Duration) -> Step<Vec<Seen>> {
    let mut before = Vec::new();
    for stand in &*stands {
        before.push(stand.front.retries(&stand.services).await?);
    }
    let clients: Vec<Vec<JoinHandle<Tally>>> = stands
        .iter()
        .map(|stand| {
            let services = stand.services.iter();
            let run =
                |service: &ServiceOf| tokio::spawn(visits::run(service.voice, service.front, time));
            services.map(run).collect()
        })
        .collect();
    tokio::time::sleep(time.mul_f64(LEARNING)).await;
    let _dropped = strike(stands, fault).await?;
    let mut tallies = Vec::new();
    for clients in clients {
        for client in clients {
            tallies.push(client.await.unwrap_or_default());
        }
    }
    let (mut tallies, mut seen) = (tallies.into_iter(), Vec::new());
    for (stand, before) in stands.iter().zip(before) {
        let after = stand.front.retries(&stand.services).await?;
        for ((service, before), after) in stand.services.iter().zip(before).zip(after) {
            let row = Row { fault, voice: service.voice };
            let (tally, moved) = (tallies.next().unwrap_or_default(), after.saturating_sub(before));
            seen.push(Seen { row, contender: stand.name, tally, moved });
        }
    }
    Ok(seen)
}

/// Lets the fault befall the first node of every stand. Whatever starts a program does so in
/// another thread: this one has clients to send.
async fn strike(stands: &mut [Stand], fault: Fault) -> Step<Option<Drops>> {
    let victims = || stands.iter().map(|stand| &stand.nodes[0]);
    match fault {
        Fault::Killed => victims().for_each(|node| node.signal(Signal::KILL)),
        Fault::Frozen => victims().for_each(|node| node.signal(Signal::STOP)),
        Fault::Slow | Fault::Closes | Fault::Refuses | Fault::Silent | Fault::Resets => {
            victims().for_each(|node| node.signal(Signal::USR1));
        }
        Fault::Dropped => {
            let ports: Vec<u16> =
                victims().flat_map(|node| &node.ports).map(|port| port.address.port()).collect();
            return in_a_thread(move || Drops::begin(&ports)).await.map(Some);
        }
        Fault::Returns => {
            for stand in stands {
                let (room, ports) = (stand.nodes[0].room.clone(), stand.nodes[0].ports.clone());
                let start = move || Node::start(&room, fault, &ports);
                stand.nodes[0].daemon = Some(in_a_thread(start).await?);
            }
        }
    }
    Ok(None)
}

async fn in_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Step<T> + Send + 'static,
) -> Step<T> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(crate::process::Failure(error.to_string())),
    }
}

impl Stand {
    /// Three nodes and the contender before them, ready.
    async fn build(
        name: &'static str,
        fault: Fault,
        voices: &[Voice],
        room: PathBuf,
    ) -> Step<Self> {
        let mut nodes = Vec::new();
        for number in 0..3 {
            let room = room.join(format!("node{number}"));
            std::fs::create_dir(&room)?;
            let address = |voice: &Voice| Ok(Port { voice: *voice, address: free_address()? });
            let ports = voices.iter().map(address).collect::<Step<Vec<_>>>()?;
            let absent = fault == Fault::Returns && number == 0;
            let daemon = if absent { None } else { Some(Node::start(&room, fault, &ports)?) };
            nodes.push(Node { room, ports, daemon });
        }
        for node in &mut nodes {
            node.ready().await?;
        }
        let mut services = Vec::new();
        for (number, voice) in voices.iter().enumerate() {
            let addresses: Vec<SocketAddr> =
                nodes.iter().map(|node| node.ports[number].address).collect();
            services.push(ServiceOf { voice: *voice, front: free_address()?, nodes: addresses });
        }
        let front = match name {
            OURS => balancer::start_as_shipped(&room, &services).await?,
            _ => haproxy::start_tuned(&room, &services).await?,
        };
        Ok(Self { name, services, nodes, front })
    }
}

impl Node {
    fn start(room: &std::path::Path, fault: Fault, ports: &[Port]) -> Step<Daemon> {
        let mut program = Command::new(std::env::current_exe()?);
        program.args(["fault-node", "--fault", fault.name()]);
        program.args(ports.iter().map(ToString::to_string));
        Daemon::start("node", room, &program)
    }

    async fn ready(&mut self) -> Step<()> {
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        for port in &self.ports {
            daemon.ready(Sign::Answer(port.address, port.voice.hello())).await?;
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(daemon) = &self.daemon {
            daemon.signal(signal);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It keeps nothing, and a frozen one hears nothing else.
        self.signal(Signal::KILL);
    }
}
