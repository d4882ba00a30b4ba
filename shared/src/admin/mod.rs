//! The admin port: `/metrics`, `/live`, `/ready`, and whatever a binary's own desk answers.
//! It does not know what is behind the desk; both binaries' `run` commands serve it.

mod door;
#[cfg(test)]
mod tests;
mod token;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ORIGIN, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

pub use door::{Door, UnixDoor, bind, bind_unix};
pub use token::Token;

use crate::listener::{Accepted, ConnectionLimit, accept_loop};
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

/// What somebody asks the desk.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Such as `GET`.
    pub method: &'a str,
    /// Without the query part.
    pub path: &'a str,
    /// What stands behind the `?`.
    pub query: &'a str,
    /// The body.
    pub body: &'a str,
    /// Who asks: an address, or `this machine` through a socket in the file system.
    pub peer: &'a str,
    /// Whether a page of another site cannot have sent it unseen by the one who looks at it: it
    /// shows the token, or has a body of type JSON and comes from no page at all.
    pub is_meant: bool,
}

/// What a binary answers at its admin port. Calls must be quick: they run between connections.
pub trait Desk: Send + Sync + 'static {
    /// Whether new work is welcome.
    ///
    /// # Errors
    /// Why it is not, in a sentence.
    fn ready(&self) -> Result<(), String>;

    /// What has to be shown for anything but `/live` and `/ready`; `None`: nothing.
    fn token(&self) -> Option<Token> {
        None
    }

    /// The answer to any other request; `None` is 404.
    fn answer(&self, question: Question<'_>) -> Option<Answer> {
        let _ = question;
        None
    }
}

/// Serves until a stop is requested; requests that are being answered then are finished.
pub async fn serve(door: impl Into<Door>, recorder: Recorder, desk: Arc<dyn Desk>, stop: Stop) {
    let limit = ConnectionLimit::new(CONNECTIONS_MAX);
    let clerk = Clerk { recorder, desk, stop: stop.clone() };
    match door.into() {
        Door::Tcp(listener) => {
            let each = |Accepted { stream, peer, permit }| {
                let connection = clerk.clone().connection(stream, peer.ip().to_string());
                tokio::spawn(async move {
                    connection.await;
                    drop(permit);
                });
            };
            accept_loop(listener, limit, &stop, each).await;
        }
        Door::Unix(door) => {
            let each = |stream, permit| {
                let connection = clerk.clone().connection(stream, "this machine".to_owned());
                tokio::spawn(async move {
                    connection.await;
                    drop(permit);
                });
            };
            door.accept_loop(limit, &stop, each).await;
        }
    }
}

/// Who stands at the door.
#[derive(Clone)]
struct Clerk {
    recorder: Recorder,
    desk: Arc<dyn Desk>,
    stop: Stop,
}

impl Clerk {
    async fn connection(self, stream: impl AsyncRead + AsyncWrite + Unpin, peer: String) {
        let Self { recorder, desk, stop } = self;
        let peer: Arc<str> = peer.into();
        let service = service_fn(move |request| {
            let (recorder, desk, peer) = (recorder.clone(), desk.clone(), peer.clone());
            async move {
                let answer = answer(request, &recorder, &*desk, &peer).await;
                Ok::<_, Infallible>(response(answer))
            }
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
}

async fn answer(
    request: Request<Incoming>,
    recorder: &Recorder,
    desk: &dyn Desk,
    peer: &str,
) -> Answer {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let (method, shows_token) = (head.method.as_str(), shows_token(&head, desk));
    match (method, path) {
        ("GET" | "HEAD", "/live") => Answer::text(200, "live"),
        ("GET" | "HEAD", "/ready") => match desk.ready() {
            Ok(()) => Answer::text(200, "ready"),
            Err(reason) => Answer::text(503, &reason),
        },
        _ if shows_token == Some(false) => {
            Answer::text(401, "needed: the header `Authorization: Bearer TOKEN`")
        }
        ("GET" | "HEAD", "/metrics") => {
            Answer { status: 200, content_type: METRICS, body: recorder.render() }
        }
        (_, "/metrics" | "/live" | "/ready") => Answer::text(405, "allowed: GET, HEAD"),
        (method, path) => match text(body).await {
            Ok(body) => {
                let query = head.uri.query().unwrap_or_default();
                let is_meant = shows_token == Some(true)
                    || (is_json(&head) && !head.headers.contains_key(ORIGIN));
                let question = Question { method, path, query, body: &body, peer, is_meant };
                let answer = desk.answer(question);
                answer.unwrap_or_else(|| Answer::text(404, "there is nothing here"))
            }
            Err(refusal) => refusal,
        },
    }
}

/// Whether the right token is shown; `None` where none is needed.
fn shows_token(head: &Parts, desk: &dyn Desk) -> Option<bool> {
    let shown = head.headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    desk.token().map(|token| token.is_shown_by(shown))
}

/// A page of another site can send other types of body without asking first.
fn is_json(head: &Parts) -> bool {
    let kind = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
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
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff");
    // RFC 9110 §11.6.1: a 401 says how to do better.
    let challenge = status == StatusCode::UNAUTHORIZED;
    let response = if challenge { response.header(WWW_AUTHENTICATE, "Bearer") } else { response }
        .body(Full::new(Bytes::from(body)));
    response.unwrap_or_else(|error| {
        tracing::warn!(%error, "an answer has a header that cannot be sent");
        Response::new(Full::default())
    })
}
