//! The sockets where clients come in, each with the service it belongs to.
//! It does not know what becomes of a client (`connection` does). `house` opens and closes doors.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use shared::listener::{ConnectionLimit, Wishes, listening_socket, share_port, watch_peer};
use shared::shutdown::Stop;

use crate::backends::{Picture, Service};
use crate::connection::Front;
use crate::crew::Crew;
use crate::settings::{self, ServiceName};

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
    address: SocketAddr,
    listener: Arc<OwnedFd>,
}

/// A door that lets clients in.
#[derive(Debug)]
pub struct OpenDoor {
    /// Where it listens really.
    pub address: SocketAddr,
    door: Arc<Door>,
    /// The loops hold it; it is closed when the last of them has stopped listening.
    listener: Weak<OwnedFd>,
}

/// What the loops know of a door.
#[derive(Debug)]
pub(crate) struct Door {
    key: DoorKey,
    /// Whose it was when it was last looked at.
    service: ArcSwap<Service>,
}

impl PartialEq for Door {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Door {
    /// Whose clients come through it. Who still comes through a door that has just lost its
    /// service is served by the old one.
    pub(crate) fn service(&self, picture: &Picture) -> Arc<Service> {
        match self.key.owner(picture) {
            Some(now) => {
                if !Arc::ptr_eq(&self.service.load(), now) {
                    self.service.store(now.clone());
                }
                now.clone()
            }
            None => self.service.load_full(),
        }
    }
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
    /// What the system says, as in [`listening_socket`].
    pub fn bind(key: DoorKey, wishes: Wishes) -> io::Result<Self> {
        let (socket, address) = listening_socket(key.address, wishes)?;
        Ok(Self { key, address, listener: Arc::new(socket.into()) })
    }

    /// Lets clients in, for `service` until a picture says otherwise.
    #[must_use]
    pub fn open(self, service: Arc<Service>, crew: &Crew) -> OpenDoor {
        let door = Arc::new(Door { key: self.key, service: ArcSwap::new(service) });
        crew.open(&self.listener, &door);
        OpenDoor { address: self.address, door, listener: Arc::downgrade(&self.listener) }
    }
}

impl OpenDoor {
    /// What makes it this door.
    #[must_use]
    pub fn key(&self) -> &DoorKey {
        &self.door.key
    }

    /// Lets nobody in any more; who is inside stays.
    pub fn close(&self, crew: &Crew) {
        crew.close(&self.door);
    }

    /// Whoever comes in from now on is held for gone after answering nothing for so long.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_vanished(&self, vanished: Duration) -> io::Result<()> {
        let listener = self.listener.upgrade();
        listener.map_or(Ok(()), |listener| watch_peer(&*listener, vanished))
    }

    /// Allows another door at its port, where the address of one includes the other's: whoever
    /// calls the narrower one comes in there. The kernel would refuse the second one otherwise, and
    /// between a close and a bind nobody would answer.
    ///
    /// # Errors
    /// What the system says.
    pub fn share_port(&self) -> io::Result<()> {
        let listener = self.listener.upgrade();
        listener.map_or(Ok(()), |listener| share_port(&*listener))
    }
}
