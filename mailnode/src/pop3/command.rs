//! What the client said: one command line of RFC 1939 §5-§7 and RFC 2449 §5.
//! It does not know whether the command fits the moment; the session decides that.

use crate::mail::Secret;
use crate::sasl;

/// A command, understood. Message numbers count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `USER name`
    User(String),
    /// `PASS string`: all that follows the first space, spaces too (RFC 1939 §7).
    Pass(Secret),
    /// `STAT`
    Stat,
    /// `LIST [n]`
    List(Option<usize>),
    /// `UIDL [n]`
    Uidl(Option<usize>),
    /// `RETR n`
    Retr(usize),
    /// `TOP n lines`
    Top {
        /// The message.
        number: usize,
        /// Lines of its body.
        lines: u64,
    },
    /// `DELE n`
    Dele(usize),
    /// `RSET`
    Reset,
    /// `NOOP`
    Noop,
    /// `STLS` (RFC 2595 §4)
    StartTls,
    /// `AUTH [mechanism [initial response]]` (RFC 5034 §4), decoded; without anything it asks for
    /// the names of all, as clients older than CAPA do.
    Auth(Option<(String, Option<Initial>)>),
    /// `UTF8` (RFC 6856 §2)
    Utf8,
    /// `CAPA`
    Capabilities,
    /// `QUIT`
    Quit,
}

/// An initial response: it may hold a password, so no log shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Initial(pub Vec<u8>);

impl std::fmt::Debug for Initial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Initial")
    }
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandFault {
    /// No such command here.
    Unknown,
    /// What the command takes.
    Arguments(&'static str),
}

impl Command {
    /// Reads one line, its CRLF gone, printable ASCII or, in a password, UTF-8.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &str) -> Result<Self, CommandFault> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split_ascii_whitespace().collect();
        let alone = |command: Self| {
            if words.is_empty() { Ok(command) } else { wrong("this command takes no argument") }
        };
        match verb.to_ascii_uppercase().as_str() {
            "USER" => match words[..] {
                [name] => Ok(Self::User(name.to_owned())),
                _ => wrong("it is USER address"),
            },
            "PASS" if rest.is_empty() => wrong("it is PASS password"),
            "PASS" => Ok(Self::Pass(Secret::new(rest.to_owned()))),
            "LIST" => Ok(Self::List(optional_number(&words)?)),
            "UIDL" => Ok(Self::Uidl(optional_number(&words)?)),
            "RETR" => Ok(Self::Retr(number(&words)?)),
            "DELE" => Ok(Self::Dele(number(&words)?)),
            "TOP" => match words[..] {
                [of, lines] => Ok(Self::Top {
                    number: number(&[of])?,
                    lines: lines.parse().or_else(|_| wrong("it is TOP message lines"))?,
                }),
                _ => wrong("it is TOP message lines"),
            },
            "STAT" => alone(Self::Stat),
            "RSET" => alone(Self::Reset),
            "NOOP" => alone(Self::Noop),
            "UTF8" => alone(Self::Utf8),
            "AUTH" => match words[..] {
                [] => Ok(Self::Auth(None)),
                [mechanism] => Ok(Self::Auth(Some((mechanism.to_owned(), None)))),
                // An initial response of nothing is said as `=`.
                [mechanism, "="] => {
                    Ok(Self::Auth(Some((mechanism.to_owned(), Some(Initial(Vec::new()))))))
                }
                [mechanism, initial] => match sasl::decode(initial) {
                    None => wrong("the initial response is no base64"),
                    Some(initial) => {
                        Ok(Self::Auth(Some((mechanism.to_owned(), Some(Initial(initial))))))
                    }
                },
                _ => wrong("it is AUTH mechanism [initial response]"),
            },
            "STLS" => alone(Self::StartTls),
            "CAPA" => alone(Self::Capabilities),
            "QUIT" => alone(Self::Quit),
            _ => Err(CommandFault::Unknown),
        }
    }
}

fn wrong<T>(what: &'static str) -> Result<T, CommandFault> {
    Err(CommandFault::Arguments(what))
}

fn number(words: &[&str]) -> Result<usize, CommandFault> {
    match words {
        [word] => word.parse().or_else(|_| wrong("a message number belongs after it")),
        _ => wrong("one message number belongs after it"),
    }
}

fn optional_number(words: &[&str]) -> Result<Option<usize>, CommandFault> {
    if words.is_empty() { Ok(None) } else { number(words).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commands() {
        assert_eq!(Command::parse("user a@b.test"), Ok(Command::User("a@b.test".into())));
        assert_eq!(
            Command::parse("PASS two  words "),
            Ok(Command::Pass(Secret::new("two  words ".into())))
        );
        assert_eq!(Command::parse("LIST"), Ok(Command::List(None)));
        assert_eq!(Command::parse("LIST 7"), Ok(Command::List(Some(7))));
        let auth = |name: &str, initial: Option<&[u8]>| {
            Ok(Command::Auth(Some((
                name.to_owned(),
                initial.map(|octets| Initial(octets.to_vec())),
            ))))
        };
        assert_eq!(Command::parse("AUTH"), Ok(Command::Auth(None)));
        assert_eq!(Command::parse("auth PLAIN"), auth("PLAIN", None));
        assert_eq!(Command::parse("AUTH PLAIN ="), auth("PLAIN", Some(b"")));
        assert_eq!(Command::parse("AUTH PLAIN AGEAYg=="), auth("PLAIN", Some(b"\0a\0b")));
        assert_eq!(Command::parse("TOP 1 0"), Ok(Command::Top { number: 1, lines: 0 }));
        for faulty in [
            "LIST x",
            "RETR",
            "RETR 1 2",
            "TOP 1",
            "STAT 1",
            "DELE -1",
            "PASS",
            "USER",
            "AUTH PLAIN !",
            "UTF8 x",
        ] {
            assert!(matches!(Command::parse(faulty), Err(CommandFault::Arguments(_))), "{faulty}");
        }
        assert_eq!(Command::parse("XTND"), Err(CommandFault::Unknown));
    }

    #[test]
    fn a_password_shows_in_no_log() {
        for line in ["PASS hush", "AUTH PLAIN aHVzaA=="] {
            let shown = format!("{:?}", Command::parse(line).unwrap());
            assert!(!shown.contains("hush") && !shown.contains("104"), "{shown}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(line in "(TOP |RETR |LIST )?.{0,40}") {
            let _outcome = Command::parse(&line);
        }
    }
}
