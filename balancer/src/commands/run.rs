//! `balancer run`: from the settings file to the last connection.
//! It does not know how connections are carried (`house` and below do).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use shared::admin::{self, Door};
use shared::logging;
use shared::metrics::Recorder;
use shared::shutdown::{Stop, TerminateSignals};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::CommandError;
use crate::admin_door::AdminAddress;
use crate::api::StatusDesk;
use crate::config::{self, Config};
use crate::descriptors::Descriptors;
use crate::house::House;
use crate::metrics::{self, ConfigMetrics};
use crate::reload::{Bell, Reading, Watched};
use crate::self_check::{self, Verdict};
use crate::settings::VirtualIp;
use crate::virtual_ip::{Keeper, rights};

/// Runs until a signal says stop.
///
/// # Errors
/// Bad settings, or a port that cannot be listened at.
pub(super) fn run(path: PathBuf) -> Result<(), CommandError> {
    let failed = |error: std::io::Error| CommandError::Failed(format!("cannot start: {error}"));
    let watched = Watched::start(path.clone()).map_err(failed)?;
    let config = config::read(&path)?;
    logging::start(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(failed)?.block_on(async {
        let mut signals = TerminateSignals::listen();
        let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
        let running = Running::start(config, &path, watched.bell())?;
        running.serve(watched, &mut signals, &mut hangup).await;
        Ok(())
    })
}

/// A balancer that runs.
struct Running {
    house: House,
    desk: StatusDesk,
    recorder: Recorder,
    admin: OpenAdmin,
    counted: ConfigMetrics,
    virtual_ip: Keeper,
}

/// The admin port that is open.
struct OpenAdmin {
    asked: AdminAddress,
    stop: Stop,
}

impl Running {
    fn start(config: Config, path: &Path, reload: Bell) -> Result<Self, CommandError> {
        let failed = |error: String| CommandError::Failed(format!("cannot start: {error}"));
        let recorder = Recorder::install().map_err(|error| failed(error.to_string()))?;
        metrics::describe();
        may_have(config.virtual_ip.as_ref()).map_err(failed)?;
        let asked = config.admin.clone();
        let admin = asked.address.bind().map_err(failed)?;
        let house = House::open(config, Descriptors::raise());
        let house = house.map_err(|faults| failed(faults.join("\ncannot start: ")))?;
        let (virtual_ip, verdict) = (Keeper::start(), Verdict::default());
        // Clients are let in by now: from here on they may be called here.
        virtual_ip.wish(house.config().virtual_ip.as_ref());
        let board = virtual_ip.board().clone();
        let desk = StatusDesk::new(house.front().clone(), path).with(board, verdict.clone());
        let desk = desk.with_hands(house.farewell().clone(), Some(reload));
        let (doors, own_calls) = (desk.clone(), house.front().own_calls.clone());
        tokio::spawn(self_check::watch(move || doors.doors(), own_calls, verdict));
        desk.guarded_by(asked.token);
        let admin = open_admin(admin, asked.address, &recorder, &desk);
        let counted = ConfigMetrics::new();
        let running = Self { house, desk, recorder, admin, counted, virtual_ip };
        running.announce(None);
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            services = running.house.config().services.len(),
            nodes = running.house.config().node_count(),
            connections_max = running.house.front().admission.max(),
            "started"
        );
        Ok(running)
    }

    /// Logs where clients of each service come in; after a reload only what is new.
    fn announce(&self, before: Option<&[SocketAddr]>) {
        let listening = self.house.listening();
        for (service, address) in &listening {
            if !before.is_some_and(|before| before.contains(address)) {
                tracing::info!(what = %service, %address, "listening");
            }
        }
        self.desk.in_force(listening);
    }

    async fn serve(
        mut self,
        mut watched: Watched,
        signals: &mut TerminateSignals,
        hangup: &mut Signal,
    ) {
        let signal = loop {
            tokio::select! {
                signal = signals.next() => break signal,
                _ = hangup.recv() => watched.bell().ring(),
                reading = watched.reading() => self.hear(reading),
            }
        };
        self.stop(signal, signals).await;
    }

    /// The file was read again.
    fn hear(&mut self, reading: Reading) {
        match reading.config {
            Err(faults) => self.refuse(faults.lines().collect()),
            Ok(config) if config == *self.house.config() => {
                self.counted.valid_again();
                self.announce(Some(&self.addresses()));
                if reading.asked_for {
                    tracing::info!("the settings are what is in force already");
                }
            }
            Ok(config) => match self.refit(config) {
                Ok(()) => self.counted.taken(),
                Err(faults) => self.refuse(faults),
            },
        }
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.house.listening().into_iter().map(|(_, address)| address).collect()
    }

    fn refuse(&self, faults: Vec<String>) {
        self.counted.refused();
        for fault in &faults {
            tracing::error!(fault, "a fault in the settings");
        }
        tracing::error!(faults = faults.len(), "the old settings stay in force");
        self.desk.refused(faults);
    }

    /// Puts a good file in force, all of it or nothing.
    fn refit(&mut self, config: Config) -> Result<(), Vec<String>> {
        let began = Instant::now();
        let before = self.addresses();
        let asked = config.admin.clone();
        let admin = (asked.address != self.admin.asked).then(|| asked.address.bind()).transpose();
        let admin = admin.map_err(|fault| vec![fault])?;
        if config.log != self.house.config().log {
            tracing::warn!("a change of `log` is in force after a restart");
        }
        may_have(config.virtual_ip.as_ref()).map_err(|fault| vec![fault])?;
        self.house.refit(config)?;
        self.virtual_ip.wish(self.house.config().virtual_ip.as_ref());
        self.desk.guarded_by(asked.token);
        if let Some(door) = admin {
            let new = open_admin(door, asked.address, &self.recorder, &self.desk);
            std::mem::replace(&mut self.admin, new).stop.request();
        }
        self.announce(Some(&before));
        let (services, nodes) = {
            let config = self.house.config();
            (config.services.len(), config.node_count())
        };
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::info!(services, nodes, micros, "new settings are in force");
        Ok(())
    }

    /// No new clients; those inside have until the deadline, or until a second signal.
    async fn stop(self, signal: &str, signals: &mut TerminateSignals) {
        let deadline = self.house.config().drain_timeout;
        self.desk.stops();
        self.house.close_doors();
        tracing::info!(signal, connections = self.house.guests(), "stopping");
        tokio::select! {
            _ = self.house.emptied(deadline) => {}
            signal = signals.next() => tracing::warn!(signal, "stopping at once"),
        }
        let cut_off = self.house.guests();
        if cut_off > 0 {
            tracing::warn!(connections = cut_off, "connections are cut off");
            self.house.clear().await;
        }
        // Not earlier: those who were inside came through it.
        self.virtual_ip.release().await;
        self.admin.stop.request();
        tracing::info!("stopped");
    }
}

/// Whether a virtual address could be put up, as far as rights go.
fn may_have(virtual_ip: Option<&VirtualIp>) -> Result<(), String> {
    virtual_ip.map_or(Ok(()), |_| rights::check())
}

fn open_admin(
    door: Door,
    asked: AdminAddress,
    recorder: &Recorder,
    desk: &StatusDesk,
) -> OpenAdmin {
    tracing::info!(what = "admin", address = door.address(), "listening");
    let stop = Stop::new();
    let desk = Arc::new(desk.clone());
    tokio::spawn(admin::serve(door, recorder.clone(), desk, stop.clone()));
    OpenAdmin { asked, stop }
}
