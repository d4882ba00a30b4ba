//! The balancer's own `virtual_ip`: put on, announced, taken off, and never taken from another.
//! It does not know how the kernel is told; machines are namespaces, and tcpdump looks on.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use harness::network::{Greeter, Machine, Network};
use harness::process::Process;
use harness::{MOMENT, Metrics, ReadSome, http, run, wait_until};
use rustix::process::Signal;
use tempfile::TempDir;

const ADMIN: u16 = 9100;
const ADDRESS: &str = "10.78.0.100";
const ADDRESS_6: &str = "2001:db8:78::100";

/// A network with two machines that may balance and a client.
struct Site {
    // Machines go last: fields are dropped in this order.
    _greeters: Vec<Greeter>,
    one: Machine,
    other: Machine,
    client: Machine,
    _network: Network,
    directory: TempDir,
}

impl Site {
    fn new() -> Self {
        let network = Network::new();
        let machine = |name, number: u8| {
            let addresses = [format!("10.78.0.{number}/24"), format!("2001:db8:78::{number}/64")];
            network.machine(name, &[&addresses[0], &addresses[1]])
        };
        let (one, other) = (machine("one", 1), machine("other", 2));
        let client = machine("client", 9);
        let greeter = |machine: &Machine| machine.greeter("127.0.0.1:2525", b"220 node ready\r\n");
        let greeters = vec![greeter(&one), greeter(&other)];
        let directory = tempfile::tempdir().expect("a directory");
        Self { _greeters: greeters, one, other, client, _network: network, directory }
    }

    fn yaml(&self, virtual_ip: Option<&str>) -> PathBuf {
        let path = self.directory.path().join("balancer.yaml");
        let own = virtual_ip
            .map(|address| format!("virtual_ip: {{address: {address}, interface: eth0}}\n"));
        let text = format!(
            "admin: 127.0.0.1:{ADMIN}\n{}services:\n  - name: smtp\n    \
             listen: [\"0.0.0.0:25\", \"[::]:25\"]\n    protocol: smtp\n    \
             health: {{interval: 50ms, timeout: 1s}}\n    nodes:\n      \
             - {{name: node, address: \"127.0.0.1:2525\"}}\n",
            own.unwrap_or_default()
        );
        let new = path.with_extension("new");
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(&new, &path).expect("a rename");
        path
    }

    fn balancer(&self, machine: &Machine, address: &str) -> Process {
        let config = self.yaml(Some(address));
        let mut command = machine.our_command("balancer");
        command.args(["run", "--config"]).arg(config);
        let log = self.directory.path().join(format!("{}.log", machine.name()));
        Process::start(&format!("balancer {}", machine.name()), &mut command, &log)
    }

    /// The first line that somebody who calls `address` hears.
    fn call(&self, address: &str) -> Result<String, String> {
        let address = if address.contains(':') { format!("[{address}]") } else { address.into() };
        self.client.inside(|| {
            let stream = TcpStream::connect(format!("{address}:25"));
            let mut stream = stream.map_err(|error| error.to_string())?;
            let mut bytes = [0; 100];
            stream.set_read_timeout(Some(MOMENT)).expect("an option");
            let length = stream.read_some(&mut bytes).map_err(|error| error.to_string())?;
            Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
        })
    }
}

/// What `/ready` says there, with its status.
fn ready(machine: &Machine) -> Result<String, String> {
    let answer =
        machine.inside(|| http::get(ADMIN, "/ready")).map_err(|error| error.to_string())?;
    if answer.status == 200 { Ok(answer.body) } else { Err(answer.body) }
}

fn wait_ready(machine: &Machine) {
    wait_until("the balancer is ready", MOMENT, || ready(machine));
}

fn metric(machine: &Machine, name: &str) -> f64 {
    machine.inside(|| Metrics::of(ADMIN)).sum(name, &[])
}

fn wait_off(machine: &Machine, address: &str) {
    wait_until("the address is off", MOMENT, || {
        if machine.has(address) { Err(machine.ip("address show dev eth0")) } else { Ok(()) }
    });
}

/// Whom the client would send to for an address.
fn neighbor(client: &Machine, address: &str) -> String {
    let shown = client.ip(&format!("neighbor show to {address}"));
    let mut words = shown.split_whitespace().skip_while(|word| *word != "lladdr");
    words.nth(1).unwrap_or_default().to_owned()
}

/// tcpdump on a machine, once it listens.
fn watch(site: &Site, machine: &Machine, filter: &str) -> Process {
    let mut command = machine.command("tcpdump");
    command.args(["-l", "-n", "-e", "-v", "-i", "eth0", filter]);
    let process = Process::start("tcpdump", &mut command, &site.directory.path().join("dump.log"));
    wait_until("tcpdump listens", MOMENT, || {
        let log = process.log();
        if log.contains("listening on eth0") { Ok(()) } else { Err(log) }
    });
    process
}

fn wait_seen(dump: &Process, what: &str) {
    wait_until(&format!("tcpdump shows {what:?}"), MOMENT, || {
        let log = dump.log();
        if log.contains(what) { Ok(()) } else { Err(log) }
    });
}

#[test]
fn put_on_announced_taken_off() {
    let site = Site::new();
    let (one, client) = (&site.one, &site.client);
    let dump = watch(&site, client, "arp");
    // The client believes that somebody else has the address.
    client.ip(&format!("neighbor replace {ADDRESS} lladdr 02:00:00:00:00:99 dev eth0 nud stale"));
    let mut balancer = site.balancer(one, "10.78.0.100/24");
    wait_ready(one);
    assert!(one.has(ADDRESS), "{}", one.ip("address show dev eth0"));
    wait_seen(&dump, &format!("who-has {ADDRESS} tell 0.0.0.0"));
    wait_seen(&dump, &format!("who-has {ADDRESS} tell {ADDRESS}"));
    wait_seen(&dump, &format!("Reply {ADDRESS} is-at {}", one.mac()));
    wait_until("the client knows the new machine", MOMENT, || {
        harness::wait::same(&neighbor(client, ADDRESS), &one.mac())
    });
    assert_eq!(site.call(ADDRESS).as_deref(), Ok("220 node ready\r\n"));
    assert_eq!(metric(one, "balancer_virtual_ip_held"), 1.0);
    assert!(metric(one, "balancer_virtual_ip_announcements_total") >= 1.0);
    let status = one.inside(|| http::get(ADMIN, "/api/v1/status")).expect("an answer").body;
    assert!(status.contains("\"address\":\"10.78.0.100/24\""), "{status}");
    // Our own calls are no clients.
    assert_eq!(metric(one, "balancer_service_connections_total"), 1.0);

    balancer.signal(Signal::TERM);
    assert_eq!(balancer.wait(MOMENT).code(), Some(0));
    assert!(!one.has(ADDRESS), "{}", one.ip("address show dev eth0"));
}

#[test]
fn ipv6_too() {
    let site = Site::new();
    let (one, client) = (&site.one, &site.client);
    let dump = watch(&site, client, "icmp6");
    client.ip(&format!("neighbor replace {ADDRESS_6} lladdr 02:00:00:00:00:99 dev eth0 nud stale"));
    let mut balancer = site.balancer(one, "2001:db8:78::100/64");
    wait_ready(one);
    wait_seen(&dump, &format!("neighbor advertisement, length 32, tgt is {ADDRESS_6}"));
    assert!(!dump.log().contains("bad icmp6 cksum"), "{}", dump.log());
    wait_until("the client knows the new machine", MOMENT, || {
        harness::wait::same(&neighbor(client, ADDRESS_6), &one.mac())
    });
    assert_eq!(site.call(ADDRESS_6).as_deref(), Ok("220 node ready\r\n"));
    // Another balancer does not take it.
    let mut second = site.balancer(&site.other, "2001:db8:78::100/64");
    let said = wait_until("the other one is refused", MOMENT, || match ready(&site.other) {
        Err(said) if said.contains("held by another machine") => Ok(said),
        seen => Err(format!("{seen:?}")),
    });
    assert!(said.contains(&one.mac()), "{said}");
    assert!(!site.other.has(ADDRESS_6));
    balancer.signal(Signal::INT);
    assert_eq!(balancer.wait(MOMENT).code(), Some(0));
    assert!(!one.has(ADDRESS_6));
    wait_ready(&site.other);
    second.signal(Signal::TERM);
    assert_eq!(second.wait(MOMENT).code(), Some(0));
}

#[test]
fn a_door_at_the_address_itself_is_open_before_it_is_there() {
    let site = Site::new();
    let (one, other) = (&site.one, &site.other);
    other.ip(&format!("address add {ADDRESS}/24 dev eth0"));
    let config = site.yaml(Some("10.78.0.100/24"));
    let text = std::fs::read_to_string(&config).expect("our file");
    let doors = format!("[\"{ADDRESS}:25\"]");
    let text = text.replace("[\"0.0.0.0:25\", \"[::]:25\"]", &doors);
    assert!(text.contains(&doors), "{text}");
    std::fs::write(&config, text).expect("a file");
    let mut command = one.our_command("balancer");
    command.args(["run", "--config"]).arg(&config);
    let log = site.directory.path().join("balancer.log");
    let balancer = Process::start("balancer", &mut command, &log);
    wait_until("the other machine is seen", MOMENT, || match ready(one) {
        Err(said) if said.contains("another machine") => Ok(()),
        seen => Err(format!("{seen:?}")),
    });
    other.ip(&format!("address delete {ADDRESS}/24 dev eth0"));
    wait_ready(one);
    assert_eq!(site.call(ADDRESS).as_deref(), Ok("220 node ready\r\n"), "{}", balancer.log());
}

#[test]
fn another_machines_address_is_not_taken_until_it_lets_go() {
    let site = Site::new();
    let (one, other) = (&site.one, &site.other);
    other.ip(&format!("address add {ADDRESS}/24 dev eth0"));
    let balancer = site.balancer(one, "10.78.0.100/24");
    let said = wait_until("the balancer says why it is not ready", MOMENT, || match ready(one) {
        Err(said) if said.contains("another machine") => Ok(said),
        seen => Err(format!("{seen:?}")),
    });
    assert!(said.contains(ADDRESS) && said.contains(&other.mac()), "{said}");
    assert!(!one.has(ADDRESS), "it was taken all the same");
    assert_eq!(metric(one, "balancer_virtual_ip_held"), 0.0);
    other.ip(&format!("address delete {ADDRESS}/24 dev eth0"));
    wait_ready(one);
    assert!(one.has(ADDRESS));
    assert!(balancer.log().contains("the virtual address is held"), "{}", balancer.log());
    assert_eq!(site.call(ADDRESS).as_deref(), Ok("220 node ready\r\n"));
}

#[test]
fn what_a_killed_balancer_left_is_taken_over_and_a_reload_lets_go() {
    let site = Site::new();
    let one = &site.one;
    let mut balancer = site.balancer(one, "10.78.0.100/24");
    wait_ready(one);
    balancer.kill();
    assert!(one.has(ADDRESS), "nobody was there to take it off");
    let mut balancer = site.balancer(one, "10.78.0.100/24");
    wait_ready(one);
    assert!(balancer.log().contains("taken over"), "{}", balancer.log());
    // Another address, none, and again one, without a restart.
    site.yaml(Some("10.78.0.101/24"));
    wait_until("the other address is on", MOMENT, || {
        if one.has("10.78.0.101") { Ok(()) } else { Err(one.ip("address show dev eth0")) }
    });
    wait_off(one, ADDRESS);
    site.yaml(None);
    wait_off(one, "10.78.0.101");
    wait_ready(one);
    site.yaml(Some("10.78.0.100/24"));
    wait_until("the address is on again", MOMENT, || {
        if one.has(ADDRESS) { Ok(()) } else { Err(one.ip("address show dev eth0")) }
    });
    // Somebody takes it off behind our back.
    one.ip(&format!("address delete {ADDRESS}/24 dev eth0"));
    wait_until("it is put on again", MOMENT, || {
        let announced = metric(one, "balancer_virtual_ip_held");
        if one.has(ADDRESS) && announced == 1.0 { Ok(()) } else { Err(balancer.log_tail()) }
    });
    balancer.signal(Signal::TERM);
    assert_eq!(balancer.wait(MOMENT).code(), Some(0));
    assert!(!one.has(ADDRESS));
}

#[test]
fn two_that_both_have_it_do_not_both_keep_it() {
    let site = Site::new();
    let (one, other) = (&site.one, &site.other);
    let _one = site.balancer(one, "10.78.0.100/24");
    wait_ready(one);
    // Cut off, the other one finds nobody and takes it too.
    one.plug(false);
    let _other = site.balancer(other, "10.78.0.100/24");
    wait_ready(other);
    one.plug(true);
    wait_until("one of them gives it up", MOMENT, || {
        match (one.has(ADDRESS), other.has(ADDRESS)) {
            (true, true) | (false, false) => Err(format!("{:?} {:?}", ready(one), ready(other))),
            _ => Ok(()),
        }
    });
    assert_eq!(site.call(ADDRESS).as_deref(), Ok("220 node ready\r\n"));
}

#[test]
fn what_is_missing_is_said() {
    let site = Site::new();
    let config = site.yaml(Some("10.78.0.100/24"));
    let mut command = site.one.command("setpriv");
    command.args(["--bounding-set=-net_raw,-net_admin", "--inh-caps=-net_raw,-net_admin"]);
    command.arg(harness::program::ours("balancer")).args(["run", "--config"]).arg(&config);
    let said = run(&mut command, b"").exits(1).stderr;
    for word in ["CAP_NET_ADMIN", "CAP_NET_RAW", "AmbientCapabilities="] {
        assert!(said.contains(word), "{word} is not in {said}");
    }
    // An interface that is not there is waited for, with a word on those that are.
    let text = std::fs::read_to_string(&config).expect("our file");
    std::fs::write(&config, text.replace("eth0", "eth7")).expect("a file");
    let mut command = site.one.our_command("balancer");
    command.args(["run", "--config"]).arg(&config);
    let log = site.directory.path().join("balancer.log");
    let _balancer = Process::start("balancer", &mut command, &log);
    let said = wait_until("the balancer says what is missing", MOMENT, || match ready(&site.one) {
        Err(said) if said.contains("eth7") => Ok(said),
        seen => Err(format!("{seen:?}")),
    });
    assert!(said.contains("there is no interface eth7; there are lo, eth0"), "{said}");
}

#[test]
fn bad_settings_are_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("balancer.yaml");
    let text = "admin: 127.0.0.1:9100\nvirtual_ip: {address: 192.0.2.0/24, interface: a/b, x: 1}\n\
                services: [{name: a, listen: [\"127.0.0.1:1\"], protocol: tcp, \
                nodes: [{name: n, address: \"127.0.0.1:2\"}]}]\n";
    std::fs::write(&path, text).expect("a file");
    let mut command: Command = harness::program::our_command("balancer");
    let said = run(command.args(["check", "--config"]).arg(&path), b"").exits(64).stderr;
    for word in [":2:", "virtual_ip.address", "virtual_ip.interface", "192.0.2.25/24", "eth0", "x"]
    {
        assert!(said.contains(word), "{word} is not in {said}");
    }
    assert_eq!(said.lines().count(), 3, "{said}");
}
