//! The project's own files, for the tests that read them.
//! It does not know any rule; `tidy` and `configs` hold the files up to theirs.

use std::path::PathBuf;

use crate::program::project;

/// One text file of the project.
#[derive(Debug)]
pub struct Source {
    /// Its path from the project's top, with slashes.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl Source {
    /// Where it lies.
    pub fn location(&self) -> PathBuf {
        project().join(&self.path)
    }

    /// Its lines with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The code in front of its unit tests.
    pub fn without_tests(&self) -> &str {
        let end = self.text.find("#[cfg(test)]").unwrap_or(self.text.len());
        &self.text[..end]
    }
}

/// All text files of the project, but what is made by programs: builds, git's own, fuzzing.
///
/// # Panics
/// When a folder cannot be read.
pub fn all() -> Vec<Source> {
    let mut folders = vec![project()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder);
        let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("a folder's entry").path();
            let relative = path.strip_prefix(project()).expect("it lies in the project");
            let relative = relative.to_string_lossy().into_owned();
            let name = path.file_name().unwrap_or_default();
            // `.git` is a file where this is one of several work trees.
            if ["target", ".git", "corpus", "artifacts"].iter().any(|made| name == *made) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                found.push(Source { path: relative, text });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// The Rust files among them.
pub fn rust() -> Vec<Source> {
    all().into_iter().filter(|source| source.path.ends_with(".rs")).collect()
}
