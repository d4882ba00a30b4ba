//! The text of a file of users → its rows, and every fault with its line. Pure.
//! It does not know who is there already; `import` asks the store for that.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use shared::units::Bytes;

use super::fault::{Fault, Problem};
use crate::mail::{EmailAddress, Secret, canonical};

/// What a row may hold.
const COLUMNS: [&str; 6] =
    ["address", "password", "password_hash", "quota", "quota_messages", "name"];
/// Longest hash that is kept.
const HASH_BYTES_MAX: usize = 512;

/// One user as the file has it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) address: EmailAddress,
    pub(super) key: Key,
    /// `None`: the file says nothing of it.
    pub(super) name: Option<String>,
    pub(super) quota_octets: Option<i64>,
    pub(super) quota_messages: Option<i64>,
}

/// What a user logs in with.
#[derive(Debug)]
pub(super) enum Key {
    Password(Secret),
    Hash(String),
}

/// Which kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    JsonLines,
}

/// Whether a text is a hash that logins can be checked against; why not.
pub(super) type JudgeHash = fn(&str) -> Result<(), String>;

/// All rows that are right, and all faults of the others.
pub(super) fn read(text: &[u8], format: Format, judge: JudgeHash) -> (Vec<Row>, Vec<Fault>) {
    let mut table = Table { judge, rows: Vec::new(), faults: Vec::new(), seen: HashMap::new() };
    match format {
        Format::Csv => table.read_csv(text),
        Format::JsonLines => table.read_json_lines(text),
    }
    (table.rows, table.faults)
}

struct Table {
    judge: JudgeHash,
    rows: Vec<Row>,
    faults: Vec<Fault>,
    seen: HashMap<EmailAddress, u64>,
}

/// The cells of a row by the names of their columns; what is empty is not there.
type Cells<'t> = HashMap<&'t str, String>;

impl Table {
    fn fault(&mut self, line: u64, problem: Problem) {
        self.faults.push(Fault { line, problem });
    }

    fn read_csv(&mut self, text: &[u8]) {
        // What some spreadsheets put in front of UTF-8.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut lines = Lines { text, counted: 0, line: 1 };
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::Headers).flexible(true).from_reader(text);
        let header = match reader.headers() {
            Ok(header) => header.clone(),
            Err(error) => return self.fault(1, Problem::NotCsv(error.to_string())),
        };
        let columns: Vec<String> = header.iter().map(str::to_ascii_lowercase).collect();
        if !self.are_columns(&columns) {
            return;
        }
        for record in reader.byte_records() {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    let line = error.position().map_or(0, csv::Position::line);
                    self.fault(line, Problem::NotCsv(error.to_string()));
                    continue;
                }
            };
            let line = lines.at(record.position().map_or(0, csv::Position::byte));
            let Ok(record) = csv::StringRecord::from_byte_record(record) else {
                self.fault(line, Problem::NotUtf8);
                continue;
            };
            if record.len() != columns.len() {
                let problem = Problem::Cells { found: record.len(), wanted: columns.len() };
                self.fault(line, problem);
                continue;
            }
            let cells = columns.iter().map(String::as_str).zip(record.iter());
            let cells = cells.map(|(name, cell)| (name, trimmed(name, cell)));
            self.take(line, cells.filter(|(_, cell)| !cell.is_empty()).collect());
        }
    }

    fn are_columns(&mut self, columns: &[String]) -> bool {
        let before = self.faults.len();
        for (index, name) in columns.iter().enumerate() {
            if !COLUMNS.contains(&name.as_str()) {
                self.fault(1, Problem::UnknownColumn(name.clone()));
            } else if columns[..index].contains(name) {
                self.fault(1, Problem::ColumnTwice(name.clone()));
            }
        }
        let has = |name: &str| columns.iter().any(|column| column == name);
        if !has("address") {
            self.fault(1, Problem::NoColumn("address"));
        }
        if !has("password") && !has("password_hash") {
            self.fault(1, Problem::NoColumn("password_hash (or password)"));
        }
        self.faults.len() == before
    }

    fn read_json_lines(&mut self, text: &[u8]) {
        for (line, text) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            if text.trim_ascii().is_empty() {
                continue;
            }
            let object: serde_json::Map<String, serde_json::Value> =
                match serde_json::from_slice(text) {
                    Ok(object) => object,
                    Err(error) => {
                        let error = error.to_string();
                        let said = error.split(" at line ").next().unwrap_or_default();
                        self.fault(line, Problem::NotJson(said.to_owned()));
                        continue;
                    }
                };
            let before = self.faults.len();
            let mut cells = Cells::new();
            for (name, value) in &object {
                let cell = match value {
                    serde_json::Value::String(text) => trimmed(name, text),
                    serde_json::Value::Number(number) => number.to_string(),
                    serde_json::Value::Null => continue,
                    _ => {
                        self.fault(line, Problem::NotText(name.clone()));
                        continue;
                    }
                };
                if !COLUMNS.contains(&name.as_str()) {
                    self.fault(line, Problem::UnknownColumn(name.clone()));
                } else if !cell.is_empty() {
                    cells.insert(name, cell);
                }
            }
            if self.faults.len() == before {
                self.take(line, cells);
            }
        }
    }

    /// One row, whatever the format.
    fn take(&mut self, line: u64, mut cells: Cells<'_>) {
        let before = self.faults.len();
        let address = self.address(line, cells.remove("address"));
        let key = self.key(line, cells.remove("password"), cells.remove("password_hash"));
        let quota_octets = cells.remove("quota").and_then(|text| {
            let octets = text.parse::<Bytes>().ok().and_then(|size| i64::try_from(size.0).ok());
            octets.or_else(|| {
                self.fault(line, Problem::Quota(text));
                None
            })
        });
        let quota_messages = cells.remove("quota_messages").and_then(|text| {
            let count = text.parse::<i64>().ok().filter(|count| *count >= 0);
            count.or_else(|| {
                self.fault(line, Problem::QuotaMessages(text));
                None
            })
        });
        let name = cells.remove("name").and_then(|text| {
            canonical::display_name(&text).or_else(|| {
                self.fault(line, Problem::Name);
                None
            })
        });
        if self.faults.len() > before {
            return;
        }
        if let (Some(address), Some(key)) = (address, key) {
            self.rows.push(Row { line, address, key, name, quota_octets, quota_messages });
        }
    }

    fn address(&mut self, line: u64, text: Option<String>) -> Option<EmailAddress> {
        let Some(text) = text else {
            self.fault(line, Problem::NoAddress);
            return None;
        };
        let address = match canonical::address(&text) {
            Ok(address) => address,
            Err(fault) => {
                self.fault(line, Problem::Address(text, fault));
                return None;
            }
        };
        match self.seen.entry(address.clone()) {
            Entry::Vacant(free) => {
                free.insert(line);
                Some(address)
            }
            Entry::Occupied(first) => {
                let first = *first.get();
                self.fault(line, Problem::Twice(address, first));
                None
            }
        }
    }

    fn key(&mut self, line: u64, password: Option<String>, hash: Option<String>) -> Option<Key> {
        let problem = match (password, hash) {
            (Some(password), None) => match password.len() {
                ..=HASH_BYTES_MAX => return Some(Key::Password(Secret::new(password))),
                _ => Problem::PasswordLength,
            },
            (None, Some(hash)) if hash.len() > HASH_BYTES_MAX => {
                Problem::Hash("it is longer than 512 octets".to_owned())
            }
            (None, Some(hash)) => match (self.judge)(&hash) {
                Ok(()) => return Some(Key::Hash(hash)),
                Err(why) => Problem::Hash(why),
            },
            (Some(_), Some(_)) => Problem::TwoKeys,
            (None, None) => Problem::NoKey,
        };
        self.fault(line, problem);
        None
    }
}

/// A cell without the blanks around it; a password's blanks are its own.
fn trimmed(name: &str, cell: &str) -> String {
    if name == "password" { cell.to_owned() } else { cell.trim().to_owned() }
}

/// In which line of a text an octet stands; asked in ascending order.
struct Lines<'t> {
    text: &'t [u8],
    counted: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of the first octet from `offset` on that ends no line: what the reader of CSV
    /// tells is the place behind the row before, with empty lines still to come.
    fn at(&mut self, offset: u64) -> u64 {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        while let Some(byte) = self.text.get(self.counted) {
            if self.counted >= offset && !matches!(byte, b'\r' | b'\n') {
                break;
            }
            self.line += u64::from(*byte == b'\n');
            self.counted += 1;
        }
        self.line
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
