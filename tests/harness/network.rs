//! Machines on a network of their own: namespaces with one cable each to a switch, gone on drop.
//! It does not know what runs there; tests of addresses that move call it. Needs root.
//!
//! Nothing of the real machine's network is touched: the switch is a namespace as well.

use std::ffi::OsStr;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::ReadSome;
use crate::program::{our_command, run};

/// Below this all namespaces have a name.
const NAMESPACES: &str = "/run/netns";
/// What ours begin with; the number of the process that made them follows.
const PREFIX: &str = "mailtest-";

/// A command that runs in a namespace. `ip netns exec` would do more, and wants a root directory
/// that is a mount point, which that of a chroot is not.
fn command_in(namespace: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={NAMESPACES}/{namespace}")).arg("--").arg(program);
    command
}

/// Runs `ip` with these words in a namespace and returns what it says.
///
/// # Panics
/// When it fails.
#[track_caller]
fn ip_in(namespace: &str, words: &str) -> String {
    let mut command = command_in(namespace, "ip");
    run(command.args(words.split(' ')), b"").exits(0).text()
}

/// A switch; machines are plugged into it.
#[derive(Debug)]
pub struct Network {
    switch: Namespace,
}

#[derive(Debug)]
struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

impl Namespace {
    fn new(name: String) -> Self {
        run(Command::new("ip").args(["netns", "add", &name]), b"").exits(0);
        let namespace = Self(name);
        ip_in(&namespace.0, "link set lo up");
        namespace
    }
}

impl Network {
    /// A switch without machines.
    ///
    /// # Panics
    /// Without root.
    #[allow(clippy::new_without_default, reason = "it makes a namespace")]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let switch = Namespace::new(format!("{PREFIX}{}-{number}", std::process::id()));
        ip_in(&switch.0, "link add br0 type bridge");
        ip_in(&switch.0, "link set br0 up");
        Self { switch }
    }

    /// A machine with these addresses, such as `10.78.0.1/24`, at its `eth0`.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn machine(&self, name: &str, addresses: &[&str]) -> Machine {
        let switch = &self.switch.0;
        let namespace = Namespace::new(format!("{switch}-{name}"));
        let inside = &namespace.0;
        ip_in(inside, &format!("link add eth0 type veth peer name p-{name} netns {switch}"));
        ip_in(switch, &format!("link set p-{name} master br0 up"));
        ip_in(inside, "link set eth0 up");
        for address in addresses {
            let unchecked = if address.contains(':') { " nodad" } else { "" };
            ip_in(inside, &format!("address add {address} dev eth0{unchecked}"));
        }
        Machine { name: name.to_owned(), switch: switch.clone(), namespace }
    }
}

/// A test that was killed leaves its namespaces; the next one takes them away.
fn sweep() {
    for entry in std::fs::read_dir(NAMESPACES).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            drop(Namespace(name));
        }
    }
}

/// A namespace with a cable to the switch.
#[derive(Debug)]
pub struct Machine {
    name: String,
    switch: String,
    namespace: Namespace,
}

impl Machine {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs there; its process id is that of the program itself.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        command_in(&self.namespace.0, program)
    }

    /// One of our own programs, there.
    pub fn our_command(&self, name: &str) -> Command {
        self.command(our_command(name).get_program())
    }

    /// `ip WORDS` there.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ip(&self, words: &str) -> String {
        ip_in(&self.namespace.0, words)
    }

    /// Whether an address is on its `eth0`, such as `10.78.0.100`.
    pub fn has(&self, address: &str) -> bool {
        let shown = self.ip("-oneline address show dev eth0");
        shown.split_whitespace().any(|word| word.split('/').next() == Some(address))
    }

    /// The hardware address of its `eth0`.
    ///
    /// # Panics
    /// When it has none.
    pub fn mac(&self) -> String {
        let shown = self.ip("-oneline link show dev eth0");
        let mut words = shown.split_whitespace().skip_while(|word| *word != "link/ether");
        words.nth(1).expect("an Ethernet address").to_owned()
    }

    /// Pulls its cable, at the switch's end, or puts it in again.
    pub fn plug(&self, plugged: bool) {
        let state = if plugged { "up" } else { "down" };
        ip_in(&self.switch, &format!("link set p-{} {state}", self.name));
    }

    /// Does something as if this test ran there: sockets that are opened belong there.
    ///
    /// # Panics
    /// When it does.
    pub fn inside<T: Send>(&self, deed: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let done = scope.spawn(|| {
                self.enter();
                deed()
            });
            done.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves this thread, and those it starts, there.
    fn enter(&self) {
        let file = std::fs::File::open(Path::new(NAMESPACES).join(&self.namespace.0));
        let file = file.expect("the namespace has a name");
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("root may move between namespaces");
    }

    /// Somebody there who greets whoever connects, and waits until they leave.
    ///
    /// # Panics
    /// When the address is not to be had.
    pub fn greeter(&self, address: &str, greeting: &'static [u8]) -> Greeter {
        let listener = self.inside(|| TcpListener::bind(address).expect("a free port"));
        let address = listener.local_addr().expect("an address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::spawn(move || greet(stream, greeting));
            }
        });
        Greeter { address, stop, thread: Some(thread), namespace: self.namespace.0.clone() }
    }
}

fn greet(mut stream: TcpStream, greeting: &[u8]) {
    if stream.write_all(greeting).is_ok() {
        let _ = stream.read_some(&mut [0; 512]);
    }
}

/// Greets until it is dropped.
#[derive(Debug)]
pub struct Greeter {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    namespace: String,
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // One more client, so that it sees the wish.
        let mut knock = command_in(&self.namespace, "bash");
        knock.arg("-c").arg(format!(": </dev/tcp/{}/{}", self.address.ip(), self.address.port()));
        if knock.status().is_ok_and(|status| status.success()) {
            let _ = self.thread.take().map(JoinHandle::join);
        }
    }
}
