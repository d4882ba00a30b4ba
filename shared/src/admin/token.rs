//! The word that opens an admin port to those who may come from anywhere.
//! It does not know HTTP beyond `Bearer`, or what the port answers; `admin` asks it.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;

use crate::config::Value;

/// A secret that is shown as `Authorization: Bearer TOKEN` (RFC 6750 §2.1). It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Arc<str>);

impl Token {
    /// Whether this value of the header `Authorization` shows it. How long that takes says
    /// nothing of the token but its length.
    #[must_use]
    pub fn is_shown_by(&self, header: Option<&[u8]>) -> bool {
        let Some((scheme, shown)) = header.and_then(|header| header.split_at_checked(7)) else {
            return false;
        };
        if !scheme.eq_ignore_ascii_case(b"bearer ") || shown.len() != self.0.len() {
            return false;
        }
        let pairs = shown.iter().zip(self.0.as_bytes());
        black_box(pairs.fold(0, |differs, (a, b)| black_box(differs | (a ^ b)))) == 0
    }

    /// The value of the header `Authorization` that shows it.
    #[must_use]
    pub fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(not shown)")
    }
}

impl Value for Token {
    const ALLOWED: &'static str = "16 to 256 letters, digits and - . _ ~ + / = \
                                   (`openssl rand -hex 24` makes one)";
    const SECRET: bool = true;

    fn parse(text: &str) -> Option<Self> {
        // RFC 6750 §2.1: b64token.
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        let good = (16..=256).contains(&text.len()) && text.bytes().all(fits);
        good.then(|| Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_opens() {
        let token = Token::parse("0123456789abcdef").expect("it is good");
        assert!(token.is_shown_by(Some(token.header().as_bytes())));
        assert!(token.is_shown_by(Some(b"bearer 0123456789abcdef")));
        for header in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcdef0",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
        ] {
            assert!(!token.is_shown_by(Some(header.as_bytes())), "{header:?}");
        }
        assert!(!token.is_shown_by(None));
        assert!(!format!("{token:?}").contains("0123"));
        for text in ["short", "with a space in its middle", "ümlaut-0123456789abcdef"] {
            assert!(Token::parse(text).is_none(), "{text:?}");
        }
    }
}
