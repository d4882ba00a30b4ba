//! Does any conversation end in order? It does not know sockets: lines are heard, steps answered.
//! Only messages of the maildrop are ever sent or removed, none of them twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailnode::mail::{Guid, MailboxId, Uid};
use mailnode::pop3::session::{Heard, LoginAnswer, Maildrop, Message, Policy, Session, Step};

fuzz_target!(|data: &str| {
    let policy = Policy {
        hostname: "mx.example.test".to_owned(),
        plain_text_login: true,
        tls: true,
        login_failures_max: 3,
        errors_max: 5,
    };
    let message = |number: i64| Message {
        uid: Uid(number),
        guid: Guid(format!("guid-{number}")),
        octets: number,
        file: String::new(),
    };
    let maildrop = Maildrop { mailbox: MailboxId(1), messages: (1..=3).map(message).collect() };
    let (mut session, _) = Session::greet(&policy, false);
    for (number, line) in data.split('\u{fffd}').enumerate() {
        let (next, step) = session.hear(Heard::Line(line));
        let (next, step) = match step {
            Step::CheckLogin { .. } => next.login_checked(match number % 4 {
                0 => LoginAnswer::Trouble,
                1 => LoginAnswer::Wrong,
                _ => LoginAnswer::Opened(maildrop.clone()),
            }),
            Step::Remove(mailbox, uids) => {
                assert_eq!(mailbox, MailboxId(1));
                assert!((1..=3).contains(&uids.len()) && uids.is_sorted());
                next.removed(number % 2 == 0)
            }
            Step::StartTls(_) => {
                session = next.encrypted();
                continue;
            }
            step => (next, step),
        };
        match step {
            Step::Send { message, .. } => assert!((1..=3).contains(&message.uid.0)),
            Step::Close(_) => return,
            _ => {}
        }
        session = next;
    }
});
