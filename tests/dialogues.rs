//! Does a node speak as the RFCs do? Each dialogue of `dialogues/` is played twice: to the pure
//! sessions of mailnode, without a socket, and to a running cluster.
//! It does not know what a dialogue shows; its first line says so.

#[path = "dialogues/pure.rs"]
mod pure;

use std::path::PathBuf;

use harness::program::project;
use harness::script::{Script, Sockets};
use harness::{ALICE, BOB, Cluster, Pop3Client};

use pure::World;

/// Every file of the folder, in the order of their names.
fn scripts() -> Vec<Script> {
    let folder = project().join("tests/dialogues");
    let entries = std::fs::read_dir(&folder).expect("the folder of dialogues");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "txt"));
    paths.sort();
    assert!(paths.len() >= 6, "dialogues in {}: {paths:?}", folder.display());
    paths.iter().map(|path| Script::read(path)).collect()
}

#[test]
fn the_pure_sessions_speak_so() {
    for script in scripts() {
        script.play(&mut World::new());
    }
}

#[test]
fn the_cluster_speaks_so() {
    let cluster = Cluster::start(3);
    for script in scripts() {
        let ports = vec![("smtp", cluster.smtp()), ("pop3", cluster.pop3())];
        script.play(&mut Sockets::new(ports, cluster.certificate()));
        // The next one finds empty maildrops again.
        for user in [ALICE, BOB] {
            let mut client = Pop3Client::login(cluster.pop3(), user);
            let (count, _) = client.stat();
            (1..=count).for_each(|number| {
                client.ok(&format!("DELE {number}"));
            });
            client.quit();
        }
    }
}
