//! Two balancers and keepalived as shipped: how long is nobody there when the active one fails?
//! It does not know how keepalived decides; machines are namespaces, a client knocks every 2 ms.
//!
//! Prints what it measured; the bounds are wide, since other tests may run at the same time.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use harness::network::{Greeter, Machine, Network};
use harness::process::Process;
use harness::program::project;
use harness::{MOMENT, ReadSome, http, run, wait_until};
use rustix::process::Signal;
use tempfile::TempDir;

const ADMIN: u16 = 9100;
const ADDRESS: &str = "10.79.0.100";
/// Between two knocks of the client.
const KNOCK_INTERVAL: Duration = Duration::from_millis(2);
/// As in the shipped files.
const ADVERT: Duration = Duration::from_millis(10);

/// One of the two machines, with all that runs there.
struct Half {
    // Fields are dropped in this order: keepalived before what it watches.
    keepalived: Process,
    _watcher: Process,
    balancer: Process,
    addresses: Process,
    machine: Machine,
}

struct Pair {
    halves: [Half; 2],
    client: Machine,
    greeter: Option<Greeter>,
    _node: Machine,
    _network: Network,
    _directory: TempDir,
}

impl Drop for Half {
    fn drop(&mut self) {
        // Orderly, or its child would be left behind.
        if self.keepalived.ended().is_none() {
            self.keepalived.signal(Signal::TERM);
            self.keepalived.wait(MOMENT);
        }
    }
}

impl Half {
    fn start(name: &str, machine: Machine, directory: &Path) -> Self {
        let file = |ending: &str| directory.join(format!("{name}.{ending}"));
        let yaml = format!(
            "admin: 127.0.0.1:{ADMIN}\nservices:\n  - name: smtp\n    \
             listen: [\"0.0.0.0:25\"]\n    \
             protocol: smtp\n    health: {{interval: 50ms, timeout: 1s}}\n    nodes:\n      \
             - {{name: node, address: \"10.79.0.5:2525\"}}\n"
        );
        std::fs::write(file("yaml"), yaml).expect("a file");
        let addresses = monitor(&machine, &file("addresses"));
        let balancer = balancer(&machine, &file("yaml"));
        wait_until("the balancer is ready", MOMENT, || ready(&machine));
        let shipped = project().join("configs/keepalived");
        let mut command = machine.command(shipped.join("ready-to-track-file"));
        command.arg(format!("127.0.0.1:{ADMIN}")).arg(file("ready"));
        let watcher = Process::start(&format!("watcher {name}"), &mut command, &file("watcher"));
        let text = std::fs::read_to_string(shipped.join(format!("keepalived-{name}.conf")));
        let text = text.expect("a shipped file").replace("192.0.2.25/24", &format!("{ADDRESS}/24"));
        let text = text.replace("/run/balancer/ready", &file("ready").to_string_lossy());
        std::fs::write(file("conf"), text).expect("a file");
        let mut command = machine.command("keepalived");
        command.args(["--dont-fork", "--log-console", "--log-detail", "--vrrp", "-f"]);
        command.arg(file("conf")).arg("-p").arg(file("pid")).arg("-r").arg(file("vrrp-pid"));
        let keepalived =
            Process::start(&format!("keepalived {name}"), &mut command, &file("keepalived"));
        Self { keepalived, _watcher: watcher, balancer, addresses, machine }
    }

    fn holds(&self) -> bool {
        self.machine.has(ADDRESS)
    }

    /// Waits until it would take the address.
    fn wait_standing_by(&self) {
        wait_until("it stands by", MOMENT, || {
            ready(&self.machine)?;
            let log = self.keepalived.log();
            // "Entering BACKUP STATE" (at the start "(init)" follows); "entering FAULT state".
            let mut states = log.lines().rev().filter(|line| line.contains("ntering "));
            let stands_by = states.next().is_some_and(|line| line.contains("BACKUP"));
            if stands_by { Ok(()) } else { Err(log) }
        });
    }
}

fn balancer(machine: &Machine, config: &Path) -> Process {
    let mut command = machine.our_command("balancer");
    command.args(["run", "--config"]).arg(config);
    let name = format!("balancer {}", machine.name());
    Process::start(&name, &mut command, &config.with_extension("balancer"))
}

fn ready(machine: &Machine) -> Result<(), String> {
    let answer =
        machine.inside(|| http::get(ADMIN, "/ready")).map_err(|error| error.to_string())?;
    if answer.status == 200 { Ok(()) } else { Err(answer.body) }
}

/// `ip monitor`: what comes and goes at the machine, with the time of day.
fn monitor(machine: &Machine, log: &Path) -> Process {
    let mut command = machine.command("ip");
    command.args(["-oneline", "-tshort", "monitor", "address"]);
    let process = Process::start("ip monitor", &mut command, log);
    // It says nothing when it begins: something that is seen shows that it listens.
    wait_until("ip monitor listens", MOMENT, || {
        machine.ip("address replace 10.255.0.1/32 dev lo");
        machine.ip("address delete 10.255.0.1/32 dev lo");
        if process.log().contains("10.255.0.1") { Ok(()) } else { Err(process.log()) }
    });
    process
}

impl Pair {
    /// Both machines run, and `a` has the address.
    fn new() -> Self {
        let network = Network::new();
        let machine =
            |name: &str, number: u8| network.machine(name, &[&format!("10.79.0.{number}/24")]);
        let (node, client) = (machine("node", 5), machine("client", 9));
        let greeter = node.greeter("10.79.0.5:2525", b"220 node ready\r\n");
        let directory = tempfile::tempdir().expect("a directory");
        let a = Half::start("a", machine("a", 1), directory.path());
        wait_until("a has the address", MOMENT, || {
            if a.holds() { Ok(()) } else { Err(a.keepalived.log_tail()) }
        });
        let b = Half::start("b", machine("b", 2), directory.path());
        b.wait_standing_by();
        let pair = Self {
            halves: [a, b],
            client,
            greeter: Some(greeter),
            _node: node,
            _network: network,
            _directory: directory,
        };
        assert!(pair.halves[0].holds() && !pair.halves[1].holds(), "who is there first keeps it");
        pair
    }

    /// Which of the two has the address.
    fn active(&self) -> usize {
        wait_until("one of the two has the address", MOMENT, || {
            match self.halves.each_ref().map(Half::holds) {
                [true, false] => Ok(0),
                [false, true] => Ok(1),
                both => Err(format!("{both:?}")),
            }
        })
    }

    /// Lets the active one fail while a client knocks; returns how long nobody was served.
    fn outage(&mut self, what: &str, fail: impl FnOnce(&mut Half)) -> Duration {
        let active = self.active();
        let knocking = Knocking::start(&self.client);
        knocking.wait_served(50, Instant::now());
        let failed = Instant::now();
        fail(&mut self.halves[active]);
        knocking.wait_served(50, failed);
        let outage = knocking.end(failed);
        let now = self.active();
        assert_ne!(now, active, "{what}: the address did not move");
        let both = self.both();
        println!(
            "{what}: served again after {:.1} ms, the address on both for {:.2} ms",
            outage.as_secs_f64() * 1000.0,
            both.as_secs_f64() * 1000.0
        );
        assert!(both <= ADVERT, "{what}: both had the address for {both:?}");
        outage
    }

    /// The longest time for which both had the address.
    fn both(&self) -> Duration {
        let mut events: Vec<_> = Vec::new();
        for (number, half) in self.halves.iter().enumerate() {
            let log = half.addresses.log();
            events.extend(log.lines().filter_map(moved).map(|(at, on)| (at, number, on)));
        }
        assert!(events.len() >= 3, "it came, went and came: {events:?}");
        events.sort_unstable();
        let (mut on, mut longest, mut since) = ([false; 2], Duration::ZERO, None);
        for (at, number, is_on) in events {
            on[number] = is_on;
            match since {
                None if on == [true; 2] => since = Some(at),
                Some(begin) if on != [true; 2] => {
                    longest = longest.max(at.saturating_sub(begin));
                    since = None;
                }
                _ => {}
            }
        }
        assert!(since.is_none(), "both have it now");
        longest
    }
}

/// The time of day and whether it came, when a line of `ip monitor` is about the address.
fn moved(line: &str) -> Option<(Duration, bool)> {
    if !line.contains(&format!(" {ADDRESS}/")) {
        return None;
    }
    let time = line.split(['T', ']']).nth(1)?;
    let mut parts = time.split(':');
    let hours: u64 = parts.next()?.parse().ok()?;
    let minutes: u64 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next()?.parse().ok()?;
    let whole = Duration::from_secs(hours * 3600 + minutes * 60);
    Some((whole + Duration::from_secs_f64(seconds), !line.contains("Deleted")))
}

/// A client that opens a connection every other millisecond and waits for its greeting.
struct Knocking {
    served: mpsc::Receiver<(Instant, Instant)>,
    seen: std::cell::RefCell<Vec<(Instant, Instant)>>,
    stop: mpsc::Sender<()>,
}

impl Knocking {
    fn start(client: &Machine) -> Self {
        let (sender, served) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        let address: SocketAddr = format!("{ADDRESS}:25").parse().expect("an address");
        client.inside(move || {
            std::thread::spawn(move || {
                while let Err(mpsc::RecvTimeoutError::Timeout) =
                    stopped.recv_timeout(KNOCK_INTERVAL)
                {
                    let sender = sender.clone();
                    std::thread::spawn(move || {
                        let began = Instant::now();
                        let patience = Duration::from_secs(3);
                        let stream = TcpStream::connect_timeout(&address, patience);
                        let Ok(mut stream) = stream else { return };
                        let _ = stream.set_read_timeout(Some(patience));
                        if matches!(stream.read_some(&mut [0; 64]), Ok(length) if length > 0) {
                            let _ = sender.send((began, Instant::now()));
                        }
                    });
                }
            });
        });
        Self { served, seen: std::cell::RefCell::default(), stop }
    }

    /// Waits until so many were served that began after `since`.
    fn wait_served(&self, count: usize, since: Instant) {
        wait_until("clients are served", MOMENT, || {
            let mut seen = self.seen.borrow_mut();
            seen.extend(self.served.try_iter());
            let number = seen.iter().filter(|(began, _)| *began > since).count();
            if number >= count { Ok(()) } else { Err(format!("{number} were served")) }
        });
    }

    /// From the failure to the end of the longest time without anybody who was served.
    fn end(self, failed: Instant) -> Duration {
        drop(self.stop);
        let mut ends: Vec<_> = self.seen.into_inner().into_iter().map(|(_, end)| end).collect();
        ends.sort_unstable();
        let gaps = ends.windows(2).map(|pair| (pair[1] - pair[0], pair[1]));
        let (_, again) = gaps.filter(|(_, end)| *end > failed).max().expect("some were served");
        again - failed
    }
}

#[test]
fn the_shipped_files_are_good() {
    for name in ["a", "b"] {
        let path = project().join(format!("configs/keepalived/keepalived-{name}.conf"));
        let mut command = Command::new("keepalived");
        run(command.arg("--config-test").arg("-f").arg(path), b"").exits(0);
    }
}

#[test]
fn a_killed_balancer_is_missed_for_milliseconds() {
    let mut pair = Pair::new();
    let first = pair.outage("balancer killed", |half| half.balancer.kill());
    // It is started again, and does not take the address back.
    let half = &mut pair.halves[0];
    let config = pair._directory.path().join("a.yaml");
    half.balancer = balancer(&half.machine, &config);
    half.wait_standing_by();
    assert_eq!(pair.active(), 1, "nopreempt");
    let second = pair.outage("balancer killed, the other way", |half| half.balancer.kill());
    for outage in [first, second] {
        assert!(outage < Duration::from_millis(500), "{outage:?}");
    }
}

#[test]
fn a_frozen_balancer_is_missed_for_less_than_half_a_second() {
    let mut pair = Pair::new();
    let outage = pair.outage("balancer frozen", |half| half.balancer.signal(Signal::STOP));
    assert!(outage < Duration::from_secs(2), "{outage:?}");
    pair.halves[0].balancer.signal(Signal::CONT);
    pair.halves[0].wait_standing_by();
    assert_eq!(pair.active(), 1, "nopreempt");
}

#[test]
fn without_a_node_somebody_still_says_try_later() {
    let mut pair = Pair::new();
    pair.greeter.take();
    wait_until("neither is ready", MOMENT, || {
        let answers = pair.halves.each_ref().map(|half| ready(&half.machine));
        if answers.iter().all(Result::is_err) { Ok(()) } else { Err(format!("{answers:?}")) }
    });
    // Each lets the other one go first for a second; then one of them has the address.
    wait_until("a client is told to come again", MOMENT, || {
        let heard = pair.client.inside(|| {
            let address = format!("{ADDRESS}:25").parse().expect("an address");
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(500))?;
            let mut bytes = [0; 64];
            stream.set_read_timeout(Some(MOMENT))?;
            let length = stream.read_some(&mut bytes)?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes[..length]).into_owned())
        });
        match heard {
            Ok(heard) if heard.starts_with("421 ") => Ok(()),
            heard => Err(format!("{heard:?}")),
        }
    });
}

#[test]
fn a_machine_that_is_gone_is_missed_for_milliseconds() {
    let pair = Pair::new();
    let knocking = Knocking::start(&pair.client);
    knocking.wait_served(50, Instant::now());
    let failed = Instant::now();
    pair.halves[0].machine.plug(false);
    knocking.wait_served(50, failed);
    let outage = knocking.end(failed);
    println!("machine gone: served again after {:.1} ms", outage.as_secs_f64() * 1000.0);
    assert!(outage < Duration::from_millis(500), "{outage:?}");
    assert!(pair.halves[1].holds());
    // It comes back, and stands by.
    let half = &pair.halves[0];
    half.machine.plug(true);
    half.wait_standing_by();
    assert_eq!(pair.active(), 1, "nopreempt");
}
