//! The commands of an open maildrop (RFC 1939 §5, §7).
//! It does not know how the maildrop was opened; `session` hands on what it hears then.

use super::command::Command;
use super::maildrop::{Listing, Maildrop};
use super::reply::Reply;
use super::session::Step;

/// What a command comes to; QUIT is the last one.
pub(super) fn transact(maildrop: &mut Maildrop, command: Command) -> Step {
    let one = |maildrop: &Maildrop, listing, number| {
        let said = maildrop.said(listing, number);
        said.map_or_else(Reply::no_such_message, |said| Reply::one(number, &said))
    };
    let send = |maildrop: &Maildrop, number, body_lines| match maildrop.message(number) {
        Some(message) => Step::Send { message, body_lines },
        None => Step::Say(Reply::no_such_message()),
    };
    Step::Say(match command {
        Command::Stat => {
            let (count, octets) = maildrop.left();
            Reply::stat(count, octets)
        }
        Command::List(None) => return Step::List(Listing::Octets),
        Command::Uidl(None) => return Step::List(Listing::Identity),
        Command::List(Some(number)) => one(maildrop, Listing::Octets, number),
        Command::Uidl(Some(number)) => one(maildrop, Listing::Identity, number),
        Command::Retr(number) => return send(maildrop, number, None),
        Command::Top { number, lines } => return send(maildrop, number, Some(lines)),
        Command::Dele(number) if maildrop.mark(number) => Reply::marked(number),
        Command::Dele(_) => Reply::no_such_message(),
        Command::Reset => {
            maildrop.unmark_all();
            Reply::marks_removed(maildrop.len())
        }
        Command::Noop => Reply::ok(),
        // RFC 1939 §6: only QUIT in an open maildrop removes what was marked.
        Command::Quit => {
            let marked = maildrop.marked();
            if marked.is_empty() {
                return Step::Close(Reply::bye());
            }
            return Step::Remove(maildrop.mailbox, marked);
        }
        _ => Reply::wrong_moment(),
    })
}
