//! A race between dials: who answers first is used, the others are closed before they hear a word.
//! It does not know how nodes are chosen or how long each may take. `reach` begins one when a node
//! has not answered for longer than is usual with it.

use std::io;

use crate::backends::{Lease, Service};
use crate::eventloop::Socket;
use crate::outcome::Cause;
use crate::reach::{Dial, Miss, Search, connect_max};
use crate::verdict::cause_of_dial;

impl Search<'_, '_> {
    /// Dials one more node whenever those that are being dialed take long, or have failed.
    pub(crate) async fn race(
        &mut self,
        now: &Service,
        first: Dial,
    ) -> Result<(Lease, Socket), Miss> {
        let core = self.client.socket.core();
        let end = core.now().after(connect_max(now));
        self.tried.add(first.lease.backend());
        let mut dials = vec![first];
        loop {
            let joined = self.join(now, &mut dials);
            if dials.is_empty() {
                return Err(Miss::Node);
            }
            let patience = match joined {
                true => dials.last().map(|dial| now.dial_patience(dial.lease.backend())),
                false => None,
            };
            let patience = patience.unwrap_or_else(|| core.now().until(end));
            match self.wait(patience, || decided(&dials)).await? {
                Some((place, Ok(()))) => {
                    let winner = dials.swap_remove(place);
                    self.tried.forget(winner.lease.backend());
                    dials.iter().for_each(|loser| self.overtaken(loser));
                    return Ok(self.reached(winner));
                }
                Some((place, Err(error))) => {
                    let lost = dials.swap_remove(place);
                    self.give_up(&lost.lease, cause_of_dial(&error));
                }
                None if joined => {}
                None => {
                    for late in dials {
                        self.give_up(&late.lease, Cause::Timeout);
                    }
                    return Err(Miss::Node);
                }
            }
        }
    }

    /// Dials one more; says whether there was one.
    fn join(&mut self, now: &Service, dials: &mut Vec<Dial>) -> bool {
        while let Some(lease) = now.pick(&self.tried) {
            now.metrics.retried();
            self.tried.add(lease.backend());
            if let Ok(dial) = self.begin(lease) {
                dials.push(dial);
                return true;
            }
        }
        false
    }
}

/// The first dial that is over, and how.
fn decided(dials: &[Dial]) -> Option<(usize, io::Result<()>)> {
    let mut all = dials.iter().enumerate();
    all.find_map(|(place, dial)| dial.socket.connected().map(|how| (place, how)))
}
