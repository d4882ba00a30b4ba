//! Does the admin port answer as it should, and only whom it should? Tests only.
//! It does not know either binary's desk; the test runner calls it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::*;

#[derive(Default)]
struct TestDesk {
    ready: AtomicBool,
    token: Option<Token>,
}

impl Desk for TestDesk {
    fn ready(&self) -> Result<(), String> {
        let ready = self.ready.load(Ordering::Relaxed);
        if ready { Ok(()) } else { Err("no node is up".to_owned()) }
    }

    fn token(&self) -> Option<Token> {
        self.token.clone()
    }

    fn answer(&self, question: Question<'_>) -> Option<Answer> {
        let Question { method, path, body, is_meant, peer, .. } = question;
        let known = (method, path) == ("POST", "/echo");
        known.then(|| Answer::json(200, format!("[{body}] {is_meant} {peer}")))
    }
}

/// A process has one recorder, and tests share it.
fn recorder() -> Recorder {
    static RECORDER: OnceLock<Recorder> = OnceLock::new();
    RECORDER.get_or_init(|| Recorder::install().expect("the first")).clone()
}

fn start(desk: Arc<TestDesk>) -> (SocketAddr, Stop) {
    let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    let (address, stop) = (listener.local_address(), Stop::new());
    tokio::spawn(serve(listener, recorder(), desk, stop.clone()));
    (address, stop)
}

async fn ask(address: SocketAddr, request: &str) -> String {
    ask_with(address, request, 0, "").await
}

async fn ask_with(address: SocketAddr, request: &str, length: usize, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let head = format!("{request}\r\nHost: x\r\nConnection: close\r\n");
    let request = format!("{head}Content-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test]
async fn the_usual_questions_are_answered() {
    let desk = Arc::new(TestDesk::default());
    let (address, _stop) = start(desk.clone());
    metrics::describe_counter!("test_things_total", "Things that were tested.");
    metrics::counter!("test_things_total").increment(3);
    metrics::histogram!("test_seconds").record(0.02);
    let metrics = ask(address, "GET /metrics HTTP/1.1").await;
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
    assert!(metrics.contains("# HELP test_things_total Things that were tested."), "{metrics}");
    assert!(metrics.contains("test_seconds_bucket{le=\"0.025\"} 1"), "{metrics}");
    let live = ask(address, "GET /live HTTP/1.1").await;
    assert!(live.contains(" 200 ") && live.ends_with("\r\n\r\nlive\n"), "{live}");
    let ready = ask(address, "GET /ready HTTP/1.1").await;
    assert!(ready.contains(" 503 ") && ready.ends_with("no node is up\n"), "{ready}");
    desk.ready.store(true, Ordering::Relaxed);
    let ready = ask(address, "GET /ready?x=1 HTTP/1.1").await;
    assert!(ready.contains(" 200 ") && ready.ends_with("ready\n"), "{ready}");
    let post = ask(address, "POST /live HTTP/1.1").await;
    assert!(post.contains(" 405 "), "{post}");
    let unknown = ask(address, "GET /../etc/passwd HTTP/1.1").await;
    assert!(unknown.contains(" 404 "), "{unknown}");
}

#[tokio::test]
async fn the_desk_is_given_what_is_not_too_long() {
    let (address, _stop) = start(Arc::default());
    let echo = ask_with(address, "POST /echo HTTP/1.1", 4, "body").await;
    assert!(
        echo.ends_with("[body] false 127.0.0.1") && echo.contains("application/json"),
        "{echo}"
    );
    let refused = ask_with(address, "POST /echo HTTP/1.1", 99_999_999, "").await;
    assert!(refused.contains(" 413 "), "{refused}");
}

#[tokio::test]
async fn it_stops_when_asked() {
    let (address, stop) = start(Arc::default());
    let mut idle = TcpStream::connect(address).await.expect("it listens");
    ask(address, "GET /live HTTP/1.1").await;
    stop.request();
    assert_eq!(idle.read(&mut [0]).await.expect("a clean end"), 0);
}

#[tokio::test]
async fn who_has_no_token_hears_only_whether_it_lives() {
    let token = <Token as crate::config::Value>::parse("0123456789abcdef");
    let (address, _stop) = start(Arc::new(TestDesk { token, ..TestDesk::default() }));
    for (request, status) in [
        ("GET /live HTTP/1.1", "200"),
        ("GET /ready HTTP/1.1", "503"),
        ("GET /metrics HTTP/1.1", "401"),
        ("POST /echo HTTP/1.1", "401"),
        ("GET /nothing HTTP/1.1", "401"),
        ("GET /metrics HTTP/1.1\r\nAuthorization: Bearer 0123456789abcdeF", "401"),
        ("GET /metrics HTTP/1.1\r\nAuthorization: Bearer 0123456789abcdef", "200"),
        ("POST /echo HTTP/1.1\r\nAuthorization: Bearer 0123456789abcdef", "200"),
    ] {
        let answer = ask(address, request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        let challenged = answer.contains("www-authenticate: Bearer");
        assert_eq!(challenged, status == "401", "{request}: {answer}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_is_told_from_a_program() {
    let (address, _stop) = start(Arc::default());
    for (head, is_meant) in [
        ("", false),
        ("\r\nContent-Type: text/plain", false),
        ("\r\nContent-Type: application/x-www-form-urlencoded", false),
        ("\r\nContent-Type: application/json", true),
        ("\r\nContent-Type: Application/JSON; charset=utf-8", true),
        ("\r\nContent-Type: application/json\r\nOrigin: http://evil.example", false),
    ] {
        let answer = ask(address, &format!("POST /echo HTTP/1.1{head}")).await;
        assert!(answer.contains(&format!("[] {is_meant} ")), "{head}: {answer}");
    }
}

#[tokio::test]
async fn a_socket_in_the_file_system_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    // One that a dead process has left.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let door = bind_unix(&path).expect("it is replaced");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    let second = bind_unix(&path).expect_err("somebody listens there");
    assert_eq!(second.kind(), std::io::ErrorKind::AddrInUse);
    let stop = Stop::new();
    let door = Door::Unix(door);
    assert_eq!(door.address(), format!("unix:{}", path.display()));
    let served = tokio::spawn(serve(door, recorder(), Arc::new(TestDesk::default()), stop.clone()));
    let mut stream = UnixStream::connect(&path).await.expect("it listens");
    let request = b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.ends_with("live\n"), "{answer}");
    stop.request();
    served.await.expect("it ends");
    assert!(!path.exists(), "it is removed");
    std::fs::write(&path, "no socket").expect("it is written");
    bind_unix(&path).expect_err("a file of somebody else is left alone");
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "no socket");
}
