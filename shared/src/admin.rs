//! The admin port: `/metrics`, `/live`, `/ready`, and whatever a binary's own desk answers.
//! It does not know what is behind the desk; both binaries' `run` commands serve it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::listener::{Accepted, ConnectionLimit, Listener, accept_loop};
use crate::metrics::Recorder;
use crate::shutdown::Stop;

/// Few ask; the rest of the descriptors is for the work itself.
const CONNECTIONS_MAX: usize = 64;
/// A request's head has to arrive within this time; an idle connection is closed after it too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A request's body has to arrive within this time.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest body.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// No connection lives longer: who wants more asks again.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);

const TEXT: &str = "text/plain; charset=utf-8";
/// The version of the text format is part of its name.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What an HTTP client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status; an impossible one is sent as 500.
    pub status: u16,
    /// Value of `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Answer {
    /// A plain text with a line's end.
    #[must_use]
    pub fn text(status: u16, text: &str) -> Self {
        Self { status, content_type: TEXT, body: format!("{text}\n") }
    }

    /// A JSON text.
    #[must_use]
    pub fn json(status: u16, json: String) -> Self {
        Self { status, content_type: "application/json", body: json }
    }
}

/// What a binary answers at its admin port. Calls must be quick: they run between connections.
pub trait Desk: Send + Sync + 'static {
    /// Whether new work is welcome.
    ///
    /// # Errors
    /// Why it is not, in a sentence.
    fn ready(&self) -> Result<(), String>;

    /// The answer to any other request; `None` is 404. `path` has no query part.
    fn answer(&self, method: &str, path: &str, body: &str) -> Option<Answer> {
        let _ = (method, path, body);
        None
    }
}

/// Listens at the admin address.
///
/// # Errors
/// What the system says, as in [`Listener::bind`].
pub fn bind(address: SocketAddr) -> io::Result<Listener> {
    Listener::bind(address)
}

/// Serves until a stop is requested; requests that are being answered then are finished.
pub async fn serve(listener: Listener, recorder: Recorder, desk: Arc<dyn Desk>, stop: Stop) {
    let limit = ConnectionLimit::new(CONNECTIONS_MAX);
    accept_loop(listener, limit, &stop, |accepted| {
        let (recorder, desk, stop) = (recorder.clone(), desk.clone(), stop.clone());
        tokio::spawn(async move {
            let Accepted { stream, permit, .. } = accepted;
            connection(stream, recorder, desk, stop).await;
            drop(permit);
        });
    })
    .await;
}

async fn connection(stream: TcpStream, recorder: Recorder, desk: Arc<dyn Desk>, stop: Stop) {
    let service = service_fn(move |request| {
        let (recorder, desk) = (recorder.clone(), desk.clone());
        async move { Ok::<_, Infallible>(response(answer(request, &recorder, &*desk).await)) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(16 * 1024);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let deadline = tokio::time::sleep(CONNECTION_TIMEOUT);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.requested() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(HEAD_TIMEOUT, connection).await.unwrap_or(Ok(()))
        }
        () = deadline => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection broke");
    }
}

async fn answer(request: Request<Incoming>, recorder: &Recorder, desk: &dyn Desk) -> Answer {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    match (head.method.as_str(), path) {
        ("GET" | "HEAD", "/metrics") => {
            Answer { status: 200, content_type: METRICS, body: recorder.render() }
        }
        ("GET" | "HEAD", "/live") => Answer::text(200, "live"),
        ("GET" | "HEAD", "/ready") => match desk.ready() {
            Ok(()) => Answer::text(200, "ready"),
            Err(reason) => Answer::text(503, &reason),
        },
        (_, "/metrics" | "/live" | "/ready") => Answer::text(405, "allowed: GET, HEAD"),
        (method, path) => match text(body).await {
            Ok(body) => {
                let answer = desk.answer(method, path, &body);
                answer.unwrap_or_else(|| Answer::text(404, "there is nothing here"))
            }
            Err(refusal) => refusal,
        },
    }
}

/// The body as text, within its limits.
async fn text(body: Incoming) -> Result<String, Answer> {
    let too_long = || Answer::text(413, "the body is too long, or was cut off");
    // An announced length is believed when it is too much: nothing of it is read.
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_long());
    }
    let collected = Limited::new(body, BODY_BYTES_MAX).collect();
    let bytes = match tokio::time::timeout(BODY_TIMEOUT, collected).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(_)) => return Err(too_long()),
        Err(_) => return Err(Answer::text(408, "the body did not arrive in time")),
    };
    let not_text = |_| Answer::text(400, "the body is not UTF-8 text");
    String::from_utf8(bytes.to_vec()).map_err(not_text)
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let Answer { status, content_type, body } = answer;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, content_type)
        .header(CACHE_CONTROL, "no-store")
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .body(Full::new(Bytes::from(body)));
    response.unwrap_or_else(|error| {
        tracing::warn!(%error, "an answer has a header that cannot be sent");
        Response::new(Full::default())
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[derive(Default)]
    struct TestDesk {
        ready: AtomicBool,
    }

    impl Desk for TestDesk {
        fn ready(&self) -> Result<(), String> {
            let ready = self.ready.load(Ordering::Relaxed);
            if ready { Ok(()) } else { Err("no node is up".to_owned()) }
        }

        fn answer(&self, method: &str, path: &str, body: &str) -> Option<Answer> {
            let known = (method, path) == ("POST", "/echo");
            known.then(|| Answer::json(200, format!("[{body}]")))
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
        assert!(echo.ends_with("[body]") && echo.contains("application/json"), "{echo}");
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
}
