//! Where the balancer is asked and told things: the address, and who may come there.
//! It does not know what is asked (`api` does). `config` reads it, `commands` go through it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use shared::admin::{self, Door, Token};
use shared::config::{Map, Value};

/// The longest path a socket can have (unix(7)).
const PATH_BYTES_MAX: usize = 107;

/// An address to be asked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddress {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A socket in the file system, for this machine alone.
    Unix(PathBuf),
}

impl AdminAddress {
    /// The TCP address, if it is one.
    #[must_use]
    pub fn socket_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    fn is_for_this_machine(&self) -> bool {
        self.socket_address().is_none_or(|address| address.ip().to_canonical().is_loopback())
    }

    /// Listens there.
    ///
    /// # Errors
    /// Why it cannot, in a sentence.
    pub fn bind(&self) -> Result<Door, String> {
        let door = match self {
            Self::Tcp(address) => admin::bind(*address).map(Door::from),
            Self::Unix(path) => admin::bind_unix(path).map(Door::Unix),
        };
        door.map_err(|error| format!("cannot listen at {self} (admin): {error}"))
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Value for AdminAddress {
    const ALLOWED: &'static str =
        "an ADDRESS:PORT such as 127.0.0.1:9100, or unix:/run/balancer.sock";

    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("unix:") {
            None => text.parse().ok().map(Self::Tcp),
            Some(path) => {
                let fits = path.len() <= PATH_BYTES_MAX && !path.contains('\0');
                (fits && path.starts_with('/')).then(|| Self::Unix(path.into()))
            }
        }
    }
}

impl std::str::FromStr for AdminAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| format!("allowed: {}", Self::ALLOWED))
    }
}

/// What the file says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminDoor {
    /// Where it is.
    pub address: AdminAddress,
    /// What has to be shown there, where anything has to be.
    pub token: Option<Token>,
}

impl AdminDoor {
    /// Takes `admin` and `admin_token` out of the root of a file. Whatever other machines can
    /// reach needs a token: whoever comes there can send every client elsewhere.
    pub fn read(root: &mut Map<'_>) -> Option<Self> {
        let address = root.required::<AdminAddress>("admin");
        let (has_token, token) = (root.has("admin_token"), root.optional("admin_token"));
        if let Some(address) = address.as_ref().filter(|one| !one.is_for_this_machine())
            && !has_token
        {
            let remedy = "set `admin_token` (`${NAME}` takes it from the environment), or use \
                          127.0.0.1 or unix:/run/balancer.sock";
            root.fault("admin", format!("`{address}` can be reached from elsewhere; {remedy}"));
        }
        Some(Self { address: address?, token })
    }
}
