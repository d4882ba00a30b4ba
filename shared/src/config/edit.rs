//! Changes one value in the text of a settings file; every other byte stays as it is.
//! It does not know what keys mean, and checks nothing: read the text again afterwards. A
//! command that saves what was said at run time calls it.

use super::expand::expand;
use super::fault::Gathered;
use super::tree::{self, Entry, Kind, Node, Position};

/// A map in the text of a file, whose values can be changed.
#[derive(Debug)]
pub struct Edit<'t> {
    text: &'t str,
    env: Environment<'t>,
    map: Vec<Entry>,
    position: Position,
}

#[derive(Clone, Copy)]
struct Environment<'t>(&'t dyn Fn(&str) -> Option<String>);

impl std::fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Environment")
    }
}

impl<'t> Edit<'t> {
    /// The root of a file.
    ///
    /// # Errors
    /// It is no map.
    pub fn new(text: &'t str, env: &'t dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let faults = Gathered::default();
        let root = tree::parse(text.strip_prefix('\u{feff}').unwrap_or(text), &faults);
        let Some(Node { kind: Kind::Map(map), position }) = root else {
            return Err("it has no `key: value` lines".to_owned());
        };
        Ok(Self { text, env: Environment(env), map, position })
    }

    /// The map of this `name` in the list under `key`.
    ///
    /// # Errors
    /// There is none.
    pub fn named(self, key: &str, name: &str) -> Result<Self, String> {
        let Self { text, env, map, .. } = self;
        let list = map.into_iter().find(|entry| entry.key == key).map(|entry| entry.value.kind);
        let Some(Kind::List(elements)) = list else { return Err(format!("there is no `{key}`")) };
        for element in elements {
            let Node { kind: Kind::Map(map), position } = element else { continue };
            if entry(&map, "name")
                .and_then(|name| env.value(&name.value))
                .is_some_and(|it| it == name)
            {
                return Ok(Self { text, env, map, position });
            }
        }
        Err(format!("there is no `{name}` among its `{key}`"))
    }

    /// The file's text with another value of `key`. A key that is not there is added behind
    /// `name`. `value` has to be a plain word.
    ///
    /// # Errors
    /// The value comes from the environment, or is not written in a way that can be changed.
    pub fn set(&self, key: &str, value: &str) -> Result<String, String> {
        let Some(found) = entry(&self.map, key) else { return self.add(key, value) };
        let span = self.span(found)?;
        let written = &self.text[span.clone()];
        if written.contains("${") {
            return Err(format!("`{key}` is {written}: change it in the environment"));
        }
        let quote = written.chars().next().filter(|first| ['"', '\''].contains(first));
        let quote = quote.map(String::from).unwrap_or_default();
        let (before, after) = (&self.text[..span.start], &self.text[span.end..]);
        Ok(format!("{before}{quote}{value}{quote}{after}"))
    }

    fn add(&self, key: &str, value: &str) -> Result<String, String> {
        let name = entry(&self.map, "name").ok_or("it has no name")?;
        let span = self.span(name)?;
        let is_flow = self.text[self.offset(self.position)?..].starts_with('{');
        if is_flow {
            let (before, after) = self.text.split_at(span.end);
            return Ok(format!("{before}, {key}: {value}{after}"));
        }
        // A line of its own behind that of the name, as far to the right.
        let rest = &self.text[span.end..];
        let line = rest.find('\n').map_or(rest.len(), |end| end);
        let line = rest[..line].strip_suffix('\r').map_or(line, str::len);
        let (before, after) = self.text.split_at(span.end + line);
        let end = if after.starts_with('\r') { "\r\n" } else { "\n" };
        let indent = " ".repeat(name.position.column - 1);
        Ok(format!("{before}{end}{indent}{key}: {value}{after}"))
    }

    /// Where a value stands in the text, its quotes included.
    fn span(&self, entry: &Entry) -> Result<std::ops::Range<usize>, String> {
        let strange = || format!("`{}` is written in a way that cannot be changed here", entry.key);
        let Kind::Scalar { text, plain } = &entry.value.kind else { return Err(strange()) };
        let start = self.offset(entry.value.position)?;
        let quote = if *plain { "" } else { &self.text[start..=start] };
        if !*plain && !["\"", "'"].contains(&quote) {
            return Err(strange());
        }
        let written = format!("{quote}{text}{quote}");
        let is_there = !text.is_empty() && self.text[start..].starts_with(&written);
        if is_there { Ok(start..start + written.len()) } else { Err(strange()) }
    }

    /// Lines and columns are those of the text without a byte order mark.
    fn offset(&self, position: Position) -> Result<usize, String> {
        let mark = self.text.len() - self.text.trim_start_matches('\u{feff}').len();
        let mut lines = self.text[mark..].split_inclusive('\n');
        let before: usize = lines.by_ref().take(position.line - 1).map(str::len).sum();
        let line = lines.next().unwrap_or_default();
        let column = line.char_indices().nth(position.column - 1).map(|(offset, _)| offset);
        column.map(|column| mark + before + column).ok_or_else(|| "a place is lost".to_owned())
    }
}

impl Environment<'_> {
    fn value(self, node: &Node) -> Option<String> {
        let Kind::Scalar { text, .. } = &node.kind else { return None };
        expand(text, self.0).ok().map(|expanded| expanded.text)
    }
}

fn entry<'m>(map: &'m [Entry], key: &str) -> Option<&'m Entry> {
    map.iter().find(|entry| entry.key == key)
}

#[cfg(test)]
mod tests {
    use super::Edit;

    fn set(text: &str, path: &[(&str, &str)], key: &str, value: &str) -> Result<String, String> {
        let env = |name: &str| (name == "N").then(|| "two".to_owned());
        let mut edit = Edit::new(text, &env)?;
        for (list, name) in path {
            edit = edit.named(list, name)?;
        }
        edit.set(key, value)
    }

    #[test]
    fn one_word_is_changed_and_nothing_else() {
        let text = "\u{feff}# ö\r\nlist:   # why\r\n  - name: one   # the first\r\n    \
                    mode:   'old'   # ü\r\n  - {name: \"${N}\", mode: old, more: [a, b]}\r\n";
        let one = set(text, &[("list", "one")], "mode", "new").expect("it is there");
        assert_eq!(one, text.replacen("'old'", "'new'", 1));
        let two = set(text, &[("list", "two")], "mode", "new").expect("it is there");
        assert_eq!(two, text.replacen("mode: old,", "mode: new,", 1));
    }

    #[test]
    fn a_key_that_is_not_there_is_added_behind_the_name() {
        let text = "list:\n  - other: 1\n    name: one # the first\n    last: x\n  - {name: two}";
        let one = set(text, &[("list", "one")], "weight", "5").expect("there is a name");
        assert_eq!(one, text.replacen("first\n", "first\n    weight: 5\n", 1));
        let two = set(text, &[("list", "two")], "weight", "5").expect("there is a name");
        assert_eq!(two, text.replacen("two}", "two, weight: 5}", 1));
    }

    #[test]
    fn what_cannot_be_changed_is_said() {
        for (text, words) in [
            ("list: [{name: a, mode: \"${M}\"}]", "change it in the environment"),
            ("list: [{name: a, mode: [x]}]", "cannot be changed"),
            ("list:\n  - name: a\n    mode: |\n      x\n", "cannot be changed"),
            ("list: [{name: a, mode: \"\\x6f\"}]", "cannot be changed"),
            ("list: [{name: b}]", "there is no `a`"),
            ("list: x", "there is no `list`"),
            ("[x]", "no `key: value` lines"),
        ] {
            let error = set(text, &[("list", "a")], "mode", "new").expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
