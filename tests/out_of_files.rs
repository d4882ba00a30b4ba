//! No descriptor is left: does the balancer spin, lose a listener or need a restart?
//! It does not know where descriptors go; the limit is lowered while it runs.

use std::time::{Duration, Instant};

use harness::callers::{self, Callers, call};
use harness::{Balancer, FakeNode, MOMENT, hold_for, http, wait_until};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// How long nothing can be opened.
const SHORTAGE: Duration = Duration::from_secs(3);

/// Sets how many files the balancer may have open; gives the number before.
fn allow(balancer: &mut Balancer, files: Option<u64>) -> Option<u64> {
    let pid = i32::try_from(balancer.process().pid()).ok().and_then(Pid::from_raw);
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    let new = Rlimit { current: files, maximum };
    prlimit(pid, Resource::Nofile, new).expect("root may set limits").current
}

#[test]
fn without_descriptors_it_waits_and_goes_on_by_itself() {
    let nodes: Vec<_> = (0..3).map(|_| FakeNode::greeter("220 node\r\n")).collect();
    let ports: Vec<_> = nodes.iter().map(FakeNode::port).collect();
    let mut balancer = Balancer::before("smtp", "", &ports);
    let mut held: Vec<_> =
        (0..20).map(|_| call(balancer.port(), callers::SMTP).expect("it is served").0).collect();
    let callers = Callers::start(balancer.port(), callers::SMTP, 8);
    callers.wait_served(100);

    // Fewer than it has: whatever it wants to open now, it cannot.
    let usual = allow(&mut balancer, Some(16));
    let (began, before) = (Instant::now(), balancer.process().cpu());
    wait_until("the admin port answers from what was kept back", MOMENT, || {
        http::get(balancer.admin(), "/live").map(drop).map_err(|error| error.to_string())
    });
    hold_for(SHORTAGE);
    let cpu = (balancer.process().cpu() - before).as_secs_f64() / began.elapsed().as_secs_f64();
    for stream in &mut held {
        std::io::Write::write_all(stream, b"still here").expect("it is sent");
        let mut back = [0; 10];
        std::io::Read::read_exact(stream, &mut back).expect("who is inside is served");
    }
    allow(&mut balancer, usual);
    assert!(cpu < 0.2, "{:.0} % of a processor while nothing could be done", cpu * 100.0);

    callers.wait_served(200);
    let heard = callers.stop();
    // Who was let in, and for whom no way to a node was left, was told so in good order.
    let strange: Vec<_> = heard.failures.iter().filter(|told| !told.contains("421 4.")).collect();
    assert!(strange.is_empty(), "of {} served: {strange:?}", heard.served);
    let log = balancer.log();
    assert!(log.contains("no descriptors are left"), "nobody was told:\n{log}");
    assert_eq!(balancer.falls(), [""; 0], "that is no fault of any node");
    balancer.wait_ready();
}
