//! Where an admin port is: a TCP address, or a socket in the file system for this machine alone.
//! It does not know what is asked there; `admin::serve` lets questions in.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

use crate::listener::{ConnectionLimit, ConnectionPermit, Listener};
use crate::shutdown::Stop;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// After an accept that failed nothing is accepted for so long.
const PAUSE: Duration = Duration::from_millis(100);

/// A door that is open.
#[derive(Debug)]
pub enum Door {
    /// At a TCP port.
    Tcp(Listener),
    /// At a path.
    Unix(UnixDoor),
}

impl Door {
    /// Where it is: `127.0.0.1:9100` or `unix:/run/x.sock`.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_address().to_string(),
            Self::Unix(door) => format!("unix:{}", door.path.display()),
        }
    }
}

impl From<Listener> for Door {
    fn from(listener: Listener) -> Self {
        Self::Tcp(listener)
    }
}

/// A socket in the file system; it is removed when this is dropped.
#[derive(Debug)]
pub struct UnixDoor {
    listener: UnixListener,
    path: PathBuf,
    /// What tells our file from one that has taken its place.
    inode: Option<(u64, u64)>,
}

/// Listens at `address`; has to be called inside a runtime.
///
/// # Errors
/// What the system says, as in [`Listener::bind`].
pub fn bind(address: SocketAddr) -> io::Result<Listener> {
    Listener::bind(address)
}

/// Listens at `path`, for the user this process runs as alone (mode 0600). A socket that a dead
/// process has left there is replaced. Has to be called inside a runtime.
///
/// # Errors
/// What the system says: somebody listens there already, or no file can be made there.
pub fn bind_unix(path: &Path) -> io::Result<UnixDoor> {
    let is_socket =
        |path| std::fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    if is_socket(path) {
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path)?;
            }
            Err(error) => return Err(error),
        }
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Nobody can connect before it listens, so nobody was let in with other rights.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = UnixListener::from_std(std::os::unix::net::UnixListener::from(socket))?;
    Ok(UnixDoor { listener, path: path.to_owned(), inode: inode(path) })
}

impl UnixDoor {
    /// Accepts until a stop is requested.
    pub(super) async fn accept_loop(
        self,
        limit: ConnectionLimit,
        stop: &Stop,
        mut each: impl FnMut(UnixStream, ConnectionPermit),
    ) {
        loop {
            let accepted = async {
                let permit = limit.permit().await;
                self.listener.accept().await.map(|(stream, _)| (stream, permit))
            };
            let accepted = tokio::select! {
                biased;
                () = stop.requested() => return,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((stream, permit)) => each(stream, permit),
                Err(error) => {
                    tracing::warn!(%error, path = %self.path.display(), "cannot accept");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

impl Drop for UnixDoor {
    fn drop(&mut self) {
        if self.inode.is_some() && inode(&self.path) == self.inode {
            // Left behind it is replaced by the next one who listens there.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
