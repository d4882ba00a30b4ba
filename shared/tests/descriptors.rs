//! Does a listener live through a full descriptor table? (One test: the limit is the process's.)
//! It knows no protocol; the test runner calls it.

use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use shared::listener::{ConnectionLimit, Listener, accept_loop};
use shared::shutdown::Stop;
use tokio::sync::mpsc;

/// CPU this process has used, in hundredths of a second, from its open `/proc/self/stat`.
fn cpu(stat: &File) -> u64 {
    let mut text = [0; 1024];
    let length = stat.read_at(&mut text, 0).expect("it can be read");
    let text = String::from_utf8_lossy(&text[..length]).into_owned();
    let fields: Vec<_> = text.rsplit(')').next().expect("a name").split_whitespace().collect();
    let ticks = |field: usize| fields[field].parse::<u64>().expect("a number");
    // utime and stime are the fields 14 and 15 of proc(5), counted from 1.
    ticks(11) + ticks(12)
}

#[tokio::test]
async fn a_full_table_is_a_pause_and_not_an_end() {
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    let (address, stop) = (listener.local_address(), Stop::new());
    let (sender, mut accepted) = mpsc::unbounded_channel();
    let until = stop.clone();
    let accepting = tokio::spawn(async move {
        accept_loop(listener, ConnectionLimit::new(10), &until, |accepted| {
            let _ = sender.send(accepted);
        })
        .await;
    });
    let stat = File::open("/proc/self/stat").expect("it can be opened");
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(64);
    setrlimit(Resource::Nofile, limit).expect("a lower limit");
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    // The last free descriptor is the client's: none is left for the other end.
    files.pop();
    let _client = TcpStream::connect(address).expect("the kernel's queue has room");

    let before = cpu(&stat);
    let waited = tokio::time::timeout(Duration::from_millis(500), accepted.recv()).await;
    assert!(waited.is_err(), "accepted without a descriptor");
    let spent = cpu(&stat) - before;
    assert!(spent < 12, "{spent} hundredths of a second of CPU in 50: it spins");

    drop(files);
    let accepted = tokio::time::timeout(Duration::from_secs(10), accepted.recv()).await;
    accepted.expect("soon after there is room").expect("the loop lives");
    stop.request();
    accepting.await.expect("it ends in order");
}
