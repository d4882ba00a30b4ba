//! A balancer in this process between clients and nodes of a test, all on port 0 of loopback.
//! It does not know what is tested; each test file calls it.
#![allow(dead_code, reason = "each test file uses its part of the stage")]

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use balancer::api::{ServiceStatus, Status, StatusDesk};
use balancer::config::{Config, from_map};
use balancer::descriptors::Descriptors;
use balancer::house::House;
use shared::config::read_text;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Longer than anything here takes; a test that waits for it has failed.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A node that does with each connection what the test says.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    accepting: tokio::task::JoinHandle<()>,
}

impl Node {
    pub(crate) async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        Self { address, accepting }
    }

    /// Whatever is at this address; `accepting` ends with it.
    pub(crate) fn of(address: SocketAddr, accepting: tokio::task::JoinHandle<()>) -> Self {
        Self { address, accepting }
    }

    /// Greets with its name and a line's end, then gives back what it is given.
    pub(crate) async fn greeter(name: &'static str) -> Self {
        Self::start(move |mut stream| async move {
            if stream.write_all(format!("220 {name}\r\n").as_bytes()).await.is_ok() {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            }
        })
        .await
    }

    /// Accepts and says nothing, ever.
    pub(crate) async fn silent() -> Self {
        Self::start(|mut stream| async move {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await
    }

    /// Nobody listens there.
    pub(crate) async fn dead() -> Self {
        let node = Self::silent().await;
        node.stop().await;
        node
    }

    /// Its kernel answers no SYN: a listener whose queue is full. Keep what comes with it.
    pub(crate) fn unreachable() -> (SocketAddr, impl Sized) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).expect("a free port");
        socket.listen(0).expect("it listens");
        let address = socket.local_addr().expect("an address").as_socket().expect("an IP one");
        // Linux lets one more in than the queue's length; the rest of these hang.
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
                client.set_nonblocking(true).expect("an option");
                let _ = client.connect(&address.into());
                client
            })
            .collect();
        (address, (socket, waiting))
    }

    /// From now on nobody listens there; connections that stand go on.
    pub(crate) async fn stop(&self) {
        self.accepting.abort();
        wait_until("nobody listens any more", || self.accepting.is_finished()).await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A balancer, its doors open.
pub(crate) struct Stage {
    pub(crate) house: House,
    pub(crate) desk: StatusDesk,
}

impl Stage {
    /// One service `s`; `settings` are its further keys, one a line.
    pub(crate) fn open(protocol: &str, settings: &str, nodes: &[&Node]) -> Self {
        let text = file(protocol, settings, nodes);
        let house = House::open(read(&text), Descriptors::of(4096));
        let house = house.unwrap_or_else(|faults| panic!("{faults:?} of\n{text}"));
        let desk = StatusDesk::new(house.front().clone(), "test.yaml".as_ref());
        Self { house, desk }
    }

    pub(crate) fn refit(&mut self, text: &str) {
        self.house.refit(read(text)).unwrap_or_else(|faults| panic!("{faults:?} of\n{text}"));
    }

    pub(crate) fn door(&self) -> SocketAddr {
        self.house.listening().first().expect("a door").1
    }

    pub(crate) async fn client(&self) -> TcpStream {
        TcpStream::connect(self.door()).await.expect("the door is open")
    }

    pub(crate) fn status(&self) -> Status {
        self.desk.status()
    }

    pub(crate) fn service(&self) -> ServiceStatus {
        self.status().services.into_iter().next().expect("a service")
    }

    /// Waits until every client is gone; no count may be left over.
    pub(crate) async fn assert_empties(&self) {
        let left = self.house.emptied(LONG).await;
        let status = self.status();
        assert_eq!((left, status.connections), (0, 0), "{status:#?}");
        for node in status.services.iter().flat_map(|service| &service.nodes) {
            assert_eq!(node.connections, 0, "a lease of {} leaked", node.name);
        }
    }

    fn node(&self, place: usize) -> std::sync::Arc<balancer::backends::Backend> {
        let picture = self.house.front().backends.picture();
        picture.services[0].candidates()[place].backend.clone()
    }

    /// Whether it is known how long this node's greeting takes.
    pub(crate) fn learned(&self, place: usize) -> bool {
        self.node(place).greetings.patience(Duration::ZERO, LONG) < LONG
    }

    /// Whether it is known how long a dial to this node takes.
    pub(crate) fn reached(&self, place: usize) -> bool {
        self.node(place).dials.patience(Duration::ZERO, LONG) < LONG
    }

    /// How many connections ended in this way.
    pub(crate) fn ends(&self, end: balancer::outcome::End) -> u64 {
        let picture = self.house.front().backends.picture();
        picture.services.iter().map(|service| service.metrics.ends(end)).sum()
    }
}

/// A settings file with one service `s` at a free port.
pub(crate) fn file(protocol: &str, settings: &str, nodes: &[&Node]) -> String {
    let mut text = format!(
        "admin: 127.0.0.1:0\nlimits: {{connections_per_address_max: 500}}\nservices:\n  \
         - name: s\n    listen: 127.0.0.1:0\n    protocol: {protocol}\n"
    );
    for line in settings.lines() {
        text += &format!("    {}\n", line.trim());
    }
    if !settings.contains("health:") {
        // Not looked at again within a test: what is seen comes from connections.
        text += "    health: {interval: 1h}\n";
    }
    text += "    nodes:\n";
    for (place, node) in nodes.iter().enumerate() {
        text += &format!("      - {{name: n{place}, address: \"{}\"}}\n", node.address);
    }
    text
}

pub(crate) fn read(text: &str) -> Config {
    read_text("test.yaml", text, &|_| None, from_map)
        .unwrap_or_else(|faults| panic!("{faults}\nof\n{text}"))
}

/// Waits for something that has to come true.
pub(crate) async fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "it never came true that {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// One line, its end included.
pub(crate) async fn line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        match stream.read_u8().await {
            Ok(byte) => line.push(byte),
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&line)),
        }
    }
    String::from_utf8(line).expect("a text")
}

/// Closes with a reset.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("an option");
}

/// Bytes that show where one was lost, doubled or changed.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(next).collect()
}
