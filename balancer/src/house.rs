//! The whole balancer as it stands: doors, nodes, probes; new settings are put in force here.
//! It does not know where settings come from or who asks. `commands::run` builds and closes it.

use std::sync::Arc;
use std::time::Duration;

use shared::listener::{ConnectionLimit, VANISHED, Wishes};
use shared::shutdown::Stop;

use crate::admission::Admission;
use crate::backends::{Backend, Candidate};
use crate::config::{Config, overlap};
use crate::connection::Front;
use crate::crew::Crew;
use crate::descriptors::Descriptors;
use crate::doors::{ClosedDoor, DoorKey, Hallway, OpenDoor};
use crate::farewell::Farewell;
use crate::settings::{Limits, ServiceName};
use crate::{interview, mourning, ports, probe, pulse};

/// Who accepted a client may have to tell it that there is no room: so many more than fit.
const REFUSED_AT_ONCE: usize = 64;
/// After connections were told to end they have this long to do so.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// The balancer as it stands.
#[derive(Debug)]
pub struct House {
    config: Config,
    descriptors: Descriptors,
    hallway: Hallway,
    crew: Arc<Crew>,
    doors: Vec<OpenDoor>,
    farewell: Farewell,
}

/// Why settings could not be put in force: one sentence for each door that cannot be opened.
pub type CannotListen = Vec<String>;

impl House {
    /// Builds it and lets clients in.
    ///
    /// # Errors
    /// Where it could not listen; nothing is left open then.
    pub fn open(config: Config, descriptors: Descriptors) -> Result<Self, CannotListen> {
        let limits = config.limits;
        let admission = Admission::new(
            descriptors.connections_max(limits.connections_max),
            limits.connections_per_address_max,
        );
        let (backends, own_calls) = (Arc::default(), Arc::default());
        let front = Front { admission, backends, own_calls };
        let hallway = Hallway {
            front: Arc::new(front),
            limit: ConnectionLimit::new(descriptors.connections() + REFUSED_AT_ONCE),
            guests: Stop::new(),
        };
        let crew = Crew::start(&hallway).map_err(|error| vec![format!("no threads: {error}")])?;
        let crew = Arc::new(crew);
        let backends = &hallway.front.backends;
        let farewell = Farewell::new(backends, &crew);
        tokio::spawn(pulse::watch(Arc::downgrade(backends)));
        tokio::spawn(mourning::watch(Arc::downgrade(backends), Arc::downgrade(&crew)));
        let empty = Config { services: Vec::new(), ..config.clone() };
        let mut house =
            Self { config: empty, descriptors, hallway, crew, doors: Vec::new(), farewell };
        house.refit(config)?;
        tokio::spawn(ports::watch(Arc::downgrade(&house.front().backends)));
        Ok(house)
    }

    /// What connections and the admin desk use.
    #[must_use]
    pub fn front(&self) -> &Arc<Front> {
        &self.hallway.front
    }

    /// Who sends the connections of a node away.
    #[must_use]
    pub fn farewell(&self) -> &Farewell {
        &self.farewell
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where clients of each service come in.
    #[must_use]
    pub fn listening(&self) -> Vec<(ServiceName, std::net::SocketAddr)> {
        let services = self.config.services.iter().flat_map(|service| {
            let keys = DoorKey::of(service);
            let doors = keys.filter_map(|key| self.doors.iter().find(|door| *door.key() == key));
            doors.map(|door| (service.name.clone(), door.address))
        });
        services.collect()
    }

    /// Puts other settings in force for new connections: new doors listen before old ones are
    /// closed, and either all of it is in force or nothing.
    ///
    /// # Errors
    /// Where it could not listen; the old settings stay in force then.
    pub fn refit(&mut self, config: Config) -> Result<(), CannotListen> {
        let keys: Vec<_> = config.services.iter().flat_map(DoorKey::of).collect();
        let new = self.bind_new(&config)?;
        for door in &self.doors {
            // Where it cannot be set the old time stays in force: no reason to turn anybody away.
            let _ = vanished(&config, door.key()).map(|time| door.set_vanished(time));
        }

        let Limits { connections_max, connections_per_address_max, .. } = config.limits;
        let max = self.descriptors.connections_max(connections_max);
        let admission = &self.front().admission;
        admission.set_limits(max, connections_per_address_max);
        admission.set_rate(config.limits.connections_per_address_per_minute_max);
        let change = self.front().backends.replace(config.services.clone());

        let names = config.services.iter();
        let names = names.flat_map(|service| DoorKey::of(service).map(|key| (key, &service.name)));
        let names: Vec<_> = names.collect();
        for (key, door) in new {
            let owner = names.iter().find(|(one, _)| *one == key);
            let service = owner.and_then(|(_, name)| self.front().backends.service(name));
            self.doors.extend(service.map(|service| door.open(service, &self.crew)));
        }
        for door in self.doors.extract_if(.., |door| !keys.contains(door.key())) {
            door.close(&self.crew);
        }
        for node in change.added {
            tokio::spawn(probe::watch(node.clone(), self.front().backends.clone()));
            tokio::spawn(interview::watch(node, self.front().backends.clone()));
        }
        self.farewell.set_within(config.drain_timeout);
        self.see_off(change.removed, config.drain_timeout);
        self.config = config;
        Ok(())
    }

    /// The doors that are not there yet: all of them or none. Only the virtual address need not be
    /// here yet. A door that is about to be closed may have the same port, at an address that
    /// includes the new one's or is included in it.
    fn bind_new(&self, config: &Config) -> Result<Vec<(DoorKey, ClosedDoor)>, CannotListen> {
        let virtual_ip = config.virtual_ip.as_ref().map(|virtual_ip| virtual_ip.address);
        let (mut doors, mut faults) = (Vec::new(), Vec::new());
        let keys = config.services.iter().flat_map(DoorKey::of);
        for key in keys.filter(|key| !self.doors.iter().any(|door| door.key() == key)) {
            let old = self.doors.iter().filter(|old| overlap(old.address, key.address()));
            let wishes = Wishes {
                may_be_away: virtual_ip == Some(key.address().ip()),
                shares_port: old.filter(|old| old.share_port().is_ok()).count() > 0,
                vanished: vanished(config, &key).unwrap_or(VANISHED),
            };
            match ClosedDoor::bind(key.clone(), wishes) {
                Ok(door) => doors.push((key, door)),
                Err(error) => faults.push(format!("cannot listen at {}: {error}", key.address())),
            }
        }
        if faults.is_empty() { Ok(doors) } else { Err(faults) }
    }

    /// Connections of nodes that were taken away may go on for a while.
    fn see_off(&self, removed: Vec<Arc<Backend>>, drain_timeout: Duration) {
        for node in removed {
            let service = self.front().backends.service(&node.service);
            // Another address under the old name goes on with its series.
            let has_heir = |one: &Candidate| one.backend.name == node.name;
            if !service.is_some_and(|service| service.candidates().iter().any(has_heir)) {
                node.metrics.removed();
            }
            let crew = Arc::downgrade(&self.crew);
            tokio::spawn(async move {
                tokio::time::sleep(drain_timeout).await;
                node.leave.request();
                if let Some(crew) = crew.upgrade() {
                    crew.look_again();
                }
            });
        }
    }

    /// Lets nobody in any more.
    pub fn close_doors(&self) {
        for door in &self.doors {
            door.close(&self.crew);
        }
    }

    /// How many clients are inside.
    #[must_use]
    pub fn guests(&self) -> usize {
        self.hallway.guests.guests()
    }

    /// Waits until nobody is inside; returns how many are left at the deadline.
    pub async fn emptied(&self, deadline: Duration) -> usize {
        self.hallway.guests.emptied(deadline).await
    }

    /// Ends the connections of all who are still inside.
    pub async fn clear(&self) -> usize {
        let picture = self.front().backends.picture();
        let nodes = picture.services.iter().flat_map(|service| service.candidates());
        let nodes = nodes.map(|candidate| candidate.backend.clone());
        for node in nodes.chain(self.front().backends.leaving()) {
            node.leave.request();
        }
        self.crew.look_again();
        self.emptied(END_TIMEOUT).await
    }
}

/// How long a peer may answer nothing, at the door of this key.
fn vanished(config: &Config, key: &DoorKey) -> Option<Duration> {
    let service = config.services.iter().find(|service| DoorKey::of(service).any(|k| k == *key));
    service.map(|service| service.timeouts.vanished)
}
