//! A maildrop as it was at login, and what is marked in it (RFC 1939 §5, §6, §8: no message comes
//! or goes during a session). It does not know lines or replies beyond what `session` asks for.
//!
//! A maildrop may have 100,000 messages: one takes some 70 octets here, all names in one text.

use crate::mail::{Guid, MailboxId, Uid};

/// The messages of a mailbox, oldest first, none of them marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maildrop {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// The directory that the first message lies in, with its `/`; most lie there.
    directory: String,
    /// Identity and file of each, one after the other.
    names: String,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    uid: Uid,
    octets: i64,
    /// Where its names begin.
    begin: u32,
    guid_length: u16,
    file_length: u16,
    file: FileName,
    marked: bool,
}

/// How a file's name is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileName {
    /// Directory, identity, `.eml`: nothing more is kept.
    OfIdentity,
    /// Directory and what is kept.
    InDirectory,
    /// What is kept.
    Whole,
}

/// One message of a maildrop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its number in the mailbox.
    pub uid: Uid,
    /// Its identity for ever.
    pub guid: Guid,
    /// Its size as RETR sends it, dots not counted.
    pub octets: i64,
    /// Its file, beneath the mail root.
    pub file: String,
}

/// What LIST and UIDL say of each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// Its size.
    Octets,
    /// Its identity.
    Identity,
}

impl Maildrop {
    /// An empty one.
    pub fn new(mailbox: MailboxId) -> Self {
        Self { mailbox, directory: String::new(), names: String::new(), entries: Vec::new() }
    }

    /// Adds the next message. One whose names are longer than any of ours is passed over: it is
    /// not shown, and stays.
    pub fn add(&mut self, uid: Uid, guid: &str, octets: i64, file: &str) {
        if self.entries.is_empty() {
            self.directory = file.rsplit_once('/').map_or(String::new(), |(d, _)| format!("{d}/"));
        }
        let (name, kept) = match file.strip_prefix(&self.directory) {
            Some(name) if name.strip_suffix(".eml") == Some(guid) => (FileName::OfIdentity, ""),
            Some(name) => (FileName::InDirectory, name),
            None => (FileName::Whole, file),
        };
        let lengths = (u16::try_from(guid.len()), u16::try_from(kept.len()));
        let (Ok(begin), (Ok(guid_length), Ok(file_length))) =
            (u32::try_from(self.names.len()), lengths)
        else {
            return;
        };
        self.names.push_str(guid);
        self.names.push_str(kept);
        let (file, marked) = (name, false);
        self.entries.push(Entry { uid, octets, begin, guid_length, file_length, file, marked });
    }

    /// How many messages there are, marked ones too.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many are not marked, and their octets.
    pub fn left(&self) -> (usize, i64) {
        let left = self.entries.iter().filter(|entry| !entry.marked);
        left.fold((0, 0), |(count, octets), entry| (count + 1, octets + entry.octets))
    }

    /// The message of this number, from 1 on, unless it is marked.
    pub fn message(&self, number: usize) -> Option<Message> {
        let entry = self.entry(number)?;
        let (guid, kept) = self.names_of(entry);
        let file = match entry.file {
            FileName::OfIdentity => format!("{}{guid}.eml", self.directory),
            FileName::InDirectory => format!("{}{kept}", self.directory),
            FileName::Whole => kept.to_owned(),
        };
        Some(Message { uid: entry.uid, guid: Guid(guid.to_owned()), octets: entry.octets, file })
    }

    /// What a listing says of the message of this number, unless it is marked.
    pub fn said(&self, listing: Listing, number: usize) -> Option<String> {
        let entry = self.entry(number)?;
        Some(match listing {
            Listing::Octets => entry.octets.to_string(),
            Listing::Identity => self.names_of(entry).0.to_owned(),
        })
    }

    /// `number what`, for every message that is not marked.
    pub fn lines(&self, listing: Listing) -> impl Iterator<Item = String> + '_ {
        (1..=self.entries.len()).filter_map(move |number| {
            self.said(listing, number).map(|said| format!("{number} {said}"))
        })
    }

    /// Marks a message; false: there is none of this number, or it is marked already.
    pub fn mark(&mut self, number: usize) -> bool {
        let index = number.wrapping_sub(1);
        match self.entries.get_mut(index) {
            Some(entry) if !entry.marked => {
                entry.marked = true;
                true
            }
            _ => false,
        }
    }

    /// Takes every mark away.
    pub fn unmark_all(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.marked = false);
    }

    /// The marked messages.
    pub fn marked(&self) -> Vec<Uid> {
        self.entries.iter().filter(|entry| entry.marked).map(|entry| entry.uid).collect()
    }

    fn entry(&self, number: usize) -> Option<&Entry> {
        self.entries.get(number.checked_sub(1)?).filter(|entry| !entry.marked)
    }

    fn names_of(&self, entry: &Entry) -> (&str, &str) {
        let names = self.names.get(entry.begin as usize..).unwrap_or_default();
        let (guid, rest) = names.split_at_checked(entry.guid_length.into()).unwrap_or_default();
        (guid, rest.get(..entry.file_length.into()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_out_as_they_went_in() {
        let mut maildrop = Maildrop::new(MailboxId(1));
        let files = ["d.test/u/guid1.eml", "d.test/u/two", "elsewhere/three", "four"];
        for (uid, file) in (1..).zip(files) {
            maildrop.add(Uid(uid), &format!("guid{uid}"), uid * 10, file);
        }
        for (number, file) in (1..).zip(files) {
            let message = maildrop.message(number).unwrap();
            assert_eq!((message.file.as_str(), message.octets), (file, number as i64 * 10));
            assert_eq!(message.guid.0, format!("guid{number}"));
        }
        assert!(maildrop.mark(2) && !maildrop.mark(2) && !maildrop.mark(0) && !maildrop.mark(5));
        assert_eq!(maildrop.left(), (3, 80));
        assert_eq!(maildrop.marked(), [Uid(2)]);
        let lines: Vec<_> = maildrop.lines(Listing::Identity).collect();
        assert_eq!(lines, ["1 guid1", "3 guid3", "4 guid4"]);
        assert_eq!(maildrop.message(2), None);
        maildrop.unmark_all();
        assert_eq!(maildrop.said(Listing::Octets, 2), Some("20".into()));
    }
}
