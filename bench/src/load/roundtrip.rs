//! Round trips over kept connections: 64 bytes there, 64 bytes back; or NOOP and its reply.
//!
//! It does not know what carries the bytes. Called by `main` and `scenario::proxy`.

use std::net::SocketAddr;
use std::time::Instant;

use super::conversation::Conversation;
use super::{Amount, Fault, Outcome, Tickets, go_on_after, limited, run_clients};

/// What a client sends each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ball {
    /// A line of 64 bytes that `bench nodes` sends back.
    Echo,
    /// NOOP, which every SMTP and POP3 server answers with a line.
    Noop,
}

/// Plays ball over `clients` connections at once.
pub(crate) async fn run(to: SocketAddr, clients: usize, amount: Amount, ball: Ball) -> Outcome {
    let tickets = Tickets::new(amount);
    run_clients(clients, |_| client(to, tickets.clone(), ball)).await
}

async fn client(to: SocketAddr, tickets: Tickets, ball: Ball) -> Outcome {
    let mut outcome = Outcome::default();
    if let Err(fault) = play(to, tickets, ball, &mut outcome).await {
        go_on_after(&mut outcome, &fault).await;
    }
    outcome
}

async fn play(
    to: SocketAddr,
    tickets: Tickets,
    ball: Ball,
    outcome: &mut Outcome,
) -> Result<(), Fault> {
    let mut conversation = limited(async {
        let mut conversation = Conversation::open(to).await?;
        conversation.line().await?;
        if ball == Ball::Echo {
            conversation.ask("ECHO\r\n", b'2').await?;
        }
        Ok(conversation)
    })
    .await?;
    let line = match ball {
        Ball::Echo => format!("{}\r\n", "x".repeat(62)),
        Ball::Noop => "NOOP\r\n".to_owned(),
    };
    while tickets.take().is_some() {
        let start = Instant::now();
        let back = limited(async {
            conversation.send(line.as_bytes()).await?;
            Ok(conversation.line().await?)
        })
        .await?;
        if ball == Ball::Echo && back != line {
            return Err(Fault::Refused { code: 0, line: format!("not our bytes: {back:?}") });
        }
        outcome.finish_step(start.elapsed());
        outcome.bytes += line.len() as u64;
    }
    if ball == Ball::Noop {
        conversation.send(b"QUIT\r\n").await?;
    }
    Ok(())
}
