//! The two mechanisms that say the password itself: PLAIN (RFC 4616) and LOGIN.
//! It does not know whether the line is encrypted; the protocol offers them or does not.

use super::Step;
use crate::mail::Secret;

/// What LOGIN asks first.
pub(super) const ASK_USER: &[u8] = b"Username:";
const ASK_PASSWORD: &[u8] = b"Password:";
/// Longest name or password (RFC 4616 §2 has 255 characters), in octets.
const OCTETS_MAX: usize = 1024;

/// What is waited for.
#[derive(Debug)]
pub(super) enum Plain {
    /// PLAIN's only response.
    Whole,
    /// LOGIN's first.
    User,
    /// LOGIN's second.
    Password(String),
}

impl Plain {
    pub(super) fn hear(self, response: &[u8]) -> (Option<Self>, Step) {
        if response.len() > 3 * OCTETS_MAX {
            return (None, Step::Malformed);
        }
        match self {
            Self::Whole => (None, whole(response).unwrap_or(Step::Malformed)),
            Self::User => match part(response) {
                Some(user) => {
                    let step = Step::Challenge(ASK_PASSWORD.to_vec());
                    (Some(Self::Password(user.to_owned())), step)
                }
                None => (None, Step::Malformed),
            },
            Self::Password(user) => match part(response) {
                Some(password) => {
                    let password = Secret::new(password.to_owned());
                    (None, Step::Check { user, password })
                }
                None => (None, Step::Malformed),
            },
        }
    }
}

/// ```text
/// message = [authzid] UTF8NUL authcid UTF8NUL passwd     ; RFC 4616 §2
/// ```
fn whole(response: &[u8]) -> Option<Step> {
    let mut parts = response.split(|byte| *byte == 0);
    let (as_whom, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (user, password) = (part(user)?, part(password)?);
    // Nobody may act for another here.
    if !as_whom.is_empty() && !as_whom.eq_ignore_ascii_case(user.as_bytes()) {
        return Some(Step::Wrong);
    }
    Some(Step::Check { user: user.to_owned(), password: Secret::new(password.to_owned()) })
}

/// A name or password: UTF-8 without controls, not empty, not too long.
fn part(octets: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(octets).ok()?;
    let fit = (1..=OCTETS_MAX).contains(&text.len()) && !text.contains(char::is_control);
    fit.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::super::{Exchange, Mechanism};
    use super::*;
    use proptest::prelude::*;

    fn check(user: &str, password: &str) -> Step {
        Step::Check { user: user.into(), password: Secret::new(password.into()) }
    }

    #[test]
    fn plain() {
        let (exchange, step) = Exchange::begin(Mechanism::Plain, None);
        assert_eq!(step, Step::Challenge(Vec::new()));
        assert_eq!(exchange.hear(b"\0u@d.test\0pass word").1, check("u@d.test", "pass word"));
        for (response, step) in [
            (&b"u@d.test\0u@d.test\0p"[..], check("u@d.test", "p")),
            (b"root\0u@d.test\0p", Step::Wrong),
            (b"\0u@d.test", Step::Malformed),
            (b"\0\0p", Step::Malformed),
            (b"\0u@d.test\0", Step::Malformed),
            (b"\0u\0p\0", Step::Malformed),
            (b"\0u\xff\0p", Step::Malformed),
            (b"\0u\r\n\0p", Step::Malformed),
        ] {
            assert_eq!(Exchange::begin(Mechanism::Plain, Some(response)).1, step);
        }
    }

    #[test]
    fn login() {
        let (exchange, step) = Exchange::begin(Mechanism::Login, None);
        assert_eq!(step, Step::Challenge(b"Username:".to_vec()));
        let (exchange, step) = exchange.hear(b"u@d.test");
        assert_eq!(step, Step::Challenge(b"Password:".to_vec()));
        let (exchange, step) = exchange.hear(b"secret");
        assert_eq!(step, check("u@d.test", "secret"));
        assert_eq!(exchange.hear(b"secret").1, Step::Malformed);
        let (_, step) = Exchange::begin(Mechanism::Login, Some(b"u@d.test"));
        assert_eq!(step, Step::Challenge(b"Password:".to_vec()));
    }

    proptest! {
        #[test]
        fn never_panics(responses in proptest::collection::vec(
            proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..40), 1..4)
        ) {
            for mechanism in [Mechanism::Plain, Mechanism::Login] {
                let mut exchange = Exchange::begin(mechanism, None).0;
                for response in &responses {
                    exchange = exchange.hear(response).0;
                }
            }
        }
    }
}
