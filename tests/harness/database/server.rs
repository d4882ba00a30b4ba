//! A real PostgreSQL or MariaDB server in a directory of its own, gone with the test program.
//! It does not know what is kept there. Made once and copied from then on (see `PREPARED`), for
//! making one takes seconds. It writes to no disk in earnest: what a killed process leaves is there
//! all the same, and no test here cuts the power.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{Kind, lines};
use crate::ports::Port;
use crate::program::ours;
use crate::wait::wait_until;

/// No server takes longer to start, on the slowest machine.
const START: Duration = Duration::from_secs(90);

/// Makes `$1`, a data directory, unless a copy of one lies in `$2`; then starts the server of
/// data directory `$1` on port `$3` with the options that follow, and ends it when standard input
/// ends: with this program, however that ends. Servers refuse root, so they get a user of theirs.
const POSTGRESQL: &str = r#"
set -eu
dir=$1 prepared=$2 port=$3
shift 3
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
as=''
if [ "$(id -u)" = 0 ]; then
  as='setpriv --reuid=postgres --regid=postgres --clear-groups'
  chown postgres: "$dir"
fi
cd "$dir"
if [ ! -e "$prepared/PG_VERSION" ] && [ ! -e data ]; then
  echo secret >password
  $as "$bin/initdb" -D "$dir/data" -U postgres --pwfile=password --auth-local=trust \
    --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --no-sync >initdb.log
  cp -a data "$prepared.$$" && mv -T "$prepared.$$" "$prepared" 2>/dev/null || rm -rf "$prepared.$$"
elif [ ! -e data ]; then
  cp -a "$prepared" data
fi
exec $as "$bin/postgres" -D "$dir/data" -p "$port" -c listen_addresses=127.0.0.1 \
  -c unix_socket_directories="$dir" -c max_connections=300 -c fsync=off \
  -c full_page_writes=off -c shared_buffers=32MB "$@"
"#;

/// The same for MariaDB.
const MARIADB: &str = r#"
set -eu
dir=$1 prepared=$2 port=$3
shift 3
as=''
if [ "$(id -u)" = 0 ]; then
  as=--user=mysql
  chown mysql: "$dir"
fi
cd "$dir"
if [ ! -d "$prepared/mysql" ] && [ ! -e data ]; then
  mariadb-install-db --no-defaults $as --datadir="$dir/data" --skip-test-db --skip-name-resolve \
    --auth-root-authentication-method=normal >install.log 2>&1
  cp -a data "$prepared.$$" && mv -T "$prepared.$$" "$prepared" 2>/dev/null || rm -rf "$prepared.$$"
elif [ ! -e data ]; then
  cp -a "$prepared" data
fi
cat >start.sql <<'SQL'
set sql_log_bin = 0;
create user if not exists 'mail'@'%' identified by 'secret';
grant all on *.* to 'mail'@'%';
SQL
PATH=$PATH:/usr/sbin
exec mariadbd --no-defaults $as --datadir="$dir/data" --socket="$dir/sock" --pid-file="$dir/pid" \
  --bind-address=127.0.0.1 --port="$port" --skip-name-resolve --init-file="$dir/start.sql" \
  --innodb-flush-log-at-trx-commit=2 --innodb-buffer-pool-size=64M --innodb-log-file-size=16M \
  --max-connections=300 "$@"
"#;

/// Runs `"$@"` until standard input ends, then ends it and takes its directory away. A line of
/// standard input is a signal for it, or `start`, which first waits for the end of what runs.
const KEEPER: &str = r#"
dir=$1
shift
start() { "$@" </dev/null & pid=$!; }
start "$@"
trap '' INT TERM
while read -r word; do
  case $word in
    start) wait "$pid"; start "$@" ;;
    *) kill -"$word" "$pid" ;;
  esac
done
kill -CONT "$pid" 2>/dev/null
kill -INT "$pid" 2>/dev/null # PostgreSQL: at once, whoever is connected
kill -TERM "$pid" 2>/dev/null
wait "$pid"
rm -rf "$dir"
"#;

/// A session of a server's client, which ends with this.
#[derive(Debug)]
pub struct Session(Child);

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    port: Port,
    directory: PathBuf,
    keeper: Mutex<Child>,
}

impl Server {
    /// The one that all tests of this program share; `None` for SQLite, which has none.
    ///
    /// # Panics
    /// When it does not start.
    pub fn shared(kind: Kind) -> Option<Arc<Self>> {
        static POSTGRESQL: OnceLock<Arc<Server>> = OnceLock::new();
        static MARIADB: OnceLock<Arc<Server>> = OnceLock::new();
        let one = match kind {
            Kind::Sqlite => return None,
            Kind::Postgresql => &POSTGRESQL,
            Kind::Mariadb => &MARIADB,
        };
        Some(one.get_or_init(|| Arc::new(Self::start(kind, &[]))).clone())
    }

    /// One that is the test's own, to be harmed; it ends when this is dropped.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(kind: Kind, options: &[&str]) -> Self {
        Self::start_in(Self::place(), kind, options)
    }

    /// A new directory for one, which the server's user may pass.
    pub(super) fn place() -> PathBuf {
        let directory = tempfile::Builder::new().prefix("mail-db-").tempdir();
        let directory = directory.expect("a directory for temporary files").keep();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&directory, mode).expect("a mode");
        directory
    }

    /// As [`Self::start`], with a data directory that may be there already.
    pub(super) fn start_in(directory: PathBuf, kind: Kind, options: &[&str]) -> Self {
        let port = Port::claim();
        let (script, name) = match kind {
            Kind::Postgresql => (POSTGRESQL, "postgresql"),
            Kind::Mariadb => (MARIADB, "mariadb"),
            Kind::Sqlite => panic!("SQLite has no server"),
        };
        // Beside our programs: it lives as long as they do.
        let prepared = ours("mailnode").with_file_name(format!("test-{name}"));
        let log = fs::File::create(directory.join("log")).expect("a file");
        let copy = log.try_clone().expect("a descriptor more");
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "keeper"]).arg(&directory);
        command.args(["sh", "-c", script, name]).arg(&directory).arg(prepared);
        command.arg(port.number().to_string()).args(options);
        command.stdin(Stdio::piped()).stdout(log).stderr(copy);
        let keeper = Mutex::new(command.spawn().expect("sh starts"));
        let server = Self { kind, port, directory, keeper };
        server.wait_ready();
        server
    }

    /// Sends its first process a signal, or starts it again.
    ///
    /// # Panics
    /// When its keeper has ended.
    pub fn tell(&self, word: &str) {
        let mut keeper = self.keeper.lock().expect("nobody panicked");
        let stdin = keeper.stdin.as_mut().expect("it was piped");
        stdin.write_all(format!("{word}\n").as_bytes()).expect("the keeper listens");
    }

    /// Stops it in an orderly way, whoever is connected.
    pub fn stop(&self) {
        self.tell(if self.kind == Kind::Mariadb { "TERM" } else { "INT" });
    }

    /// `kill -9` of all its processes, gone when this returns.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        let pid = self.pid();
        wait_until("the server is gone", START, || {
            let left = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if left.is_empty() || left.contains(") Z ") { Ok(()) } else { Err(left) }
        });
    }

    /// Sends a signal to all its processes: those that serve its clients too.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, signal: Signal) {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|child| child.parse().ok());
        for pid in std::iter::once(pid).chain(children) {
            let pid = Pid::from_raw(pid).expect("a pid");
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits until it answers.
    pub fn wait_ready(&self) {
        wait_until("the database server answers", START, || {
            let asked = self.client("", "select 1").output().map_err(|error| error.to_string())?;
            if asked.status.success() {
                return Ok(());
            }
            let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            Err(format!("{}\n{log}", String::from_utf8_lossy(&asked.stderr)))
        });
        if self.kind == Kind::Postgresql {
            // A standby has it from its primary, and may make none.
            let role = "do $$ begin create role mail login password 'secret'; exception \
                        when duplicate_object or read_only_sql_transaction then null; end $$";
            self.sql("postgres", role);
        }
    }

    /// The address of one of its databases.
    pub fn url(&self, name: &str) -> String {
        let scheme = if self.kind == Kind::Mariadb { "mysql" } else { "postgres" };
        format!("{scheme}://mail:secret@127.0.0.1:{}/{name}", self.port.number())
    }

    /// Makes an empty database.
    pub fn create_database(&self, name: &str) {
        match self.kind {
            Kind::Mariadb => self.sql("", &format!("create database {name}")),
            _ => self.sql("postgres", &format!("create database {name} owner mail")),
        };
    }

    /// Asks one of its databases, as its administrator.
    ///
    /// # Panics
    /// When the statement fails.
    #[track_caller]
    pub fn sql(&self, name: &str, statement: &str) -> Vec<String> {
        let rows = lines(&mut self.client(name, statement));
        rows.into_iter().map(|row| row.replace('\t', "|")).collect()
    }

    /// Runs statements in a session that stays open until what is returned is dropped.
    ///
    /// # Panics
    /// When they fail.
    pub fn hold(&self, name: &str, statements: &str) -> Session {
        let mut command = self.client(name, "");
        let last = if self.kind == Kind::Mariadb { "-e" } else { "-c" };
        let mut open = Command::new(command.get_program());
        let kept = command.get_args().filter(|word| !word.is_empty() && *word != last);
        open.args(kept.map(|word| if word == "-NBe" { "-NBn".into() } else { word.to_owned() }));
        open.stdin(Stdio::piped()).stdout(Stdio::piped());
        command = open;
        let mut client = command.spawn().expect("the client starts");
        let stdin = client.stdin.as_mut().expect("it was piped");
        write!(stdin, "{statements};\nselect 'held';\n").expect("it listens");
        let mut said = String::new();
        let stdout = client.stdout.as_mut().expect("it was piped");
        BufReader::new(stdout).read_line(&mut said).expect("it answers");
        assert_eq!(said.trim(), "held", "{statements}");
        Session(client)
    }

    fn client(&self, name: &str, statement: &str) -> Command {
        let mut command;
        if self.kind == Kind::Mariadb {
            command = Command::new("mariadb");
            command.arg("--no-defaults").arg("-S").arg(self.directory.join("sock"));
            command.args(["-u", "root", "-NBe", statement, name]);
        } else {
            command = Command::new("psql");
            let name = if name.is_empty() { "postgres" } else { name };
            command.arg("-h").arg(&self.directory).args(["-p", &self.port.number().to_string()]);
            command.args(["-U", "postgres", "-d", name, "-XAtq", "-c", statement]);
        }
        command
    }

    /// Its directory: data, log, socket.
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The process id of the server's first process.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pid(&self) -> i32 {
        let file = match self.kind {
            Kind::Mariadb => self.directory.join("pid"),
            _ => self.directory.join("data/postmaster.pid"),
        };
        let text = fs::read_to_string(&file).expect("the server's pid file");
        text.lines().next().expect("a line").trim().parse().expect("a pid")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(keeper) = self.keeper.get_mut() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }
}
