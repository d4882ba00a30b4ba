//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's part.
//! It does not know who exists: the verifier it is given may be one that fits nobody.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Step;
use super::verifier::{SUM, Verifier, hmac};

/// Longest message of a client.
const OCTETS_MAX: usize = 2048;

/// What is waited for.
#[derive(Debug)]
pub(super) enum Scram {
    /// The client's first message.
    First,
    /// The user's verifier.
    Finding(First),
    /// The client's proof.
    Proof { first: First, server_first: String, nonce: String, verifier: Verifier },
    /// The client's word that it has heard the server's proof: nothing.
    Heard(String),
}

/// The client's first message, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct First {
    /// `n,,` and its like: said again, encoded, with the proof.
    header: String,
    /// The rest.
    bare: String,
    user: String,
    nonce: String,
}

impl Scram {
    pub(super) fn hear(self, response: &[u8]) -> (Option<Self>, Step) {
        let text = std::str::from_utf8(response).ok().filter(|text| text.len() <= OCTETS_MAX);
        let Some(text) = text else { return (None, Step::Malformed) };
        match self {
            Self::First => match First::parse(text) {
                Ok(first) => {
                    let user = first.user.clone();
                    (Some(Self::Finding(first)), Step::FindVerifier { user })
                }
                Err(step) => (None, step),
            },
            Self::Proof { first, server_first, nonce, verifier } => {
                match proven(text, &first, &server_first, &nonce, &verifier) {
                    Ok(signature) => {
                        let answer = format!("v={}", STANDARD.encode(signature));
                        (Some(Self::Heard(first.user)), Step::Challenge(answer.into_bytes()))
                    }
                    Err(step) => (None, step),
                }
            }
            Self::Heard(user) if text.is_empty() => (None, Step::Proven { user }),
            Self::Heard(_) | Self::Finding(_) => (None, Step::Malformed),
        }
    }

    pub(super) fn verifier_found(self, verifier: Verifier, own: &str) -> (Option<Self>, Step) {
        let Self::Finding(first) = self else { return (None, Step::Malformed) };
        let nonce = format!("{}{own}", first.nonce);
        let salt = STANDARD.encode(&verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", verifier.rounds);
        let challenge = server_first.clone().into_bytes();
        (Some(Self::Proof { first, server_first, nonce, verifier }), Step::Challenge(challenge))
    }
}

impl First {
    /// ```text
    /// client-first-message = gs2-header client-first-message-bare     ; RFC 5802 §7
    /// gs2-header = gs2-cbind-flag "," [authzid] ","
    /// client-first-message-bare = [reserved-mext ","] username "," nonce ["," extensions]
    /// ```
    fn parse(text: &str) -> Result<Self, Step> {
        let mut parts = text.splitn(3, ',');
        let mut next = || parts.next().ok_or(Step::Malformed);
        let (binding, as_whom, bare) = (next()?, next()?, next()?);
        // `y`: the client could bind the channel and has seen no -PLUS on offer: so it is.
        // `p=…` belongs to SCRAM-SHA-256-PLUS alone.
        if !["n", "y"].contains(&binding) {
            return Err(Step::Malformed);
        }
        let mut attributes = bare.split(',');
        // `m=` would stand here: an extension that must be understood, and there is none.
        let user = attributes.next().and_then(|user| user.strip_prefix("n="));
        let user = user.and_then(name).ok_or(Step::Malformed)?;
        let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r="));
        let fit = |nonce: &&str| !nonce.is_empty() && nonce.bytes().all(|b| b.is_ascii_graphic());
        let nonce = nonce.filter(fit).ok_or(Step::Malformed)?.to_owned();
        let header = format!("{binding},{as_whom},");
        let as_whom = match as_whom.strip_prefix("a=") {
            Some(whom) => name(whom).ok_or(Step::Malformed)?,
            None if as_whom.is_empty() => user.clone(),
            None => return Err(Step::Malformed),
        };
        if !as_whom.eq_ignore_ascii_case(&user) {
            return Err(Step::Wrong);
        }
        Ok(Self { header, bare: bare.to_owned(), user, nonce })
    }
}

/// `=2C` is a comma and `=3D` an equals sign; no other `=` may stand in a name.
fn name(text: &str) -> Option<String> {
    let mut parts = text.split('=');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (sign, rest) = part.split_at_checked(2)?;
        name.push(match sign {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        name.push_str(rest);
    }
    let fit = !name.is_empty() && !name.contains(char::is_control);
    fit.then_some(name)
}

/// Checks the client's last message; the server's own proof when it is right.
///
/// ```text
/// client-final-message = channel-binding "," nonce ["," extensions] "," proof
/// ```
fn proven(
    text: &str,
    first: &First,
    server_first: &str,
    nonce: &str,
    verifier: &Verifier,
) -> Result<[u8; SUM], Step> {
    let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Step::Malformed)?;
    let proof: [u8; SUM] = STANDARD
        .decode(proof)
        .ok()
        .and_then(|proof| proof.try_into().ok())
        .ok_or(Step::Malformed)?;
    let mut attributes = without_proof.split(',');
    let header = attributes.next().and_then(|header| header.strip_prefix("c="));
    let header = header.and_then(|header| STANDARD.decode(header).ok()).ok_or(Step::Malformed)?;
    let said = attributes.next().and_then(|nonce| nonce.strip_prefix("r="));
    let said = said.ok_or(Step::Malformed)?;
    // A header unlike the first one: somebody between the two has changed what was offered.
    if header != first.header.as_bytes() || said != nonce {
        return Err(Step::Wrong);
    }
    let authentication = format!("{},{server_first},{without_proof}", first.bare);
    let signature = hmac(&verifier.stored_key, authentication.as_bytes());
    let mut client_key = proof;
    for (octet, mask) in client_key.iter_mut().zip(signature) {
        *octet ^= mask;
    }
    if bool::from(Sha256::digest(client_key).ct_eq(&verifier.stored_key)) {
        Ok(hmac(&verifier.server_key, authentication.as_bytes()))
    } else {
        Err(Step::Wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Exchange, Mechanism};
    use super::*;
    use crate::mail::Secret;
    use proptest::prelude::*;

    /// RFC 7677 §3.
    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const OWN: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const PROOF: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SIGNED: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn verifier() -> Verifier {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        Verifier::with(&Secret::new("pencil".into()), &salt, 4096)
    }

    /// Up to the server's first message.
    fn asked(verifier: Verifier) -> Exchange {
        let (exchange, step) = Exchange::begin(Mechanism::ScramSha256, Some(FIRST));
        assert_eq!(step, Step::FindVerifier { user: "user".into() });
        let (exchange, step) = exchange.verifier_found(verifier, OWN);
        assert_eq!(step, Step::Challenge(SERVER_FIRST.into()));
        exchange
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let (exchange, step) = asked(verifier()).hear(PROOF.as_bytes());
        assert_eq!(step, Step::Challenge(SIGNED.into()));
        let (exchange, step) = exchange.hear(b"");
        assert_eq!(step, Step::Proven { user: "user".into() });
        assert_eq!(exchange.hear(PROOF.as_bytes()).1, Step::Malformed, "a proof said twice");
    }

    #[test]
    fn a_wrong_proof_is_wrong_for_those_who_exist_and_those_who_do_not() {
        let other = PROOF.replace("p=dHzb", "p=dHzc");
        let moved = PROOF.replace("c=biws", "c=eSws"); // `y,,`
        let nonce = PROOF.replace("$k0", "$k1");
        for response in [other, moved, nonce] {
            assert_eq!(asked(verifier()).hear(response.as_bytes()).1, Step::Wrong);
        }
        for response in ["", "c=biws", "c=biws,r=x,p=!", "p=dHzb"] {
            assert_eq!(asked(verifier()).hear(response.as_bytes()).1, Step::Malformed);
        }
        let mut nobodys = Verifier::for_nobody(b"secret", "user");
        (nobodys.salt, nobodys.rounds) = (verifier().salt, 4096);
        assert_eq!(asked(nobodys).hear(PROOF.as_bytes()).1, Step::Wrong);
    }

    #[test]
    fn first_messages() {
        let of = |text: &str| Exchange::begin(Mechanism::ScramSha256, Some(text.as_bytes())).1;
        let found = |user: &str| Step::FindVerifier { user: user.into() };
        for (text, step) in [
            ("y,,n=u,r=x", found("u")),
            ("n,a=u,n=u,r=x,e=1", found("u")),
            ("n,,n=a=2Cb=3Dc,r=x", found("a,b=c")),
            ("n,a=root,n=u,r=x", Step::Wrong),
            ("p=tls-unique,,n=u,r=x", Step::Malformed),
            ("n,,m=1,n=u,r=x", Step::Malformed),
            ("n,,n=a=2cb,r=x", Step::Malformed),
            ("n,,n=,r=x", Step::Malformed),
            ("n,,n=u,r=", Step::Malformed),
            ("n,,n=u", Step::Malformed),
            ("n", Step::Malformed),
        ] {
            assert_eq!(of(text), step, "{text}");
        }
        assert_eq!(Exchange::begin(Mechanism::ScramSha256, None).1, Step::Challenge(Vec::new()));
    }

    proptest! {
        #[test]
        fn never_panics(
            first in "[nyp]?,(a=[a-z=]{0,4})?,(n=)?.{0,9},(r=)?.{0,9}",
            last in "(c=)?.{0,9},(r=)?.{0,9},(p=)?[a-zA-Z+/=]{0,44}"
        ) {
            let (exchange, step) = Exchange::begin(Mechanism::ScramSha256, Some(first.as_bytes()));
            if matches!(step, Step::FindVerifier { .. }) {
                let (exchange, _) = exchange.verifier_found(verifier(), OWN);
                let (_, step) = exchange.hear(last.as_bytes());
                prop_assert!(matches!(step, Step::Wrong | Step::Malformed));
            }
        }
    }
}
