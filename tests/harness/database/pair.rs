//! A primary and its standby, which confirms each commit before its sender hears of it.
//! It does not know what is kept there; the tests that let a primary die ask for it.

use std::process::Command;
use std::sync::Arc;

use super::{Database, Kind, Server};
use crate::program::run;
use crate::wait::{MOMENT, wait_until};

/// Copies the primary with socket directory `$1` and port `$2` to the data directory of `$3`.
const BASE_BACKUP: &str = r#"
set -eu
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
as=''
if [ "$(id -u)" = 0 ]; then
  as='setpriv --reuid=postgres --regid=postgres --clear-groups'
  chown postgres: "$3"
fi
cd "$3"
$as "$bin/pg_basebackup" -h "$1" -p "$2" -U postgres -D "$3/data" -R -X stream -c fast --no-sync
echo "primary_conninfo = 'host=$1 port=$2 user=postgres application_name=standby'" \
  >>"$3/data/postgresql.auto.conf"
"#;

/// Settings of both PostgreSQL servers.
const POSTGRESQL: [&str; 10] = [
    "-c",
    "wal_level=replica",
    "-c",
    "wal_sender_timeout=1s",
    "-c",
    "wal_receiver_timeout=1s",
    "-c",
    "synchronous_commit=remote_apply",
    "-c",
    "wal_keep_size=64MB",
];

/// Settings of both MariaDB servers. Without a replica a commit waits: ten days, not ten seconds.
const MARIADB: [&str; 5] = [
    "--log-bin=bin",
    "--gtid-strict-mode",
    "--log-slave-updates",
    "--rpl-semi-sync-master-wait-point=AFTER_SYNC",
    "--rpl-semi-sync-master-timeout=864000000",
];

/// Two servers, the second of which follows the first.
#[derive(Debug)]
pub struct Pair {
    kind: Kind,
    /// The one that is written to.
    pub primary: Arc<Server>,
    /// The one that follows.
    pub standby: Arc<Server>,
}

impl Pair {
    /// A pair whose primary waits for its standby at every commit.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(kind: Kind) -> Self {
        let pair = match kind {
            Kind::Postgresql => Self::postgresql(),
            Kind::Mariadb => Self::mariadb(),
            Kind::Sqlite => panic!("SQLite has no server"),
        };
        pair.wait_synchronous();
        pair
    }

    fn postgresql() -> Self {
        let kind = Kind::Postgresql;
        let primary = Server::start(kind, &POSTGRESQL);
        let place = Server::place();
        let mut copy = Command::new("sh");
        copy.args(["-c", BASE_BACKUP, "copy"]).arg(primary.directory());
        copy.arg(primary.port().to_string()).arg(&place);
        run(&mut copy, b"").exits(0);
        let standby = Server::start_in(place, kind, &POSTGRESQL);
        let names = "alter system set synchronous_standby_names = 'ANY 1 (standby)'";
        primary.sql("", names);
        primary.sql("", "select pg_reload_conf()");
        Self { kind, primary: Arc::new(primary), standby: Arc::new(standby) }
    }

    fn mariadb() -> Self {
        let kind = Kind::Mariadb;
        let own = ["--server-id=1", "--rpl-semi-sync-master-enabled=1"];
        let primary = Server::start(kind, &[&MARIADB[..], &own].concat());
        primary.sql(
            "",
            "set sql_log_bin = 0; create user 'replica'@'%' identified by 'secret'; \
             grant replication slave on *.* to 'replica'@'%'",
        );
        let own = ["--server-id=2", "--read-only=1", "--rpl-semi-sync-slave-enabled=1"];
        let standby = Server::start(kind, &[&MARIADB[..], &own].concat());
        standby.sql(
            "",
            &format!(
                "change master to master_host = '127.0.0.1', master_port = {}, \
                 master_user = 'replica', master_password = 'secret', \
                 master_use_gtid = slave_pos, master_connect_retry = 1; start slave",
                primary.port()
            ),
        );
        Self { kind, primary: Arc::new(primary), standby: Arc::new(standby) }
    }

    fn wait_synchronous(&self) {
        let (asked, wanted) = match self.kind {
            Kind::Postgresql => ("select sync_state from pg_stat_replication", "quorum"),
            _ => (
                "select variable_value from information_schema.global_status \
                 where variable_name = 'rpl_semi_sync_master_clients'",
                "1",
            ),
        };
        wait_until("the standby confirms", MOMENT * 2, || {
            let said = self.primary.sql("", asked);
            if said == [wanted] { Ok(()) } else { Err(format!("{said:?}")) }
        });
    }

    /// An empty database that both have.
    pub fn database(&self) -> Database {
        Database::on(self.primary.clone(), "mail").and_on(&self.standby)
    }

    /// From now on the primary waits for nobody, and the standby hears nothing more.
    pub fn part(&self) {
        if self.kind == Kind::Mariadb {
            self.primary.sql("", "set global rpl_semi_sync_master_enabled = 0");
            self.standby.sql("", "stop slave io_thread");
            return;
        }
        self.primary.sql("", "alter system set synchronous_standby_names = ''");
        self.primary.sql("", "select pg_reload_conf()");
        self.standby.sql("", "alter system set primary_conninfo = ''");
        self.standby.sql("", "select pg_reload_conf()");
        wait_until("the standby hears nothing more", MOMENT, || {
            let said = self.primary.sql("", "select pid from pg_stat_replication");
            if said.is_empty() { Ok(()) } else { Err(format!("{said:?}")) }
        });
    }

    /// Makes the standby the one that is written to; done when this returns.
    ///
    /// MariaDB: a commit was confirmed when it lay in the replica's relay log, so all of that is
    /// applied first. Whoever promotes without waiting for it loses confirmed mail.
    pub fn promote(&self) {
        if self.kind == Kind::Postgresql {
            assert_eq!(self.standby.sql("", "select pg_promote()"), ["t"]);
            return;
        }
        self.standby.sql("", "stop slave io_thread");
        wait_until("all of the relay log is applied", MOMENT, || {
            let said = self.standby.sql(
                "",
                "select state from information_schema.processlist \
                 where command = 'Slave_SQL'",
            );
            let waits = said.iter().any(|state| state.contains("has read all relay log"));
            if waits { Ok(()) } else { Err(format!("{said:?}")) }
        });
        self.standby.sql("", "stop slave; reset slave all; set global read_only = 0");
    }
}
