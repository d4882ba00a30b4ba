//! YAML text to a tree whose every node knows its place.
//! It does not know what keys are allowed; `config::read_text` calls it. This is the only file
//! that names the YAML parser.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::fault::{Gathered, Place};

/// Deeper than this nobody writes settings.
const DEPTH_MAX: usize = 32;
/// More keys, scalars and lists than this nobody writes either.
const NODES_MAX: usize = 100_000;

/// Line and column, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A piece of the file and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) position: Position,
    pub(super) kind: Kind,
}

/// What a piece of the file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// `plain`: not quoted, so it may be a number, a boolean or nothing at all.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value; a key stands in a map once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) position: Position,
    pub(super) value: Node,
}

impl Node {
    /// A key without a value: nothing, `~` or `null`, not quoted.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// Why there is no tree: the parser, or a limit, ended the reading. It stands in `faults` already.
struct Stopped;

/// Reads the one document of `text`. A fault of syntax ends the reading, so it stands alone;
/// duplicate keys, aliases and tags are reported and reading goes on. `None`: no tree at all.
pub(super) fn parse(text: &str, faults: &Gathered) -> Option<Node> {
    let mut builder = Builder { text, parser: Parser::new_from_str(text), faults, nodes: 0 };
    builder.document().ok().flatten()
}

struct Builder<'t, 'f> {
    text: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    faults: &'f Gathered,
    nodes: usize,
}

impl<'t> Builder<'t, '_> {
    fn document(&mut self) -> Result<Option<Node>, Stopped> {
        let mut root = None;
        while let Some((event, span)) = self.next()? {
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(_) if root.is_some() => {
                    return Err(self.stop(position(&span), "a second document; allowed: one"));
                }
                Event::Nothing
                | Event::StreamStart
                | Event::DocumentStart(_)
                | Event::DocumentEnd => {}
                event => root = Some(self.node(event, &span, "", 0)?),
            }
        }
        Ok(root)
    }

    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, Stopped> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok(next)) => Ok(Some(next)),
            Some(Err(error)) => {
                let place = Position {
                    line: error.marker().line(),
                    column: error.marker().col().saturating_add(1),
                };
                let line = self.text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
                // The slip that everybody makes once.
                let remedy = if line.contains("${") {
                    "; inside of {…} and […] a value with ${NAME} has to be quoted"
                } else {
                    ""
                };
                Err(self.stop(place, &format!("this is not YAML: {}{remedy}", error.info())))
            }
        }
    }

    fn stop(&self, position: Position, message: &str) -> Stopped {
        self.faults.add(place(position, ""), message);
        Stopped
    }

    fn node(
        &mut self,
        event: Event<'t>,
        span: &Span,
        path: &str,
        depth: usize,
    ) -> Result<Node, Stopped> {
        let position = position(span);
        self.nodes += 1;
        if depth > DEPTH_MAX {
            return Err(self.stop(position, &format!("nested deeper than {DEPTH_MAX}")));
        }
        if self.nodes > NODES_MAX {
            return Err(self.stop(position, &format!("more than {NODES_MAX} values")));
        }
        let kind = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_extras(position, path, anchor, tag.is_some());
                Kind::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_extras(position, path, anchor, tag.is_some());
                Kind::List(self.list(path, depth)?)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_extras(position, path, anchor, tag.is_some());
                Kind::Map(self.map(path, depth)?)
            }
            _ => {
                self.faults.add(place(position, path), "an alias (`*name`); write the value out");
                Kind::Scalar { text: String::new(), plain: false }
            }
        };
        Ok(Node { position, kind })
    }

    /// Anchors and tags make a value mean something else than what stands there: refused.
    fn refuse_extras(&self, position: Position, path: &str, anchor: usize, tag: bool) {
        if anchor != 0 {
            self.faults.add(place(position, path), "an anchor (`&name`) is not allowed here");
        }
        if tag {
            self.faults.add(place(position, path), "a tag (`!name`) is not allowed here");
        }
    }

    fn list(&mut self, path: &str, depth: usize) -> Result<Vec<Node>, Stopped> {
        let mut elements = Vec::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            let path = format!("{path}[{}]", elements.len());
            elements.push(self.node(event, &span, &path, depth + 1)?);
        }
        Ok(elements)
    }

    fn map(&mut self, path: &str, depth: usize) -> Result<Vec<Entry>, Stopped> {
        let mut entries = Vec::new();
        let mut first_lines = HashMap::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key = self.node(event, &span, path, depth + 1)?;
            let name = match &key.kind {
                Kind::Scalar { text, .. } => Some(text.clone()),
                Kind::List(_) | Kind::Map(_) => None,
            };
            let value_path = join(path, name.as_deref().unwrap_or("?"));
            let Some((event, span)) = self.next()? else { break };
            let value = self.node(event, &span, &value_path, depth + 1)?;
            let Some(name) = name else {
                self.faults.add(place(key.position, path), "a key has to be a single word");
                continue;
            };
            if let Some(line) = first_lines.get(&name) {
                let message = format!("the key stands here twice; first in line {line}");
                self.faults.add(place(key.position, &value_path), message);
                continue;
            }
            first_lines.insert(name.clone(), key.position.line);
            entries.push(Entry { key: name, position: key.position, value });
        }
        Ok(entries)
    }
}

fn position(span: &Span) -> Position {
    Position { line: span.start.line(), column: span.start.col().saturating_add(1) }
}

/// A position and the keys that lead there.
pub(super) fn place(position: Position, path: &str) -> Place {
    Place { line: position.line, column: position.column, path: path.to_owned() }
}

/// `services[0]` and `name`: `services[0].name`.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
