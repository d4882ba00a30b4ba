//! Connections that read their greeting and then say nothing.
//!
//! It does not know what they cost the other side. Called by `main` and `scenario::proxy`.

use std::net::SocketAddr;

use tokio::task::JoinSet;

use super::conversation::Conversation;
use super::{Fault, limited};

/// How many are opened at once while filling.
const AT_ONCE: usize = 64;

/// Opens `count` connections and holds them until the value is dropped; fails with the first
/// fault met.
pub(crate) async fn fill(to: SocketAddr, count: usize) -> Result<Vec<Conversation>, Fault> {
    let mut opening = JoinSet::new();
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        opening.spawn(limited(open(to)));
        if opening.len() >= AT_ONCE {
            collect(&mut opening, &mut held).await?;
        }
    }
    while !opening.is_empty() {
        collect(&mut opening, &mut held).await?;
    }
    Ok(held)
}

async fn open(to: SocketAddr) -> Result<Conversation, Fault> {
    let mut conversation = Conversation::open(to).await?;
    conversation.line().await?;
    Ok(conversation)
}

async fn collect(
    opening: &mut JoinSet<Result<Conversation, Fault>>,
    held: &mut Vec<Conversation>,
) -> Result<(), Fault> {
    match opening.join_next().await {
        Some(Ok(conversation)) => held.push(conversation?),
        Some(Err(error)) => return Err(Fault::Wire(std::io::Error::other(error))),
        None => {}
    }
    Ok(())
}

/// Ends held connections with QUIT, so that the server ends first and keeps the TIME_WAIT: ports
/// of ours that linger would make the next load's connects dearer.
pub(crate) async fn leave(held: Vec<Conversation>) {
    for mut conversation in held {
        // One that broke meanwhile is gone already.
        let _ = limited(async {
            conversation.send(b"QUIT\r\n").await?;
            Ok(conversation.rest().await?)
        })
        .await;
    }
}
