//! What an administrator types → its one canonical form: lower case, NFC, A-labels.
//! It does not know SMTP, which takes none of it: `EmailAddress::parse` reads what clients send.

use unicode_normalization::UnicodeNormalization;

use super::address::{AddressFault, EmailAddress, is_domain};

/// Longest display name in octets.
pub const NAME_BYTES_MAX: usize = 255;

/// An address as it is typed; a domain may have letters beyond ASCII.
///
/// # Errors
/// Says which part is wrong. A local part that begins with a dot or holds `/` or `\` is refused,
/// although a quoted one may by RFC 5321: it would be another name in the file store.
pub fn address(typed: &str) -> Result<EmailAddress, AddressFault> {
    let (local, domain) = typed.rsplit_once('@').ok_or(AddressFault::Shape)?;
    if !local.is_ascii() {
        return Err(AddressFault::NotAscii);
    }
    let domain = a_labels(domain).ok_or(AddressFault::Domain)?;
    let address = EmailAddress::parse(&format!("{local}@{domain}"))?;
    let leaves = address.local().starts_with('.') || address.local().contains(['/', '\\']);
    if leaves { Err(AddressFault::LocalPart) } else { Ok(address) }
}

/// A domain's name as it is typed.
///
/// # Errors
/// It is none; an address in brackets is none either.
pub fn domain(typed: &str) -> Result<String, AddressFault> {
    let name = a_labels(typed).filter(|name| is_domain(name) && !name.starts_with('['));
    name.ok_or(AddressFault::Domain)
}

/// A display name: NFC, no control character, at most 255 octets.
pub fn display_name(typed: &str) -> Option<String> {
    let name: String = typed.trim().nfc().collect();
    let fits = name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
    fits.then_some(name)
}

/// The name in the letters of the DNS (RFC 5890), lower case; what is ASCII stays as it is.
fn a_labels(name: &str) -> Option<String> {
    if name.is_ascii() {
        return Some(name.to_ascii_lowercase());
    }
    idna::domain_to_ascii_strict(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Result<String, AddressFault> {
        address(text).map(|address| address.to_string())
    }

    #[test]
    fn one_form_for_all_ways_to_write_it() {
        assert_eq!(typed("Alice@Example.TEST").unwrap(), "alice@example.test");
        // One letter, and a letter with a mark behind it.
        assert_eq!(typed("a@b\u{fc}cher.test").unwrap(), "a@xn--bcher-kva.test");
        assert_eq!(typed("a@Bu\u{308}cher.test").unwrap(), "a@xn--bcher-kva.test");
        assert_eq!(domain("B\u{dc}CHER.test").unwrap(), "xn--bcher-kva.test");
        assert_eq!(display_name(" Bu\u{308}cher ").unwrap(), "B\u{fc}cher");
    }

    #[test]
    fn what_would_be_another_place_is_refused() {
        use AddressFault::{Domain, LocalPart, NotAscii, Shape};
        for (text, fault) in [
            ("\"../x\"@d.test", LocalPart),
            ("\".\"@d.test", LocalPart),
            ("a/b@d.test", LocalPart),
            ("\"a\\\\b\"@d.test", LocalPart),
            ("a@..", Domain),
            ("a@x/y.test", Domain),
            ("a@\u{2025}.test", Domain),
            ("\u{e4}@d.test", NotAscii),
            ("nobody", Shape),
        ] {
            assert_eq!(address(text), Err(fault), "{text}");
        }
        assert!(domain("[192.0.2.1]").is_err());
        assert_eq!(display_name("two\nlines"), None);
        assert_eq!(display_name(&"x".repeat(256)), None);
    }
}
