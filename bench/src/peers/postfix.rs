//! Postfix with virtual Maildirs: its own queue, its own processes, delivery of one domain to one
//! Maildir per user.
//!
//! It does not know the load. Called by `scenario::delivery`.

use std::fmt::Write;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::Peer;
use crate::process::{Failure, Sign, Step, doing, free_address};

/// How it is set, for the line of a figure.
pub(crate) const SETTINGS: &str =
    "virtual-Maildir,one-per-mailbox,in_flow_delay=0,texthash,delivered=file-in-Maildir";

/// The services of master.cf that receiving and delivering needs; smtpd's line comes before them.
const SERVICES: &str = "\
postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
";

/// Postfix and its mailboxes.
pub(crate) struct Postfix {
    /// The running program.
    pub(crate) peer: Peer,
    mail: PathBuf,
}

impl Postfix {
    /// Starts Postfix with mailboxes `user0@example.test` and on.
    pub(crate) async fn start(dir: &Path, mailboxes: u64) -> Step<Self> {
        let address = free_address()?;
        let mail = dir.join("mail");
        let nobody = Account::named("nobody")?;
        lay_out(dir, &mail, &nobody)?;
        let mut maps = String::new();
        for number in 0..mailboxes {
            let _ = writeln!(maps, "user{number}@example.test user{number}/Maildir/");
        }
        let master = format!("{address} inet n - n - - smtpd\n{SERVICES}");
        // Postfix reads a file again and again until it is 2 s old: fresh ones cost that at start.
        let old = SystemTime::now() - Duration::from_secs(10);
        let main = main_cf(dir, &mail, &nobody);
        for (name, text) in [("mailboxes", maps), ("master.cf", master), ("main.cf", main)] {
            let file = dir.join("etc").join(name);
            doing(file.display(), fs::write(&file, text))?;
            fs::File::options().write(true).open(&file)?.set_modified(old)?;
        }
        let mut program = Command::new("/usr/lib/postfix/sbin/master");
        program.arg("-c").arg(dir.join("etc")).arg("-d");
        let peer = Peer::start("postfix", dir, &program, address, Sign::Greeting(address)).await?;
        Ok(Self { peer, mail })
    }

    /// Files in the Maildir of mailbox `number`.
    pub(crate) fn delivered(&self, number: u64) -> u64 {
        let new = self.mail.join(format!("user{number}/Maildir/new"));
        fs::read_dir(new).map_or(0, |files| files.count() as u64)
    }
}

fn main_cf(dir: &Path, mail: &Path, nobody: &Account) -> String {
    let dir = dir.display();
    format!(
        "compatibility_level = 3.6\nqueue_directory = {dir}/queue\ndata_directory = {dir}/data\n\
         maillog_file = {dir}/mail.log\nmaillog_file_prefixes = {dir}\n\
         myhostname = mx.example.test\nmydestination =\ninet_protocols = ipv4\n\
         inet_interfaces = 127.0.0.1\nmynetworks = 127.0.0.0/8\nrelay_domains =\n\
         smtpd_relay_restrictions = reject_unauth_destination\n\
         virtual_mailbox_domains = example.test\nvirtual_mailbox_base = {}\n\
         virtual_mailbox_maps = texthash:{dir}/etc/mailboxes\n\
         virtual_uid_maps = static:{}\nvirtual_gid_maps = static:{}\nalias_maps =\n\
         default_transport = error:no mail leaves the bench\nsmtpd_peername_lookup = no\n\
         in_flow_delay = 0\n",
        mail.display(),
        nobody.user,
        nobody.group
    )
}

/// Makes the queue's directories with the owners Postfix wants; that spares `postfix check`.
fn lay_out(dir: &Path, mail: &Path, nobody: &Account) -> Step<()> {
    let postfix = Account::named("postfix")?.user;
    let drop_group = group_named("postdrop")?;
    let queue = dir.join("queue");
    let make = |path: PathBuf, mode: u32, user: u32, group: u32| -> Step<()> {
        let made = DirBuilder::new().recursive(true).mode(0o755).create(&path);
        let made = made.and_then(|()| chown(&path, Some(user), Some(group)));
        let made = made.and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)));
        doing(path.display(), made)
    };
    make(dir.join("etc"), 0o755, 0, 0)?;
    make(queue.join("pid"), 0o755, 0, 0)?;
    make(dir.join("data"), 0o700, postfix, 0)?;
    for name in [
        "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private",
        "saved", "trace",
    ] {
        make(queue.join(name), 0o700, postfix, 0)?;
    }
    make(queue.join("maildrop"), 0o1730, postfix, drop_group)?;
    make(queue.join("public"), 0o2710, postfix, drop_group)?;
    make(mail.to_owned(), 0o755, nobody.user, nobody.group)
}

/// Numbers of a user of this machine.
struct Account {
    user: u32,
    group: u32,
}

impl Account {
    fn named(name: &str) -> Step<Self> {
        let fields = line_of("/etc/passwd", name)?;
        let number = |at: usize| fields.get(at).and_then(|field| field.parse().ok());
        match (number(2), number(3)) {
            (Some(user), Some(group)) => Ok(Self { user, group }),
            _ => Err(Failure(format!("/etc/passwd: {name} has no numbers"))),
        }
    }
}

fn group_named(name: &str) -> Step<u32> {
    let number = line_of("/etc/group", name)?.get(2).and_then(|field| field.parse().ok());
    number.ok_or_else(|| Failure(format!("/etc/group: {name} has no number")))
}

/// The fields of the line in a file of /etc that begins with a name.
fn line_of(file: &str, name: &str) -> Step<Vec<String>> {
    let text = doing(file, fs::read_to_string(file))?;
    let lines = text.lines().map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>());
    let mut found = lines.filter(|fields| fields.first().is_some_and(|first| first == name));
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("{name} is not there"));
    doing(file, found.next().ok_or_else(missing))
}
