//! One map of a settings file, whose keys are taken out one by one.
//! It does not know YAML's syntax (`tree` does) or what a value is (`value` does); the `config`
//! file of each binary calls it.

use std::ops::RangeInclusive;

use super::Value;
use super::expand::expand;
use super::fault::{Gathered, Place};
use super::tree::{Entry, Kind, Node, Position, join, place};

/// What all maps of one file share.
pub(super) struct Source<'a> {
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    pub(super) faults: Gathered,
}

/// The keys of one map that have not been taken yet. Each key is taken once; what is left when
/// the map is dropped is a fault: an unknown key.
pub struct Map<'a> {
    source: &'a Source<'a>,
    path: String,
    position: Position,
    entries: Vec<Entry>,
    /// Every key somebody asked for: the allowed ones.
    known: Vec<&'static str>,
    /// Where values and elements stood, for faults that are found after they were taken.
    places: Vec<Place>,
}

impl std::fmt::Debug for Map<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Map").field("path", &self.path).field("left", &self.entries).finish()
    }
}

impl<'a> Map<'a> {
    pub(super) fn new(
        source: &'a Source<'a>,
        path: String,
        position: Position,
        entries: Vec<Entry>,
    ) -> Self {
        let value_place = |entry: &Entry| place(entry.value.position, &join(&path, &entry.key));
        let places = entries.iter().map(value_place).collect();
        Self { source, path, position, entries, known: Vec::new(), places }
    }

    /// The value of a key that has to be there. `None`: it was missing or bad, and that is noted.
    pub fn required<T: Value>(&mut self, key: &'static str) -> Option<T> {
        match self.take(key) {
            Some(node) => self.scalar(&node, &join(&self.path, key)),
            None => self.missing(key, T::ALLOWED),
        }
    }

    /// The value of a key that may be there. `None`: it was absent, or bad and that is noted.
    pub fn optional<T: Value>(&mut self, key: &'static str) -> Option<T> {
        let node = self.take(key)?;
        self.scalar(&node, &join(&self.path, key))
    }

    /// The value of a key, or the default where it is absent (or bad, and that is noted).
    pub fn or<T: Value>(&mut self, key: &'static str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// Like [`Map::or`], and a value outside of `range` is noted and the default used.
    pub fn within<T: Value + PartialOrd>(
        &mut self,
        key: &'static str,
        default: T,
        range: RangeInclusive<T>,
    ) -> T {
        let Some(value) = self.optional::<T>(key) else { return default };
        if range.contains(&value) {
            return value;
        }
        let (least, most) = (range.start().show(), range.end().show());
        self.fault(key, format!("`{}` is not allowed; allowed: {least} to {most}", value.show()));
        default
    }

    /// The values of a list; absent is empty, a single value is a list of one. A bad element is
    /// noted at its own place and left out.
    pub fn list<T: Value>(&mut self, key: &'static str) -> Vec<T> {
        let Some(node) = self.take(key) else { return Vec::new() };
        let path = join(&self.path, key);
        let Kind::List(elements) = node.kind else {
            self.places.push(place(node.position, &format!("{path}[0]")));
            return self.scalar(&node, &path).into_iter().collect();
        };
        let mut values = Vec::with_capacity(elements.len());
        for (index, element) in elements.iter().enumerate() {
            let path = format!("{path}[{index}]");
            self.places.push(place(element.position, &path));
            values.extend(self.scalar::<T>(element, &path));
        }
        values
    }

    /// The map under a key. `None`: it was absent, or was no map and that is noted.
    pub fn map(&mut self, key: &'static str) -> Option<Self> {
        let node = self.take(key)?;
        self.nested(node, join(&self.path, key))
    }

    /// The maps of a list; absent is empty. An element that is no map is noted and left out.
    pub fn maps(&mut self, key: &'static str) -> Vec<Self> {
        let Some(node) = self.take(key) else { return Vec::new() };
        let path = join(&self.path, key);
        let elements = match node.kind {
            Kind::List(elements) => elements,
            Kind::Map(_) | Kind::Scalar { .. } => {
                let message = "a list was expected (lines that begin with `-`)";
                self.refuse::<()>(node.position, &path, message);
                return Vec::new();
            }
        };
        let nested = elements.into_iter().enumerate();
        nested.filter_map(|(index, node)| self.nested(node, format!("{path}[{index}]"))).collect()
    }

    /// Notes a fault at the place of `key`'s value, or of the map itself where it has no such key.
    /// An element of a list is called `listen[0]`.
    pub fn fault(&mut self, key: &str, message: impl Into<String>) {
        let place = self.place(key);
        self.source.faults.add(place, message);
    }

    /// Where the value of a key of this map stands (or the map, where it has no such key).
    #[must_use]
    pub fn place(&self, key: &str) -> Place {
        let path = join(&self.path, key);
        let known = self.places.iter().find(|place| place.path == path);
        known.cloned().unwrap_or_else(|| place(self.position, &path))
    }

    /// Notes a fault at a place that was remembered before.
    pub fn fault_at(&mut self, place: &Place, message: impl Into<String>) {
        self.source.faults.add(place.clone(), message);
    }

    /// A key that is allowed and not read by this command: neither checked nor expanded.
    pub fn ignore(&mut self, key: &'static str) {
        let _ = self.take(key);
    }

    /// Whether a key is there and has not been taken yet.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Nothing more is taken: what is left over is noted as unknown. The same as dropping it.
    pub fn end(self) {}

    fn take(&mut self, key: &'static str) -> Option<Node> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(index).value)
    }

    fn missing<T>(&mut self, key: &str, allowed: &str) -> Option<T> {
        let path = join(&self.path, key);
        self.refuse(self.position, &path, format!("missing; needed: {allowed}"))
    }

    fn refuse<T>(&self, position: Position, path: &str, message: impl Into<String>) -> Option<T> {
        self.source.faults.add(place(position, path), message);
        None
    }

    fn nested(&self, node: Node, path: String) -> Option<Self> {
        match node.kind {
            Kind::Map(entries) => Some(Map::new(self.source, path, node.position, entries)),
            Kind::List(_) | Kind::Scalar { .. } => {
                self.refuse(node.position, &path, "`key: value` lines were expected")
            }
        }
    }

    fn scalar<T: Value>(&self, node: &Node, path: &str) -> Option<T> {
        let refuse = |message: String| self.refuse(node.position, path, message);
        let allowed = T::ALLOWED;
        let Kind::Scalar { text, plain } = &node.kind else {
            return refuse(format!("a single value was expected: {allowed}"));
        };
        if node.is_null() {
            return refuse(format!("has no value; give {allowed}, or remove the key"));
        }
        let expanded = match expand(text, self.source.env) {
            Ok(expanded) => expanded,
            Err(message) => return refuse(message),
        };
        // Inside of {…} a ${NAME} has to be quoted, so quotes around one say nothing of its kind.
        if !T::QUOTED && !plain && !expanded.used {
            return refuse(format!("`\"{text}\"` is quoted, so it is text; allowed: {allowed}"));
        }
        let value = T::parse(&expanded.text);
        if value.is_none() && T::SECRET {
            return refuse(format!("what stands here is not allowed; allowed: {allowed}"));
        }
        if value.is_none() {
            return refuse(format!("`{}` is not allowed; allowed: {allowed}", expanded.text));
        }
        value
    }
}

impl Drop for Map<'_> {
    fn drop(&mut self) {
        let allowed = self.known.join(", ");
        for entry in std::mem::take(&mut self.entries) {
            let path = join(&self.path, &entry.key);
            let near = nearest(&entry.key, &self.known);
            let near = near.map(|key| format!("did you mean `{key}`? ")).unwrap_or_default();
            let message = format!("unknown key; {near}allowed: {allowed}");
            self.source.faults.add(place(entry.position, &path), message);
        }
    }
}

/// The known key a hurried hand may have meant.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let limit = (key.chars().count() / 3).clamp(1, 3);
    let distances = known.iter().map(|known| (distance(key, known), *known));
    distances.filter(|(distance, _)| *distance <= limit).min().map(|(_, known)| known)
}

/// How many letters have to be changed, added or removed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    // A key that is no word of ours may be long; more than this is not near anything.
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_key_is_found() {
        let known = ["name", "mode", "nodes", "listen"];
        assert_eq!(nearest("nam", &known), Some("name"));
        assert_eq!(nearest("nodesss", &known), Some("nodes"));
        assert_eq!(nearest("pool", &known), None);
        assert_eq!(nearest("listem", &known), Some("listen"));
        assert_eq!(nearest("proxy_protocol", &known), None);
    }
}
