//! Asks a running balancer through its admin door, and tells it things.
//! It does not know what is asked or said. The commands that need a running balancer call it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use shared::admin::Token;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::CommandError;
use crate::admin_door::AdminAddress;
use crate::config;

/// A balancer that does not answer for so long does not answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A longer answer is not one of ours.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How the balancer is found.
#[derive(Debug, Args)]
pub(super) struct Where {
    /// The balancer's settings file, for the address of its admin port and the token.
    #[arg(long, value_name = "FILE", required_unless_present = "admin")]
    pub(super) config: Option<PathBuf>,
    /// The address of its admin port, or unix:/PATH.
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "config")]
    pub(super) admin: Option<AdminAddress>,
}

/// A balancer that can be asked.
pub(super) struct Balancer {
    address: AdminAddress,
    token: Option<Token>,
    runtime: tokio::runtime::Runtime,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Balancer {
    /// Finds out where it is; it is not asked yet.
    ///
    /// # Errors
    /// Bad settings, or settings that do not say it.
    pub(super) fn find(place: &Where) -> Result<Self, CommandError> {
        let (address, token) = match (&place.admin, &place.config) {
            (Some(address), _) => (address.clone(), None),
            (None, Some(path)) => {
                let admin = config::read(path)?.admin;
                (admin.address, admin.token)
            }
            (None, None) => {
                return Err(CommandError::Failed("needed: --config or --admin".to_owned()));
            }
        };
        if address.socket_address().is_some_and(|address| address.port() == 0) {
            let remedy = "the file's admin port is any free one; take --admin with that of its log";
            return Err(CommandError::Failed(remedy.to_owned()));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| CommandError::Failed(error.to_string()))?;
        Ok(Self { address, token, runtime })
    }

    /// What it answers at `path`.
    ///
    /// # Errors
    /// No answer, or a refusal with what is allowed.
    pub(super) fn get(&self, path: &str) -> Result<String, CommandError> {
        self.exchange("GET", path, String::new())
    }

    /// What it answers when this is said at `path`.
    ///
    /// # Errors
    /// No answer, or a refusal with what is allowed.
    pub(super) fn post(&self, path: &str, mut body: Value) -> Result<String, CommandError> {
        if let Some(by) = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(std::env::var_os) {
            body["by"] = by.to_string_lossy().into();
        }
        self.exchange("POST", path, body.to_string())
    }

    fn exchange(&self, method: &str, path: &str, body: String) -> Result<String, CommandError> {
        let answer = self.runtime.block_on(async {
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.ask(method, path, body)).await;
            answer.unwrap_or_else(|_| Err("no answer within 5 s".into()))
        });
        let (status, body) = answer.map_err(|error| {
            CommandError::Failed(format!(
                "the balancer at {} cannot be asked: {error}",
                self.address
            ))
        })?;
        if status.is_success() {
            return Ok(body);
        }
        let remedy = if status == StatusCode::UNAUTHORIZED && self.token.is_none() {
            "\n--config FILE takes the token from the balancer's settings"
        } else {
            ""
        };
        Err(CommandError::Failed(format!("the balancer says: {}{remedy}", words(&body))))
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        body: String,
    ) -> Result<(StatusCode, String), Box<dyn std::error::Error>> {
        let stream: Box<dyn Stream> = match &self.address {
            AdminAddress::Tcp(address) => Box::new(TcpStream::connect(address).await?),
            AdminAddress::Unix(path) => Box::new(UnixStream::connect(path).await?),
        };
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        let host = self.address.socket_address();
        let host = host.map_or_else(|| "localhost".to_owned(), |address| address.to_string());
        let mut request = Request::builder().method(method).uri(path).header("Host", host);
        request = request.header("Content-Type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("Authorization", token.header());
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            Ok((status, String::from_utf8(body.to_vec())?))
        };
        tokio::select! {
            answer = exchange => answer,
            Err(error) = connection => Err(error.into()),
        }
    }
}

/// A refusal for people.
fn words(body: &str) -> String {
    let refusal = serde_json::from_str::<Value>(body).unwrap_or_default();
    let allowed: Vec<_> = refusal["allowed"].as_array().into_iter().flatten().collect();
    let allowed: Vec<_> = allowed.into_iter().filter_map(Value::as_str).collect();
    match (refusal["error"].as_str(), &allowed[..]) {
        (None, _) => body.trim_end().to_owned(),
        (Some(error), []) => error.to_owned(),
        (Some(error), allowed) if error.contains(allowed[0]) => error.to_owned(),
        (Some(error), allowed) => format!("{error}; allowed: {}", allowed.join(", ")),
    }
}

/// What stands in an answer.
///
/// # Errors
/// It is no answer of a balancer.
pub(super) fn read<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, CommandError> {
    let foreign = |error| CommandError::Failed(format!("this is no answer of a balancer: {error}"));
    serde_json::from_str(json).map_err(foreign)
}
