//! What is wrong with a settings file: every fault, each with its place.
//! It does not know YAML or how a fault was found; `tree` and `map` report to it.

use std::cell::RefCell;
use std::fmt;

/// Where something stands in a settings file: the keys that lead to it, its line and column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
    /// `services[0].health.rise`; empty for the file itself.
    pub(super) path: String,
}

/// One fault of a settings file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    place: Place,
    message: String,
}

impl Fault {
    /// Moves it to the end of a text of so many lines, whose last has so many characters, if it
    /// stands beyond.
    pub(super) fn keep_within(&mut self, lines: usize, characters: usize) {
        if self.place.line > lines {
            (self.place.line, self.place.column) = (lines, characters + 1);
        }
    }

    /// Line in the file, counted from 1; 0 when the fault is of the file as a whole.
    #[must_use]
    pub fn line(&self) -> usize {
        self.place.line
    }

    /// Column, counted in characters from 1; 0 when the fault is of the file as a whole.
    #[must_use]
    pub fn column(&self) -> usize {
        self.place.column
    }

    /// The full path of the key, such as `services[0].health.rise`; empty for the file itself.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.place.path
    }

    /// What is wrong, and what is allowed.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Every fault of one file, sorted by place. `Display` writes one line for each:
/// ``FILE:LINE:COLUMN: services[0].mode: `fastest` is not allowed; allowed: …``.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    file: String,
    faults: Vec<Fault>,
}

impl Faults {
    /// A fault of the file as a whole: it cannot be read, it is empty, it is too long.
    pub(super) fn whole(file: &str, message: String) -> Self {
        let place = Place { line: 0, column: 0, path: String::new() };
        Self { file: file.to_owned(), faults: vec![Fault { place, message }] }
    }

    pub(super) fn new(file: &str, mut faults: Vec<Fault>) -> Self {
        faults.sort();
        faults.dedup();
        Self { file: file.to_owned(), faults }
    }

    /// How many faults there are: at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is no empty list of faults")]
    pub fn len(&self) -> usize {
        self.faults.len()
    }

    /// The faults in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.faults.iter()
    }

    /// The file's name as it was given.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// One line for each fault, as `Display` shows them; control characters are escaped.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.faults.iter().map(|fault| {
            let Place { line, column, path } = &fault.place;
            let mut text = escaped(&self.file);
            if *line > 0 {
                text += &format!(":{line}:{column}");
            }
            text += ": ";
            if !path.is_empty() {
                text += &format!("{}: ", escaped(path));
            }
            text + &escaped(&fault.message)
        })
    }
}

/// A file name, a key or a value may hold anything; a fault must stay one line of a terminal.
fn escaped(text: &str) -> String {
    let visible = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(visible).collect()
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.lines().collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Faults {}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Where faults are gathered while a file is read.
#[derive(Debug, Default)]
pub(super) struct Gathered(RefCell<Vec<Fault>>);

impl Gathered {
    pub(super) fn add(&self, place: Place, message: impl Into<String>) {
        self.0.borrow_mut().push(Fault { place, message: message.into() });
    }

    pub(super) fn into_vec(self) -> Vec<Fault> {
        self.0.into_inner()
    }
}
