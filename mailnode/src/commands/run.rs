//! `mailnode run`: a node's life as a table of contents.
//! It does not know what any part does; it builds them, starts them, waits, and ends them in order.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::address_limit::AddressLimit;
use shared::admin::{self, Desk};
use shared::listener::{ConnectionLimit, Listener, accept_loop};
use shared::metrics::Recorder;
use shared::shutdown::{Stop, TerminateSignals};

use super::CommandError;
use crate::auth::Authority;
use crate::clock;
use crate::condition::{self, Condition};
use crate::config::{NodeConfig, SweepConfig};
use crate::delivery::Deliveries;
use crate::journal::Journal;
use crate::mail::Identities;
use crate::metrics::{self, Protocol};
use crate::node::{Node, welcome};
use crate::process::ProcessIdentity;
use crate::spool::Temp;
use crate::store::{FileStore, HEARTBEAT_INTERVAL, Holder, Store, StoreError};
use crate::tls::Tls;
use crate::{pop3, smtp};

/// How long a start waits for a namesake on another machine to be silent long enough.
const NAMESAKE_PATIENCE: Duration = Duration::from_secs(12);
/// How long an end waits for the last lines of the event log.
const LAST_LINES_PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn run(file: &Path) -> Result<(), CommandError> {
    let config = NodeConfig::read(file)?;
    shared::logging::start(&config.store.log);
    let recorder = Recorder::install().map_err(|error| CommandError::failed("metrics", error))?;
    metrics::describe(&config.node.0);
    let mut signals = TerminateSignals::listen();

    let orphan_age = config.store.sweep.orphan_age;
    let store = Store::open(&config.store.database, &config.store.mail, orphan_age).await?;
    let name = config.node.0.clone();
    let epoch = register(&store, &name).await?;
    // From here on this run owns the name: temp may be swept, the log directory written.
    let outcome = live(&config, &store, epoch, recorder, &mut signals).await;
    if let Err(error) = store.release_node(name, epoch).await {
        tracing::warn!(%error, "the node's name could not be released");
    }
    outcome
}

/// From the first open port to the last closed one.
async fn live(
    config: &NodeConfig,
    store: &Store,
    epoch: i64,
    recorder: Recorder,
    signals: &mut TerminateSignals,
) -> Result<(), CommandError> {
    let listeners = bind(config)?;
    let admin = listen(config.admin, "admin")?;
    let logs = FileStore::new(&config.store.logs, store.cluster());
    let (journal, journal_task) = Journal::start(logs.clone(), config.node.0.clone());
    let node = Arc::new(build(config, store.clone(), journal, epoch)?);
    node.condition.look(store, &logs).await;

    let last = Stop::new(); // requested when the sessions are gone
    let desk = Arc::new(NodeDesk { condition: node.condition.clone(), stop: node.stop.clone() });
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(admin::serve(admin, recorder, desk, last.clone()));
    tasks.spawn(condition::watch(node.condition.clone(), store.clone(), logs, last.clone()));
    tasks.spawn(sweep_now_and_then(store.clone(), config.store.sweep, last.clone()));
    let limit = ConnectionLimit::new(config.limits.connections_max);
    crate::tls::ignore_hangup();
    match &node.tls {
        Some(tls) => drop(tasks.spawn(tls.clone().watch(last.clone()))),
        None if config.plain_text_login => {}
        None => tracing::warn!("neither `tls` nor `plain_text_login`: most clients cannot log in"),
    }
    for (listener, protocol) in listeners {
        tasks.spawn(take_clients(listener, protocol, limit.clone(), node.clone()));
    }
    tracing::info!(node = config.node.0, epoch, cluster = store.cluster(), "started");

    let outcome = tokio::select! {
        signal = signals.next() => { tracing::info!(signal, "stopping"); Ok(()) }
        lost = keep_name(store, &node) => Err(lost),
    };
    node.stop.request();
    let left = tokio::select! {
        left = node.stop.emptied(config.drain_timeout) => left,
        _ = keep_name(store, &node) => node.stop.guests(), // what they hold is void
        _ = signals.next() => node.stop.guests(), // a second signal: now
    };
    last.request();
    drop(node);
    if left == 0 {
        // Nobody is left to write another line of the event log: wait for those on their way.
        while tasks.join_next().await.is_some() {}
        drop(tokio::time::timeout(LAST_LINES_PATIENCE, journal_task).await);
    }
    tracing::info!(sessions_cut = left, "stopped");
    outcome
}

fn bind(config: &NodeConfig) -> Result<Vec<(Listener, Protocol)>, CommandError> {
    let wanted = [
        (Protocol::Smtp, &config.smtp),
        (Protocol::Pop3, &config.pop3),
        (Protocol::Pop3s, &config.pop3s),
    ];
    let mut listeners = Vec::new();
    for (protocol, addresses) in wanted {
        for address in addresses {
            listeners.push((listen(*address, protocol.name())?, protocol));
        }
    }
    Ok(listeners)
}

fn listen(address: SocketAddr, what: &str) -> Result<Listener, CommandError> {
    let listener = Listener::bind(address)
        .map_err(|error| CommandError::failed(&format!("{what}: listen on {address}"), error))?;
    tracing::info!(what, address = %listener.local_address(), "listening");
    Ok(listener)
}

/// Takes the node's name. A run of it on this machine that is known dead does not stand in the
/// way; one elsewhere has to be silent for a while first.
async fn register(store: &Store, name: &str) -> Result<i64, CommandError> {
    let begun = Instant::now();
    loop {
        match store.register_node(name.to_owned(), ProcessIdentity::own()).await {
            Ok(epoch) => return Ok(epoch),
            Err(StoreError::Conflict(reason)) if begun.elapsed() < NAMESAKE_PATIENCE => {
                tracing::warn!(reason, "waiting for the name");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn build(
    config: &NodeConfig,
    store: Store,
    journal: Journal,
    epoch: i64,
) -> Result<Node, CommandError> {
    let temp = Temp::open(&config.temp, &config.node.0).map_err(|error| {
        CommandError::failed(&format!("temp directory {}", config.temp.display()), error)
    })?;
    let tls = config.tls.as_ref().map(Tls::open).transpose();
    let tls = tls.map_err(|fault| CommandError::Failed(fault.to_string()))?;
    let hostname = config.hostname.0.clone();
    let limits = config.limits;
    let mut nonce = [0; 4];
    rustix::rand::getrandom(&mut nonce[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|error| CommandError::failed("random numbers", error))?;
    let identities = Identities::new(epoch, u32::from_ne_bytes(nonce));
    Ok(Node {
        smtp: smtp::session::Policy {
            hostname: hostname.clone(),
            message_bytes_max: limits.message_bytes_max,
            recipients_max: limits.recipients_max,
            errors_max: limits.errors_max,
            tls: tls.is_some(),
        },
        pop3: pop3::session::Policy {
            hostname: hostname.clone(),
            plain_text_login: config.plain_text_login,
            tls: tls.is_some(),
            mechanisms: config.mechanisms.clone(),
            login_delay_s: config.login_delay.as_secs(),
            login_failures_max: limits.login_failures_max,
            errors_max: limits.errors_max,
        },
        limits,
        balancers: config.proxy_protocol_from.clone(),
        addresses: AddressLimit::new(limits.connections_per_address_max),
        authority: Authority::new(store.clone())?,
        deliveries: Deliveries::new(store.clone(), identities, hostname, journal),
        store,
        temp,
        condition: Arc::new(Condition::default()),
        tls,
        holder: Holder { node: config.node.0.clone(), epoch },
        pulse: Arc::default(),
        stop: Stop::new(),
    })
}

async fn take_clients(
    listener: Listener,
    protocol: Protocol,
    limit: ConnectionLimit,
    node: Arc<Node>,
) {
    let stop = node.stop.clone();
    // The loop is a guest itself: a stop waits until it has let in the last one it had accepted.
    let _guest = stop.guest();
    accept_loop(listener, limit, &stop, |accepted| {
        tokio::spawn(welcome(accepted, protocol, stop.guest(), node.clone()));
    })
    .await;
}

/// Says again and again that the node lives; returns when another run has its name.
async fn keep_name(store: &Store, node: &Node) -> CommandError {
    let Holder { node: name, epoch } = &node.holder;
    loop {
        tokio::time::sleep(HEARTBEAT_INTERVAL).await;
        let begun = Instant::now();
        match store.heartbeat(name.clone(), *epoch).await {
            Ok(true) => node.pulse.beat(begun),
            Ok(false) => {
                return CommandError::Failed(format!(
                    "another run has taken the name {name} since: this one ends"
                ));
            }
            Err(error) => tracing::warn!(%error, "no heartbeat"),
        }
    }
}

async fn sweep_now_and_then(store: Store, config: SweepConfig, stop: Stop) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(config.interval.min(Duration::from_secs(60))) => {}
            () = stop.requested() => return,
        }
        let swept = match store.claim_sweep(config.interval).await {
            Ok(false) => continue,
            Ok(true) => store.sweep(config.orphan_age, clock::now_us()).await,
            Err(error) => Err(error),
        };
        match swept {
            Ok(swept) => {
                metrics::swept(swept.removed, swept.orphans);
                tracing::info!(removed = swept.removed, orphans = swept.orphans, "swept");
            }
            Err(error) => tracing::warn!(%error, "a sweep ended early"),
        }
    }
}

/// What the admin port answers.
struct NodeDesk {
    condition: Arc<Condition>,
    stop: Stop,
}

impl Desk for NodeDesk {
    fn ready(&self) -> Result<(), String> {
        if self.stop.is_requested() { Err("stopping".to_owned()) } else { self.condition.ready() }
    }
}
