//! An e-mail address: parsed once, trusted after.
//! It does not know whether anybody lives there; SMTP's commands and the command line make it.

use std::fmt;

/// Longest local part in octets (RFC 5321 §4.5.3.1.1).
pub const LOCAL_PART_BYTES_MAX: usize = 64;
/// Longest domain in octets (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_BYTES_MAX: usize = 255;
/// Longest label of a domain in octets (RFC 1035 §2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressFault {
    /// There is no `@`, or nothing on one of its sides.
    #[error("an address is LOCAL-PART@DOMAIN")]
    Shape,
    /// The local part is neither a dot-string nor a quoted string (RFC 5321 §4.1.2).
    #[error("the local part has a character or a dot out of place")]
    LocalPart,
    /// The local part is longer than 64 octets.
    #[error("the local part is longer than 64 octets")]
    LocalPartLength,
    /// The domain is no list of labels (letters, digits, hyphens) and no address literal.
    #[error("the domain is not a host name")]
    Domain,
    /// Characters beyond ASCII, which need SMTPUTF8 (RFC 6531): not offered here yet.
    #[error("characters beyond ASCII are not supported in addresses")]
    NotAscii,
}

/// `LOCAL-PART@DOMAIN` in its one canonical form: ASCII, lower case, quotes taken off.
///
/// Upper and lower case are one here although RFC 5321 §2.4 lets a host tell them apart in the
/// local part: two mailboxes that differ by case alone would only ever be an accident.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EmailAddress {
    local: String,
    domain: String,
}

impl EmailAddress {
    /// Reads `Mailbox` of RFC 5321 §4.1.2.
    ///
    /// ```text
    /// Mailbox       = Local-part "@" ( Domain / address-literal )
    /// Local-part    = Dot-string / Quoted-string
    /// Dot-string    = Atom *("." Atom)
    /// Quoted-string = DQUOTE *QcontentSMTP DQUOTE
    /// ```
    ///
    /// # Errors
    /// Says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, AddressFault> {
        if !text.is_ascii() {
            return Err(AddressFault::NotAscii);
        }
        let (local, domain) = match text.strip_prefix('"') {
            Some(rest) => take_quoted(rest)?,
            None => {
                let (local, domain) = text.split_once('@').ok_or(AddressFault::Shape)?;
                if !is_dot_string(local) {
                    return Err(AddressFault::LocalPart);
                }
                (local.to_owned(), domain)
            }
        };
        if local.is_empty() {
            return Err(AddressFault::LocalPart);
        }
        if local.len() > LOCAL_PART_BYTES_MAX {
            return Err(AddressFault::LocalPartLength);
        }
        if !is_domain(domain) {
            return Err(AddressFault::Domain);
        }
        let local = local.to_ascii_lowercase();
        Ok(Self { local, domain: domain.to_ascii_lowercase() })
    }

    /// The local part, lower case, without quotes.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain, lower case.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The same local part in another domain, which is one in canonical form.
    #[must_use]
    pub fn at(&self, domain: &str) -> Self {
        Self { local: self.local.clone(), domain: domain.to_owned() }
    }

    /// Another local part, a beginning of this one; `None` if nothing is left of it.
    #[must_use]
    pub fn of(&self, local: &str) -> Option<Self> {
        let there = !local.is_empty() && self.local.starts_with(local);
        there.then(|| Self { local: local.to_owned(), domain: self.domain.clone() })
    }

    /// `DOMAIN/LOCAL` as two names that are safe as directories on any file system: all but
    /// `a-z 0-9 - _ + .` is percent-encoded, and so is a dot in front (no `..`, no hidden name).
    pub fn directory(&self) -> String {
        format!("{}/{}", directory_name(&self.domain), directory_name(&self.local))
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.local) {
            return write!(f, "{}@{}", self.local, self.domain);
        }
        f.write_str("\"")?;
        for character in self.local.chars() {
            if matches!(character, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{character}")?;
        }
        write!(f, "\"@{}", self.domain)
    }
}

/// Whether a text can be a domain: labels of letters, digits and hyphens, or an address literal.
pub fn is_domain(text: &str) -> bool {
    if let Some(literal) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return is_address_literal(literal);
    }
    !text.is_empty()
        && text.len() <= DOMAIN_BYTES_MAX
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= LABEL_BYTES_MAX
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

/// RFC 5321 §4.1.3: `[192.0.2.1]`, `[IPv6:2001:db8::1]`.
fn is_address_literal(text: &str) -> bool {
    match text.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => {
            text[5..].parse::<std::net::Ipv6Addr>().is_ok()
        }
        _ => text.parse::<std::net::Ipv4Addr>().is_ok(),
    }
}

/// RFC 5322 §3.2.3 `atext`.
fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

fn is_dot_string(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
}

/// Takes `…"@domain` (the opening quote is gone) apart: what is quoted, and the domain.
fn take_quoted(rest: &str) -> Result<(String, &str), AddressFault> {
    let mut local = String::new();
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate() {
        if !(b' '..=b'~').contains(&byte) {
            return Err(AddressFault::LocalPart);
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' => {
                escaped = true;
                continue;
            }
            b'"' => {
                let domain = rest[at + 1..].strip_prefix('@').ok_or(AddressFault::Shape)?;
                return Ok((local, domain));
            }
            _ => {}
        }
        local.push(char::from(byte));
    }
    Err(AddressFault::LocalPart)
}

fn directory_name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let plain = byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(byte, b'-' | b'_' | b'+')
            || (byte == b'.' && at > 0);
        if plain {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02x}"));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<String, AddressFault> {
        EmailAddress::parse(text).map(|address| address.to_string())
    }

    #[test]
    fn takes_what_rfc_5321_takes() {
        assert_eq!(parse("Alice@Example.TEST").unwrap(), "alice@example.test");
        assert_eq!(parse("a+b.c@x-y.example").unwrap(), "a+b.c@x-y.example");
        assert_eq!(parse("\"a b\\\"c\"@d.test").unwrap(), "\"a b\\\"c\"@d.test");
        assert_eq!(parse("\"plain\"@d.test").unwrap(), "plain@d.test");
        assert_eq!(parse("\"u@evil\"@d.test").unwrap(), "\"u@evil\"@d.test");
        assert_eq!(parse("u@[192.0.2.1]").unwrap(), "u@[192.0.2.1]");
        assert_eq!(parse("u@[IPv6:2001:db8::1]").unwrap(), "u@[ipv6:2001:db8::1]");
    }

    #[test]
    fn refuses_the_rest_and_says_which_part() {
        use AddressFault::{Domain, LocalPart, LocalPartLength, NotAscii, Shape};
        for (text, fault) in [
            ("", Shape),
            ("alice", Shape),
            ("@d.test", LocalPart),
            ("\"\"@d.test", LocalPart),
            ("a..b@d.test", LocalPart),
            (".a@d.test", LocalPart),
            ("a b@d.test", LocalPart),
            ("a\r\nb@d.test", LocalPart),
            ("\"a\r\nb\"@d.test", LocalPart),
            ("\"a@d.test", LocalPart),
            ("\"a\"d.test", Shape),
            ("a@", Domain),
            ("a@b@c", Domain),
            ("a@-x.test", Domain),
            ("a@x..test", Domain),
            ("a@..", Domain),
            ("a@[1.2.3]", Domain),
            ("ä@d.test", NotAscii),
        ] {
            assert_eq!(EmailAddress::parse(text), Err(fault), "{text:?}");
        }
        let long = format!("{}@d.test", "a".repeat(65));
        assert_eq!(EmailAddress::parse(&long), Err(LocalPartLength));
    }

    #[test]
    fn directories_stay_beneath_the_root() {
        let directory = |text| EmailAddress::parse(text).unwrap().directory();
        assert_eq!(directory("\"../../etc\"@d.test"), "d.test/%2e.%2f..%2fetc");
        assert_eq!(directory("\"a/b\"@d.test"), "d.test/a%2fb");
        assert_eq!(directory("\".\"@d.test"), "d.test/%2e");
        assert_eq!(directory("a%2fb@d.test"), "d.test/a%252fb");
    }

    proptest! {
        #[test]
        fn never_panics_and_round_trips(text in ".{0,80}") {
            if let Ok(address) = EmailAddress::parse(&text) {
                prop_assert_eq!(EmailAddress::parse(&address.to_string()), Ok(address));
            }
        }

        #[test]
        fn quoted_round_trips(local in "[ -~]{1,20}", domain in "[a-z]{1,5}\\.[a-z]{1,5}") {
            let quoted = format!(
                "\"{}\"@{domain}", local.replace('\\', "\\\\").replace('"', "\\\"")
            );
            let address = EmailAddress::parse(&quoted).unwrap();
            prop_assert_eq!(address.local(), local.to_ascii_lowercase());
            prop_assert_eq!(EmailAddress::parse(&address.to_string()), Ok(address.clone()));
            for name in address.directory().split('/') {
                prop_assert!(!name.is_empty() && name != ".." && name != ".");
                prop_assert!(name.len() <= 255);
            }
            prop_assert_eq!(address.directory().split('/').count(), 2);
        }
    }
}
