//! YAML, and with it JSON, as a tree that knows its lines.
//!
//! saphyr-parser gives events; the tree is made here, because it has limits: a file may come from anywhere. An alias is the
//! node that it names and no copy of it, so that a few lines cannot become millions; a merge (`<<`) is carried out, and
//! counts. Every text is zeroed when it is dropped.

use std::collections::HashSet;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use zeroize::Zeroizing;

/// Deepest nesting, aliases followed.
const DEPTH_MAX: usize = 64;
/// Most nodes of a file, merged ones counted again.
const NODES_MAX: usize = 10_000_000;

/// Why a file cannot be read.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) line: usize,
    pub(super) why: String,
}

/// One node, and where it begins.
pub(super) struct Node {
    pub(super) line: usize,
    /// How deep it goes.
    height: usize,
    value: Value,
}

enum Value {
    Null,
    Text(Zeroizing<String>),
    List(Vec<Rc<Node>>),
    Map(Vec<Pair>),
}

type Pair = (Rc<Node>, Rc<Node>);

/// The documents of a file.
pub(super) fn parse(text: &str) -> Result<Vec<Rc<Node>>, Unreadable> {
    // JSON writes a letter beyond the first 65,536 as two halves, which YAML does not know.
    if text.trim_start().starts_with(['{', '[']) && text.contains("\\u") {
        return tree(&joined(text), NODES_MAX);
    }
    tree(text, NODES_MAX)
}

fn tree(text: &str, nodes_max: usize) -> Result<Vec<Rc<Node>>, Unreadable> {
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder { nodes_max, ..Builder::default() };
    loop {
        match parser.next_event() {
            None => return Ok(builder.documents),
            Some(Ok((event, span))) => builder.take(event, span)?,
            // The message is one of the parser's own, with no more of the file than one character that may not stand there.
            Some(Err(error)) => {
                return Err(wrong(error.marker().line(), format!("it is not YAML: {}", error.info())));
            }
        }
    }
}

/// The text with such halves put together.
fn joined(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let halves = half(rest).zip(rest.get(6..).and_then(half));
        let letter = halves.and_then(|(high, low)| char::decode_utf16([high, low]).next()?.ok());
        let (written, length) = match letter {
            Some(letter) => (letter, 12),
            None => ('\\', 1),
        };
        out.push(written);
        rest = &rest[length..];
        // What a backslash stands before is no beginning of anything.
        if let (None, Some(next)) = (letter, rest.chars().next()) {
            out.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    out.push_str(rest);
    out
}

/// One half: `\ud83d`.
fn half(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok().filter(|unit| (0xd800..0xe000).contains(unit))
}

impl Node {
    /// The value of `name` in a map; `None` also where it is null.
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        let (_, value) = self.pairs().find(|(key, _)| *key == name)?;
        (!matches!(value.value, Value::Null)).then_some(value)
    }

    /// A text, or a number as it is written.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The text of `name` in a map.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.get(name)?.text()
    }

    /// A whole number that is not negative.
    pub(super) fn number_of(&self, name: &str) -> Option<u64> {
        let text = self.text_of(name)?;
        // As Lua writes them into JSON.
        text.strip_suffix(".0").unwrap_or(text).parse().ok()
    }

    /// Whether `name` in a map is `false`.
    pub(super) fn denies(&self, name: &str) -> bool {
        matches!(self.text_of(name), Some("false" | "False" | "FALSE"))
    }

    /// Whether `name` in a map is `true`.
    pub(super) fn affirms(&self, name: &str) -> bool {
        matches!(self.text_of(name), Some("true" | "True" | "TRUE"))
    }

    /// What is in a list; nothing for what is none.
    pub(super) fn items(&self) -> impl Iterator<Item = &Node> {
        let items: &[_] = match &self.value {
            Value::List(items) => items,
            Value::Null | Value::Text(_) | Value::Map(_) => &[],
        };
        items.iter().map(|item| &**item)
    }

    /// The items of the list `name` in a map.
    pub(super) fn items_of(&self, name: &str) -> impl Iterator<Item = &Node> {
        self.get(name).into_iter().flat_map(Node::items)
    }

    /// What is in a map; nothing for what is none.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &Node)> {
        let pairs: &[_] = match &self.value {
            Value::Map(pairs) => pairs,
            Value::Null | Value::Text(_) | Value::List(_) => &[],
        };
        pairs.iter().map(|(name, value)| (name.text().unwrap_or_default(), &**value))
    }

    /// The names in a map, with their lines.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, usize)> {
        let pairs: &[_] = match &self.value {
            Value::Map(pairs) => pairs,
            Value::Null | Value::Text(_) | Value::List(_) => &[],
        };
        pairs.iter().map(|(name, _)| (name.text().unwrap_or_default(), name.line))
    }

    /// Whether it is a list.
    pub(super) const fn is_list(&self) -> bool {
        matches!(self.value, Value::List(_))
    }
}

/// A list or a map that is not closed yet.
struct Open {
    anchor: usize,
    line: usize,
    /// Values of a list; names and values of a map by turns.
    items: Vec<Rc<Node>>,
}

#[derive(Default)]
struct Builder {
    documents: Vec<Rc<Node>>,
    open: Vec<Open>,
    /// By the parser's number, which begins at 1.
    anchors: Vec<Option<Rc<Node>>>,
    nodes: usize,
    nodes_max: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Unreadable> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let text = Zeroizing::new(text.into_owned());
                let null = style == ScalarStyle::Plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
                self.close(anchor, line, if null { Value::Null } else { Value::Text(text) })
            }
            Event::Alias(anchor) => match self.anchors.get(anchor).cloned().flatten() {
                Some(node) => self.add(node, line),
                None => Err(wrong(line, "an alias stands inside of what it names")),
            },
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                if self.open.len() == DEPTH_MAX {
                    return Err(deep(line));
                }
                self.open.push(Open { anchor, line, items: Vec::new() });
                Ok(())
            }
            Event::SequenceEnd => match self.open.pop() {
                Some(open) => self.close(open.anchor, open.line, Value::List(open.items)),
                None => Ok(()),
            },
            Event::MappingEnd => match self.open.pop() {
                Some(open) => {
                    let pairs = self.map(open.items)?;
                    self.close(open.anchor, open.line, Value::Map(pairs))
                }
                None => Ok(()),
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
        }
    }

    /// Ends a node.
    fn close(&mut self, anchor: usize, line: usize, value: Value) -> Result<(), Unreadable> {
        let height = match &value {
            Value::Null | Value::Text(_) => 0,
            Value::List(items) => 1 + items.iter().map(|item| item.height).max().unwrap_or(0),
            Value::Map(pairs) => 1 + pairs.iter().map(|(_, value)| value.height).max().unwrap_or(0),
        };
        // Also what hangs from it is let go of level by level.
        if height > DEPTH_MAX {
            return Err(deep(line));
        }
        let node = Rc::new(Node { line, height, value });
        if anchor > 0 {
            if self.anchors.len() <= anchor {
                self.anchors.resize(anchor + 1, None);
            }
            self.anchors[anchor] = Some(Rc::clone(&node));
        }
        self.add(node, line)
    }

    /// Puts a node where it belongs.
    fn add(&mut self, node: Rc<Node>, line: usize) -> Result<(), Unreadable> {
        self.count(1, line)?;
        match self.open.last_mut() {
            Some(open) => open.items.push(node),
            None => self.documents.push(node),
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, line: usize) -> Result<(), Unreadable> {
        self.nodes += nodes;
        if self.nodes > self.nodes_max {
            return Err(wrong(line, format!("it has more than {} nodes: split the file", self.nodes_max)));
        }
        Ok(())
    }

    /// A map of names and values by turns, with what it merges.
    fn map(&mut self, items: Vec<Rc<Node>>) -> Result<Vec<Pair>, Unreadable> {
        let mut pairs: Vec<Pair> = Vec::with_capacity(items.len() / 2);
        let mut merged = Vec::new();
        let mut items = items.into_iter();
        while let (Some(name), Some(value)) = (items.next(), items.next()) {
            if name.text() == Some("<<") { merged.push(value) } else { pairs.push((name, value)) }
        }
        let mut names = HashSet::with_capacity(pairs.len());
        for (name, _) in &pairs {
            if !names.insert(name.text()) {
                return Err(wrong(name.line, "a name stands twice in one map"));
            }
        }
        let mut more = Vec::new();
        for source in merged.iter().flat_map(|merged| std::iter::once(merged).chain(list(merged))) {
            let Value::Map(others) = &source.value else { continue };
            self.count(others.len(), source.line)?;
            // What stands in the map itself counts, then what is merged first.
            more.extend(others.iter().filter(|(name, _)| names.insert(name.text())).cloned());
        }
        pairs.extend(more);
        Ok(pairs)
    }
}

fn list(node: &Node) -> &[Rc<Node>] {
    match &node.value {
        Value::List(items) => items,
        Value::Null | Value::Text(_) | Value::Map(_) => &[],
    }
}

fn deep(line: usize) -> Unreadable {
    wrong(line, format!("it is nested more than {DEPTH_MAX} deep"))
}

fn wrong(line: usize, why: impl Into<String>) -> Unreadable {
    Unreadable { line, why: why.into() }
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
