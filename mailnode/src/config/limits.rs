//! Every limit of a node: its key under `limits`, its default, what is allowed.
//! It does not know who keeps to it; `config` reads them with the rest of the file.

use std::time::Duration;

use shared::config::Map;
use shared::units::Bytes;

use super::{hours, seconds};
use crate::wire::Patience;

/// Every limit of a node; names end in their unit.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest message.
    pub message_bytes_max: u64,
    /// Longest line of a message, CRLF not counted.
    pub message_line_bytes_max: usize,
    /// Longest command line, CRLF not counted.
    pub command_line_bytes_max: usize,
    /// Most recipients of one message.
    pub recipients_max: usize,
    /// Most client connections at once.
    pub connections_max: usize,
    /// Most client connections at once from one address (IPv6: from one /64).
    pub connections_per_address_max: usize,
    /// Faulty commands after which a client is sent away.
    pub errors_max: u32,
    /// Wrong logins after which a client is sent away.
    pub login_failures_max: u32,
    /// A wrong login is answered no sooner.
    pub login_failure_delay: Duration,
    /// How long an SMTP client may take.
    pub smtp_patience: Patience,
    /// How long a POP3 client may take.
    pub pop3_patience: Patience,
    /// How long a client may take for the handshake of TLS.
    pub tls_handshake_max: Duration,
}

pub(super) fn read_limits(given: Option<Map<'_>>) -> Limits {
    let mut limits = Limits::default();
    let Some(mut given) = given else { return limits };
    let bytes = |bytes: u64| Bytes(bytes);
    limits.message_bytes_max = given
        .within("message_bytes_max", Bytes(limits.message_bytes_max), bytes(1024)..=bytes(4 << 30))
        .0;
    limits.message_line_bytes_max = given
        .within(
            "message_line_bytes_max",
            Bytes(limits.message_line_bytes_max as u64),
            bytes(998)..=bytes(64 << 20),
        )
        .as_usize();
    limits.command_line_bytes_max = given
        .within(
            "command_line_bytes_max",
            Bytes(limits.command_line_bytes_max as u64),
            bytes(512)..=bytes(16 << 10),
        )
        .as_usize();
    limits.recipients_max = given.within("recipients_max", limits.recipients_max, 100..=1000);
    limits.connections_max = given.within("connections_max", limits.connections_max, 1..=1_000_000);
    limits.connections_per_address_max = given.within(
        "connections_per_address_max",
        limits.connections_per_address_max,
        1..=1_000_000,
    );
    limits.errors_max = given.within("errors_max", limits.errors_max, 1..=1000);
    limits.login_failures_max =
        given.within("login_failures_max", limits.login_failures_max, 1..=100);
    limits.login_failure_delay =
        given.within("login_failure_delay", limits.login_failure_delay, seconds(0)..=seconds(60));
    let time =
        |given: &mut Map<'_>, key, default| given.within(key, default, seconds(1)..=hours(24));
    limits.smtp_patience.silence =
        time(&mut given, "smtp_silence_max", limits.smtp_patience.silence);
    limits.smtp_patience.message =
        time(&mut given, "smtp_message_max", limits.smtp_patience.message);
    limits.pop3_patience.silence =
        time(&mut given, "pop3_silence_max", limits.pop3_patience.silence);
    limits.tls_handshake_max = time(&mut given, "tls_handshake_max", limits.tls_handshake_max);
    limits
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 50 << 20,
            message_line_bytes_max: 1 << 20,
            command_line_bytes_max: 2048,
            recipients_max: 100, // RFC 5321 §4.5.3.1.8 asks for 100 at least
            connections_max: 8000,
            connections_per_address_max: 100,
            errors_max: 20,
            login_failures_max: 3,
            login_failure_delay: seconds(1),
            // RFC 5321 §4.5.3.2.7 asks for 5 minutes at least
            smtp_patience: Patience { silence: seconds(300), message: hours(1) },
            // RFC 1939 §3 asks for 10 minutes at least
            pop3_patience: Patience { silence: seconds(600), message: hours(1) },
            tls_handshake_max: seconds(10),
        }
    }
}
