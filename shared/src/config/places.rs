//! Where each key of a settings file stands, for what is found wrong after the file was read.
//! It does not know what is found; `checkup` asks it.

use std::collections::HashMap;
use std::path::Path;

use super::fault::Gathered;
use super::tree::{self, Kind, Node, Position};
use super::{FILE_BYTES_MAX, file_text};

/// Every key of a file, by its full path such as `services[0].nodes[1].address`.
#[derive(Debug, Default)]
pub struct Places(HashMap<String, Position>);

impl Places {
    /// Those of a file; of one that cannot be read there are none.
    #[must_use]
    pub fn of_file(path: &Path) -> Self {
        Self::of_text(&file_text(path).unwrap_or_default())
    }

    /// Those of a text.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        let mut places = Self::default();
        if text.len() as u64 <= FILE_BYTES_MAX
            && let Some(root) = tree::parse(text, &Gathered::default())
        {
            places.add("", &root);
        }
        places
    }

    fn add(&mut self, path: &str, node: &Node) {
        match &node.kind {
            Kind::Scalar { .. } => {}
            Kind::List(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    self.0.insert(path.clone(), element.position);
                    self.add(&path, element);
                }
            }
            Kind::Map(entries) => {
                for entry in entries {
                    let dot = if path.is_empty() { "" } else { "." };
                    let path = format!("{path}{dot}{}", entry.key);
                    self.0.insert(path.clone(), entry.position);
                    self.add(&path, &entry.value);
                }
            }
        }
    }

    /// Line and column of a key, both counted from 1. A key that is not there, since its default
    /// holds, stands where it would have to be written: at the nearest map or list above it.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<(usize, usize)> {
        let mut path = path;
        loop {
            if let Some(position) = self.0.get(path) {
                return Some((position.line, position.column));
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_elements_and_those_that_are_not_written() {
        let text = "admin: x\nservices:\n  - name: smtp\n    nodes:\n      - {name: a, port: 1}\n";
        let places = Places::of_text(text);
        assert_eq!(places.find("admin"), Some((1, 1)));
        assert_eq!(places.find("services[0].nodes[0].port"), Some((5, 19)));
        assert_eq!(places.find("services[0].health.interval"), Some((3, 5)));
        assert_eq!(places.find("limits.connections_max"), None);
        assert!(Places::of_text("a: [").find("a").is_none());
    }
}
