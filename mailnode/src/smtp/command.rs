//! What the client said: one command line of RFC 5321 §4.1.1, its addresses and parameters.
//! It does not know whether the command fits the moment; the session decides that.

use crate::mail::{AddressFault, EmailAddress, ReversePath};

/// A command, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `EHLO name` (extended) or `HELO name`.
    Hello {
        /// What the client calls itself.
        name: String,
        /// EHLO.
        extended: bool,
    },
    /// `MAIL FROM:<…> [SIZE=n] [BODY=…]`
    Mail {
        /// The sender.
        from: ReversePath,
        /// The size announced, in octets (RFC 1870); 0 = none announced.
        size: u64,
    },
    /// `RCPT TO:<…>`
    Rcpt(Target),
    /// `DATA`
    Data,
    /// `STARTTLS` (RFC 3207)
    StartTls,
    /// `RSET`
    Reset,
    /// `NOOP [anything]`
    Noop,
    /// `VRFY anything`
    Verify,
    /// `HELP [anything]`
    Help,
    /// `QUIT`
    Quit,
}

/// Whom `RCPT TO` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An address.
    Address(EmailAddress),
    /// `<postmaster>` without a domain (RFC 5321 §4.5.1).
    Postmaster,
}

/// Why a line is no command; each has its own answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandFault {
    /// No such command here.
    Unknown,
    /// A command of RFC 5321 or an extension that this server does not offer.
    NotOffered,
    /// The words after the command are not what it takes; says what it takes.
    Arguments(&'static str),
    /// The address is none.
    Address(AddressFault),
    /// A parameter of MAIL or RCPT that was not offered (RFC 5321 §4.1.1.11).
    Parameter,
}

impl Command {
    /// Reads one line (its CRLF gone, printable ASCII).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &str) -> Result<Self, CommandFault> {
        let (verb, rest) = match line.find(' ') {
            Some(space) => (&line[..space], line[space + 1..].trim_matches(' ')),
            None => (line, ""),
        };
        let alone = |command: Self| match rest {
            "" => Ok(command),
            _ => Err(CommandFault::Arguments("this command takes no argument")),
        };
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => hello(rest, true),
            "HELO" => hello(rest, false),
            "MAIL" => mail(rest),
            "RCPT" => rcpt(rest),
            "DATA" => alone(Self::Data),
            "RSET" => alone(Self::Reset),
            "QUIT" => alone(Self::Quit),
            "STARTTLS" => alone(Self::StartTls),
            "NOOP" => Ok(Self::Noop),
            "HELP" => Ok(Self::Help),
            "VRFY" if rest.is_empty() => Err(CommandFault::Arguments("VRFY takes a name")),
            "VRFY" => Ok(Self::Verify),
            "EXPN" | "TURN" | "ETRN" | "SEND" | "SOML" | "SAML" | "AUTH" | "BDAT" => {
                Err(CommandFault::NotOffered)
            }
            _ => Err(CommandFault::Unknown),
        }
    }
}

/// RFC 5321 §4.1.1.1. The name is taken as it is: it proves nothing, and refusing odd ones loses
/// mail of real senders; only its length and its being one word are asked for.
fn hello(rest: &str, extended: bool) -> Result<Command, CommandFault> {
    if rest.is_empty() || rest.len() > 255 || rest.contains([' ', '\t']) {
        return Err(CommandFault::Arguments("a host name belongs after it"));
    }
    Ok(Command::Hello { name: rest.to_owned(), extended })
}

/// ```text
/// mail = "MAIL FROM:" Reverse-path [SP Mail-parameters] CRLF     ; RFC 5321 §4.1.1.2
/// ```
fn mail(rest: &str) -> Result<Command, CommandFault> {
    const FORM: CommandFault = CommandFault::Arguments("it is MAIL FROM:<address>");
    let (path, parameters) = take_path(rest, "FROM:").ok_or(FORM)?;
    let from = match path {
        "" => ReversePath::Null,
        path => ReversePath::Address(address(path)?),
    };
    let mut size = 0;
    for parameter in parameters.split_ascii_whitespace() {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match name.to_ascii_uppercase().as_str() {
            // RFC 1870 §3: up to 20 digits; a u64 may be too small for one that is right.
            "SIZE" if (1..=20).contains(&value.len()) && is_digits(value) => {
                size = value.parse().unwrap_or(u64::MAX);
            }
            "SIZE" => return Err(CommandFault::Arguments("SIZE is a number of octets")),
            // RFC 6152 §2
            "BODY" if is_any(value, &["7BIT", "8BITMIME"]) => {}
            "BODY" => return Err(CommandFault::Arguments("BODY is 7BIT or 8BITMIME")),
            _ => return Err(CommandFault::Parameter),
        }
    }
    Ok(Command::Mail { from, size })
}

/// ```text
/// rcpt = "RCPT TO:" ( "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path ) CRLF
///                                                                ; RFC 5321 §4.1.1.3
/// ```
fn rcpt(rest: &str) -> Result<Command, CommandFault> {
    const FORM: CommandFault = CommandFault::Arguments("it is RCPT TO:<address>");
    let (path, parameters) = take_path(rest, "TO:").ok_or(FORM)?;
    if !parameters.trim().is_empty() {
        return Err(CommandFault::Parameter);
    }
    if path.eq_ignore_ascii_case("postmaster") {
        return Ok(Command::Rcpt(Target::Postmaster));
    }
    Ok(Command::Rcpt(Target::Address(address(path)?)))
}

/// Takes `KEY <path> parameters` apart: the path without its brackets, and what follows.
fn take_path<'a>(rest: &'a str, key: &str) -> Option<(&'a str, &'a str)> {
    let after = rest.get(..key.len()).filter(|word| word.eq_ignore_ascii_case(key))?;
    // A space after the colon is against RFC 5321 §4.1.1.2, and common.
    let path = rest[after.len()..].trim_start_matches(' ').strip_prefix('<')?;
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in path.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => {
                let parameters = &path[at + 1..];
                let parted = parameters.is_empty() || parameters.starts_with(' ');
                return parted.then_some((&path[..at], parameters));
            }
            _ => {}
        }
    }
    None
}

/// The address of a path; a source route in front is read and dropped (RFC 5321 §4.1.1.3, C).
fn address(path: &str) -> Result<EmailAddress, CommandFault> {
    let mailbox = match path.strip_prefix('@') {
        Some(route) => route.split_once(':').map_or("", |(_, mailbox)| mailbox),
        None => path,
    };
    EmailAddress::parse(mailbox).map_err(CommandFault::Address)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_any(text: &str, allowed: &[&str]) -> bool {
    allowed.iter().any(|word| word.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn to(line: &str) -> String {
        match Command::parse(line) {
            Ok(Command::Rcpt(Target::Address(address))) => address.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn paths() {
        assert_eq!(to("RCPT TO:<Bob@Example.test>"), "bob@example.test");
        assert_eq!(to("rcpt to: <bob@example.test>"), "bob@example.test");
        assert_eq!(to("RCPT TO:<@a.test,@b.test:bob@c.test>"), "bob@c.test");
        assert_eq!(to("RCPT TO:<\"a>b\"@c.test>"), "\"a>b\"@c.test");
        assert_eq!(to("RCPT TO:<\"u@evil.test\"@c.test>"), "\"u@evil.test\"@c.test");
        assert_eq!(Command::parse("RCPT TO:<Postmaster>"), Ok(Command::Rcpt(Target::Postmaster)));
        for wrong in [
            "RCPT TO:bob@c.test",
            "RCPT TO:<bob@c.test",
            "RCPT TO:<>",
            "RCPT TO:<bob>",
            "RCPT TO:<bob@c.test>x",
            "RCPT <bob@c.test>",
            "RCPT TO:<@a.test>",
            "RCPT TO:<bob@c.test> NOTIFY=NEVER",
        ] {
            assert!(Command::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn parameters() {
        let size = |line| match Command::parse(line) {
            Ok(Command::Mail { size, .. }) => Ok(size),
            Ok(other) => panic!("{other:?}"),
            Err(fault) => Err(fault),
        };
        assert_eq!(size("MAIL FROM:<>"), Ok(0));
        assert_eq!(size("MAIL FROM:<a@b.test> SIZE=12 BODY=8BITMIME"), Ok(12));
        assert_eq!(size("MAIL FROM:<a@b.test> size=99999999999999999999"), Ok(u64::MAX));
        assert!(size("MAIL FROM:<a@b.test> SIZE=-1").is_err());
        assert!(size("MAIL FROM:<a@b.test> BODY=BINARYMIME").is_err());
        assert_eq!(size("MAIL FROM:<a@b.test> RET=HDRS"), Err(CommandFault::Parameter));
    }

    #[test]
    fn verbs() {
        assert_eq!(Command::parse("quit"), Ok(Command::Quit));
        assert_eq!(Command::parse("QUIT "), Ok(Command::Quit));
        assert_eq!(Command::parse("NOOP whatever"), Ok(Command::Noop));
        assert!(matches!(Command::parse("DATA x"), Err(CommandFault::Arguments(_))));
        assert!(matches!(Command::parse("EHLO"), Err(CommandFault::Arguments(_))));
        assert_eq!(Command::parse("STARTTLS"), Ok(Command::StartTls));
        assert_eq!(Command::parse("BDAT 1"), Err(CommandFault::NotOffered));
        assert_eq!(Command::parse("GET / HTTP/1.1"), Err(CommandFault::Unknown));
        assert_eq!(Command::parse(""), Err(CommandFault::Unknown));
    }

    proptest! {
        #[test]
        fn never_panics(line in "(MAIL FROM:|RCPT TO:|EHLO )?[ -~]{0,60}") {
            let _outcome = Command::parse(&line);
        }
    }
}
