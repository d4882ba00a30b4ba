//! Connections one after the other: connect, read the greeting, QUIT, read to the end.
//!
//! It does not know whether mail stands behind. Called by `main` and `scenario::proxy`.
//!
//! The server ends first, so its side keeps the TIME_WAIT and no port of ours is used up.

use std::net::SocketAddr;
use std::time::Instant;

use super::conversation::Conversation;
use super::{Amount, Fault, Outcome, Tickets, go_on_after, limited, run_clients};

/// Opens and ends connections, `clients` at once.
pub(crate) async fn run(to: SocketAddr, clients: usize, amount: Amount) -> Outcome {
    let tickets = Tickets::new(amount);
    run_clients(clients, |_| client(to, tickets.clone())).await
}

async fn client(to: SocketAddr, tickets: Tickets) -> Outcome {
    let mut outcome = Outcome::default();
    while tickets.take().is_some() {
        let start = Instant::now();
        match limited(connection(to)).await {
            Ok(()) => outcome.finish_step(start.elapsed()),
            Err(fault) => {
                if !go_on_after(&mut outcome, &fault).await {
                    break;
                }
            }
        }
    }
    outcome
}

async fn connection(to: SocketAddr) -> Result<(), Fault> {
    let mut conversation = Conversation::open(to).await?;
    let greeting = conversation.line().await?;
    // SMTP or POP3: what says anything else is a refusal, and no measure of a connection.
    if !greeting.starts_with("220") && !greeting.starts_with("+OK") {
        let code = greeting.get(..3).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        return Err(Fault::Refused { code, line: greeting.trim_end().to_owned() });
    }
    conversation.send(b"QUIT\r\n").await?;
    conversation.rest().await?;
    Ok(())
}
