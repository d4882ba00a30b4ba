//! Dialogues written down as `C:` and `S:` lines, and the player that holds them up to somebody.
//! It does not know who answers: a socket or a protocol's pure session; `dialogues.rs` says.
//!
//! ```text
//! # what this dialogue shows
//! = smtp                        a new connection, to SMTP or to POP3
//! S: 220 *                      the server says this line; `*` stands for anything
//! S~ 250 *                      the server says some lines, this is the last of them
//! C: EHLO client.example.net    the client says this line, ended by CRLF
//! R: half a line\r\n\0\xff      the client sends these bytes, no more
//! T.                            both begin TLS
//! S. the end                    the server closes the connection
//! ```

use std::path::{Path, PathBuf};

use crate::line::LineStream;

/// One line of a dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A new connection to the protocol of this name.
    Open(String),
    /// The client sends these bytes.
    Client(Vec<u8>),
    /// The server says a line like this one.
    Server(String),
    /// The server says any lines and then one like this.
    ServerAtLast(String),
    /// TLS begins.
    Encrypt,
    /// The server closes.
    End,
}

/// A dialogue with its lines' numbers.
#[derive(Debug)]
pub struct Script {
    name: String,
    lines: Vec<(usize, Line)>,
}

/// Who holds the server's part.
pub trait Party {
    /// A new connection.
    ///
    /// # Errors
    /// What went wrong.
    fn open(&mut self, protocol: &str) -> Result<(), String>;
    /// TLS begins.
    ///
    /// # Errors
    /// Why it does not.
    fn encrypt(&mut self) -> Result<(), String>;
    /// Bytes of the client.
    ///
    /// # Errors
    /// What went wrong.
    fn say(&mut self, bytes: &[u8]) -> Result<(), String>;
    /// The next line of the server, its CRLF gone.
    ///
    /// # Errors
    /// What came in place of a line.
    fn hear(&mut self) -> Result<String, String>;
    /// The server's end.
    ///
    /// # Errors
    /// What came in place of the end.
    fn end(&mut self) -> Result<(), String>;
}

impl Script {
    /// Reads one file of `dialogues/`.
    ///
    /// # Panics
    /// When it cannot be read, or a line has another form than those above.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        let kept = numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let lines = kept.map(|(number, line)| {
            let read = Line::read(line);
            (number, read.unwrap_or_else(|| panic!("{name}:{number}: what is {line:?}?")))
        });
        Self { lines: lines.collect(), name: name.clone() }
    }

    /// Plays the client's part to `party` and holds its answers up to the text.
    ///
    /// # Panics
    /// At the first line that is not as written, with file, line and what was seen.
    pub fn play(&self, party: &mut dyn Party) {
        for (number, line) in &self.lines {
            let outcome = match line {
                Line::Open(protocol) => party.open(protocol),
                Line::Client(bytes) => party.say(bytes),
                Line::Encrypt => party.encrypt(),
                Line::End => party.end(),
                Line::Server(pattern) => party.hear().and_then(|heard| {
                    let fits = matches(pattern, &heard);
                    if fits { Ok(()) } else { Err(format!("the server said {heard:?}")) }
                }),
                Line::ServerAtLast(pattern) => loop {
                    match party.hear() {
                        Ok(heard) if matches(pattern, &heard) => break Ok(()),
                        Ok(_) => {}
                        Err(seen) => break Err(seen),
                    }
                },
            };
            if let Err(seen) = outcome {
                panic!("{}:{number}: {line:?} was written; {seen}", self.name);
            }
        }
    }
}

impl Line {
    fn read(line: &str) -> Option<Self> {
        let (mark, text) = line.split_at_checked(2)?;
        let text = text.strip_prefix(' ').unwrap_or(text);
        match mark {
            "= " => Some(Self::Open(text.to_owned())),
            "C:" => Some(Self::Client(format!("{text}\r\n").into_bytes())),
            "R:" => unescape(text).map(Self::Client),
            "S:" => Some(Self::Server(text.to_owned())),
            "S~" => Some(Self::ServerAtLast(text.to_owned())),
            "T." => Some(Self::Encrypt),
            "S." => Some(Self::End),
            _ => None,
        }
    }
}

/// Whether `text` is like `pattern`, in which `*` stands for anything, also for nothing.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// `\r`, `\n`, `\0`, `\\` and `\xFF` become their bytes.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        bytes.push(match characters.next()? {
            'r' => b'\r',
            'n' => b'\n',
            '0' => 0,
            '\\' => b'\\',
            'x' => {
                let digits: String = characters.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16).ok()?
            }
            _ => return None,
        });
    }
    Some(bytes)
}

/// A party behind sockets: one port for each protocol.
#[derive(Debug)]
pub struct Sockets {
    ports: Vec<(&'static str, u16)>,
    trusted: PathBuf,
    line: Option<LineStream>,
}

impl Sockets {
    /// Knows where each protocol listens, and the servers' certificate.
    pub fn new(ports: Vec<(&'static str, u16)>, trusted: PathBuf) -> Self {
        Self { ports, trusted, line: None }
    }

    fn line(&mut self) -> Result<&mut LineStream, String> {
        self.line.as_mut().ok_or_else(|| "a dialogue opens a connection first".to_owned())
    }
}

impl Party for Sockets {
    fn open(&mut self, protocol: &str) -> Result<(), String> {
        let port = self.ports.iter().find(|(name, _)| *name == protocol);
        let (_, port) = port.ok_or_else(|| format!("no port for {protocol:?}"))?;
        self.line = Some(LineStream::connect(*port).map_err(|error| error.to_string())?);
        Ok(())
    }

    fn encrypt(&mut self) -> Result<(), String> {
        let trusted = self.trusted.clone();
        self.line()?.encrypt(&trusted).map_err(|error| error.to_string())
    }

    fn say(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.line()?.send(bytes).map_err(|error| error.to_string())
    }

    fn hear(&mut self) -> Result<String, String> {
        let line = self.line()?.read_line().map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn end(&mut self) -> Result<(), String> {
        self.line()?.expect_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text) in [("220 *", "220 a b"), ("*", ""), ("a*b*c", "abbc"), ("a", "a")] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("220 *", "221 a"), ("a", "ab"), ("a*b", "ac"), ("a*a", "a")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn lines() {
        assert_eq!(Line::read("C: QUIT"), Some(Line::Client(b"QUIT\r\n".to_vec())));
        assert_eq!(Line::read("C:"), Some(Line::Client(b"\r\n".to_vec())));
        assert_eq!(Line::read("R: a\\r\\n\\0\\xff"), Some(Line::Client(b"a\r\n\0\xff".to_vec())));
        assert_eq!(Line::read("S: 250 *"), Some(Line::Server("250 *".to_owned())));
        assert_eq!(Line::read("QUIT"), None);
    }
}
