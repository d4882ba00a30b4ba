//! Messages to send, and what must be read of them afterwards.
//! It does not know how they travel; tests of delivery call it.

/// A message with a subject and one line of text, ended by CRLF.
pub fn message(subject: &str) -> Vec<u8> {
    with_body(subject, b"a line of text\r\n")
}

/// A message with a subject and a body, byte for byte.
pub fn with_body(subject: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("From: sender@example.net\r\nSubject: {subject}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// A message of about `bytes` bytes in lines of 76.
pub fn of_size(subject: &str, bytes: usize) -> Vec<u8> {
    let line = [&[b'm'; 76][..], b"\r\n"].concat();
    with_body(subject, &line.repeat(bytes / line.len() + 1))
}

/// The subject of a message, or nothing.
pub fn subject(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let found = head.lines().find_map(|line| line.strip_prefix("Subject: "));
    found.unwrap_or_default().to_owned()
}

/// Asserts that `read` is `sent`, byte for byte, behind the lines that a node adds in front:
/// `Return-Path:` and `Received:` (RFC 5321 §4.4) and nothing else.
///
/// # Panics
/// With the place of the first difference.
#[track_caller]
pub fn stored_as(read: &[u8], sent: &[u8]) {
    let Some(front) = read.len().checked_sub(sent.len()) else {
        panic!("{} bytes were sent, {} read: {}", sent.len(), read.len(), shown(read, 0));
    };
    let (added, kept) = read.split_at(front);
    if let Some(at) = kept.iter().zip(sent).position(|(kept, sent)| kept != sent) {
        let (kept, sent) = (shown(kept, at), shown(sent, at));
        panic!("byte {at} differs:\nread {kept}\nsent {sent}\nadded {}", shown(added, 0));
    }
    let added = String::from_utf8_lossy(added);
    let ours = ["Return-Path: ", "Received: ", "Delivered-To: ", "\t", " "];
    for line in added.split_terminator("\r\n") {
        let is_ours = ours.iter().any(|start| line.starts_with(start));
        assert!(is_ours, "a node adds trace headers only, not {line:?} in {added:?}");
    }
    assert!(added.starts_with("Return-Path: <"), "Return-Path: comes first in {added:?}");
    assert!(added.contains("\r\nReceived: from "), "a Received: is missing in {added:?}");
}

/// Asserts that CR and LF stand in pairs only.
///
/// # Panics
/// With the place of one that stands alone.
#[track_caller]
pub fn only_crlf(text: &[u8]) {
    for (at, byte) in text.iter().enumerate() {
        let alone = match byte {
            b'\r' => text.get(at + 1) != Some(&b'\n'),
            b'\n' => at == 0 || text[at - 1] != b'\r',
            _ => false,
        };
        assert!(!alone, "a CR or LF stands alone at byte {at}: {}", shown(text, at));
    }
}

/// Some bytes around a place, escaped.
fn shown(bytes: &[u8], at: usize) -> String {
    let from = at.saturating_sub(40);
    let to = (at + 40).min(bytes.len());
    format!("…{}…", bytes[from.min(to)..to].escape_ascii())
}
