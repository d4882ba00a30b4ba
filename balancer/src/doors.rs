//! The sockets where clients come in, each with the service it belongs to.
//! It does not know what becomes of a client (`connection` does). `house` opens and closes doors.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use shared::listener::{Accepted, ConnectionLimit, Listener, accept_loop};
use shared::shutdown::Stop;

use crate::backends::{Picture, Service};
use crate::connection::{Client, Front, carry};
use crate::settings::{self, ServiceName};
use crate::socket::Socket;

/// What makes a door the same door after a reload: its address. Where that is "any free port" it
/// is the service and which of its free ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorKey {
    address: SocketAddr,
    free_port_of: Option<(ServiceName, usize)>,
}

impl DoorKey {
    /// The doors that a service's settings ask for.
    pub fn of(service: &settings::Service) -> impl Iterator<Item = Self> + '_ {
        service.listen.iter().enumerate().map(|(index, address)| {
            let free = (address.port() == 0).then(|| (service.name.clone(), index));
            Self { address: *address, free_port_of: free }
        })
    }

    /// The address the file asks for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whose door it is in this picture: a reload may have given it to another service.
    fn owner<'p>(&self, picture: &'p Picture) -> Option<&'p Arc<Service>> {
        match &self.free_port_of {
            Some((name, _)) => picture.service(name),
            None => {
                let mut services = picture.services.iter();
                services.find(|service| service.settings.listen.contains(&self.address))
            }
        }
    }
}

/// A door that listens; nobody is let in yet.
#[derive(Debug)]
pub struct ClosedDoor {
    key: DoorKey,
    listener: Listener,
}

/// A door that lets clients in.
#[derive(Debug)]
pub struct OpenDoor {
    /// What makes it this door.
    pub key: DoorKey,
    /// Where it listens really.
    pub address: SocketAddr,
    stop: Stop,
}

/// What every door shares.
#[derive(Debug, Clone)]
pub struct Hallway {
    /// What connections use.
    pub front: Arc<Front>,
    /// What descriptors allow; beyond it clients wait in the kernel's queue.
    pub limit: ConnectionLimit,
    /// Counts the clients inside.
    pub guests: Stop,
}

impl ClosedDoor {
    /// Listens.
    ///
    /// # Errors
    /// What the system says, as in [`Listener::bind`].
    pub fn bind(key: DoorKey) -> io::Result<Self> {
        let listener = Listener::bind(key.address)?;
        Ok(Self { key, listener })
    }

    /// Lets clients in, for `service` until a picture says otherwise.
    #[must_use]
    pub fn open(self, service: Arc<Service>, hallway: &Hallway) -> OpenDoor {
        let stop = Stop::new();
        let (key, address) = (self.key.clone(), self.listener.local_address());
        tokio::spawn(let_in(self, service, hallway.clone(), stop.clone()));
        OpenDoor { key, address, stop }
    }
}

impl OpenDoor {
    /// Lets nobody in any more; who is inside stays.
    pub fn close(&self) {
        self.stop.request();
    }
}

async fn let_in(door: ClosedDoor, mut service: Arc<Service>, hallway: Hallway, stop: Stop) {
    let Hallway { front, limit, guests } = hallway;
    let ClosedDoor { key, listener } = door;
    accept_loop(listener, limit, &stop, |Accepted { stream, peer, permit }| {
        // Who still comes through a door that has just lost its service is served by the old one.
        if let Some(now) = key.owner(&front.backends.picture()) {
            service = now.clone();
        }
        let (front, service, guest) = (front.clone(), service.clone(), guests.guest());
        let client = Client { socket: Socket::accepted(stream), address: peer };
        tokio::spawn(async move {
            carry(client, service, &front).await;
            drop((permit, guest));
        });
    })
    .await;
}
