//! Does a balancer that lets nobody in any more say so? Its loops are held up by strace.
//! It does not know how it finds out; nobody else may notice that it looks.

use std::path::PathBuf;
use std::process::Command;

use harness::process::Process;
use harness::{Cluster, MOMENT, SmtpClient, http, wait_until};

/// The threads that carry connections, by their names.
fn loops(pid: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let tasks = tasks.flatten().filter(|task| {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        name.starts_with("loop-")
    });
    tasks.map(|task| task.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn loops_that_hang_make_it_unready() {
    let mut cluster = Cluster::start(1);
    let loops = loops(cluster.balancer_process().pid());
    assert!(!loops.is_empty(), "no thread is called loop-");
    // A stranger is served and counted; our own looks are not.
    SmtpClient::connect(cluster.smtp()).expect("a greeting").quit();
    let log: PathBuf = cluster.directory().join("strace.log");
    let mut command = Command::new("strace");
    command.args(["-e", "trace=accept4", "-e", "inject=accept4:delay_enter=60000000"]);
    command.args(loops.iter().flat_map(|thread| ["-p", thread]));
    let mut strace = Process::start("strace", &mut command, &log);
    let said = wait_until("it says that it lets nobody in", MOMENT, || {
        let answer = http::get(cluster.admin(), "/ready").map_err(|error| error.to_string())?;
        if answer.status == 503 { Ok(answer.body) } else { Err(format!("{answer:?}")) }
    });
    assert!(said.contains("does not let anybody in"), "{said}");
    strace.kill();
    cluster.wait_balancer_ready();

    wait_until("the client is counted", MOMENT, || {
        let metrics = cluster.metrics();
        let count = metrics.sum("balancer_service_connections_total", &[]);
        let ended = metrics.sum("balancer_service_ends_total", &[]);
        if (count, ended) == (1.0, 1.0) { Ok(()) } else { Err(format!("{count}, {ended}")) }
    });
    let log = cluster.balancer_log();
    let clients = log.lines().filter(|line| line.contains("\"message\":\"connection\""));
    assert_eq!(clients.count(), 1, "{log}");
}
