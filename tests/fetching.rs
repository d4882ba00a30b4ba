//! Do the programs people fetch their mail with fetch it, through the balancer, with and without
//! TLS? mutt, fetchmail, getmail, mpop, curl, Python's poplib; and one that proves its password.
//! It does not know our own clients but for the one that sends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::program::project;
use harness::smtp_client::send;
use harness::{ALICE, Cluster, message, run};

/// A cluster of two nodes with two messages for alice, and a folder for a program's files.
fn with_mail() -> (Cluster, PathBuf) {
    let cluster = Cluster::start(2);
    for subject in ["the first", "the second"] {
        send(cluster.smtp(), ALICE.address, &message(subject));
    }
    let folder = cluster.directory().join("client");
    fs::create_dir(&folder).expect("a folder");
    (cluster, folder)
}

/// Writes a program's settings, which are nobody else's to read.
fn settings(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    path
}

/// Runs a program that must not want more than a minute, and gives what it has written to `file`.
fn fetches(words: &[&str], folder: &Path, file: &Path) {
    let mut command = Command::new("timeout");
    command.arg("60").args(words).current_dir(folder).env("HOME", folder).env("TERM", "xterm");
    command.env("FETCHMAILHOME", folder);
    let finished = run(&mut command, b"");
    let said = format!("{}{}", finished.text(), finished.stderr);
    assert_eq!(finished.code, Some(0), "{words:?}: {said}");
    let fetched = fs::read_to_string(file);
    let fetched = fetched.unwrap_or_else(|error| panic!("{words:?}: {error}: {said}"));
    for subject in ["Subject: the first", "Subject: the second"] {
        assert!(fetched.contains(subject), "{words:?}: {subject}: {fetched}\n{said}");
    }
}

#[test]
fn curl_fetches() {
    let (cluster, folder) = with_mail();
    let (login, authority) =
        (format!("{}:{}", ALICE.address, ALICE.password), cluster.certificate());
    let authority = authority.to_string_lossy();
    let plain = format!("pop3://localhost:{}", cluster.pop3());
    let inside = format!("pop3s://localhost:{}", cluster.pop3s());
    let secure = ["--ssl-reqd", "--cacert", &authority];
    let ways = [
        (&plain, vec![]),
        (&plain, vec!["--login-options", "AUTH=LOGIN"]),
        (&plain, vec!["--login-options", "AUTH=PLAIN", "--sasl-ir"]),
        (&plain, secure.to_vec()),
        (&inside, vec!["--cacert", &authority]),
    ];
    for (url, more) in ways {
        let file = folder.join("fetched");
        let both = format!("{url}/[1-2]");
        let mut words = vec!["curl", "-sS", "--user", &login, "-o", "#1"];
        words.extend(&more);
        words.push(&both);
        let mut command = Command::new("timeout");
        let finished = run(command.arg("60").args(&words).current_dir(&folder), b"");
        assert_eq!(finished.code, Some(0), "{words:?}: {}", finished.stderr);
        let parts = ["1", "2"].map(|name| fs::read(folder.join(name)).expect("a message"));
        fs::write(&file, parts.concat()).expect("a file");
        fetches(&["true"], &folder, &file);
    }
}

#[test]
fn fetchmail_fetches() {
    let (cluster, folder) = with_mail();
    let (plain, inside) = (cluster.pop3(), cluster.pop3s());
    let file = folder.join("fetched");
    let user = format!(
        "proto pop3 auth password user \"{}\" password \"{}\" keep fetchall",
        ALICE.address, ALICE.password
    );
    let tls = format!("sslcertck sslcertfile {}", cluster.certificate().display());
    let mda = format!("mda \"cat >>{}\"", file.display());
    for (port, more) in [
        (plain, "sslproto \"\"".to_owned()),
        (plain, format!("sslproto \"TLS1.2+\" {tls}")),
        (inside, format!("ssl {tls}")),
    ] {
        let text = format!("poll localhost service {port} {user} {more} {mda}\n");
        settings(&folder, "fetchmailrc", &text);
        fetches(&["fetchmail", "--fetchmailrc", "fetchmailrc", "--nosyslog"], &folder, &file);
        fs::remove_file(&file).expect("it was there");
    }
}

#[test]
fn mpop_fetches() {
    let (cluster, folder) = with_mail();
    let file = folder.join("fetched");
    let tls = format!("tls on\ntls_trust_file {}", cluster.certificate().display());
    for (port, auth, more) in [
        (cluster.pop3(), "user", String::new()),
        (cluster.pop3(), "plain", format!("{tls}\ntls_starttls on")),
        (cluster.pop3s(), "user", format!("{tls}\ntls_starttls off")),
    ] {
        let text = format!(
            "account default\nhost localhost\nport {port}\nuser {}\npassword {}\nkeep on\n\
             auth {auth}\nuidls_file {}\ndelivery mbox {}\n{more}\n",
            ALICE.address,
            ALICE.password,
            folder.join("seen").display(),
            file.display(),
        );
        settings(&folder, "mpoprc", &text);
        fetches(&["mpop", "--file=mpoprc"], &folder, &file);
        fs::remove_file(&file).expect("it was there");
        fs::remove_file(folder.join("seen")).expect("what it has seen");
    }
}

#[test]
fn getmail_fetches() {
    let (cluster, folder) = with_mail();
    let file = folder.join("fetched");
    let certificate = cluster.certificate();
    for (kind, port, more) in [
        ("SimplePOP3Retriever", cluster.pop3(), String::new()),
        (
            "SimplePOP3SSLRetriever",
            cluster.pop3s(),
            format!("ca_certs = {}\n", certificate.display()),
        ),
    ] {
        // As root it delivers by a program only.
        let text = format!(
            "[retriever]\ntype = {kind}\nserver = localhost\nport = {port}\nusername = {}\n\
             password = {}\n{more}[destination]\ntype = MDA_external\npath = /usr/bin/tee\n\
             arguments = (\"-a\", \"{}\")\nallow_root_commands = true\n[options]\ndelete = false\n\
             read_all = true\n",
            ALICE.address,
            ALICE.password,
            file.display(),
        );
        settings(&folder, "getmailrc", &text);
        let directory = folder.to_string_lossy();
        let words = ["/usr/bin/python3", "/usr/bin/getmail", "--getmaildir", &directory];
        fetches(&[&words[..], &["--rcfile", "getmailrc"]].concat(), &folder, &file);
        fs::remove_file(&file).expect("it was there");
    }
}

#[test]
fn mutt_fetches() {
    let (cluster, folder) = with_mail();
    let file = folder.join("spool");
    let (address, password) = (ALICE.address.replace('@', "%40"), ALICE.password);
    let trust = format!("set certificate_file={}", cluster.certificate().display());
    for (scheme, port, more) in [
        ("pop", cluster.pop3(), "set ssl_starttls=no ssl_force_tls=no"),
        ("pop", cluster.pop3(), "set ssl_starttls=yes ssl_force_tls=yes"),
        ("pops", cluster.pop3s(), "set ssl_force_tls=yes"),
    ] {
        fs::write(&file, "").expect("an empty spool");
        let text = format!(
            "set folder={folder} spoolfile={file} pop_delete=no move=no confirmappend=no\n{trust}\n\
             {more}\nset pop_host=\"{scheme}://{address}:{password}@localhost:{port}/\"\n",
            folder = folder.display(),
            file = file.display(),
        );
        settings(&folder, "muttrc", &text);
        // Its command to fetch exists on a screen only.
        let mutt = format!("mutt -n -F muttrc -f {} -e 'push <fetch-mail><quit>'", file.display());
        fetches(&["script", "-qec", &mutt, "/dev/null"], &folder, &file);
    }
}

#[test]
fn poplib_and_a_proof() {
    let (cluster, folder) = with_mail();
    let certificate = cluster.certificate();
    for trusted in [None, Some(&certificate)] {
        let mut python = Command::new("python3");
        python.arg(project().join("tests/clients/scram.py")).arg(cluster.pop3().to_string());
        python.args([ALICE.address, ALICE.password]).args(trusted).current_dir(&folder);
        let said = run(&mut python, b"").exits(0).text();
        assert!(said.starts_with("2 "), "{said}");
    }
    let mut wrong = Command::new("python3");
    wrong.arg(project().join("tests/clients/scram.py")).arg(cluster.pop3().to_string());
    let refused = run(wrong.args([ALICE.address, "wrong"]), b"").exits(1);
    assert!(refused.stderr.contains("-ERR [AUTH] "), "{}", refused.stderr);
    let program = "import poplib, ssl, sys\n\
        c = poplib.POP3_SSL('localhost', int(sys.argv[1]), timeout=60,\n\
        \x20   context=ssl.create_default_context(cafile=sys.argv[2]))\n\
        c.user(sys.argv[3]); c.pass_(sys.argv[4])\n\
        assert len(c.uidl()[1]) == 2 and b'' in c.retr(1)[1]\n\
        c.quit()\n";
    let mut python = Command::new("python3");
    python.args(["-c", program, &cluster.pop3s().to_string()]).arg(&certificate);
    run(python.args([ALICE.address, ALICE.password]), b"").exits(0);
}
