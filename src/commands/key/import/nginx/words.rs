//! The words of an nginx configuration: as far as it takes to find its maps. Words, quotes, backslashes, comments and
//! blocks are as `ngx_conf_read_token` has them.

use zeroize::Zeroizing;

/// A word. Where it is not a piece of the file it is zeroed when it is dropped.
pub(super) enum Word<'t> {
    Piece(&'t str),
    Made(Zeroizing<String>),
}

/// What ends with `;`.
pub(super) struct Statement<'t> {
    pub(super) words: Vec<Word<'t>>,
    pub(super) line: usize,
    /// The number of the map that it stands in. Those in other blocks are left out.
    pub(super) map: Option<usize>,
}

/// `map SOURCE $TARGET {`
pub(super) struct Map<'t> {
    pub(super) source: Word<'t>,
    pub(super) line: usize,
}

#[derive(Default)]
pub(super) struct Statements<'t> {
    pub(super) statements: Vec<Statement<'t>>,
    pub(super) maps: Vec<Map<'t>>,
}

impl std::ops::Deref for Word<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl Word<'_> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Piece(text) => text,
            Self::Made(text) => text,
        }
    }
}

enum Token<'t> {
    Word(Word<'t>),
    End,
    Open,
    Close,
}

/// Reads a file.
///
/// # Errors
/// The line of a quote that is not closed.
pub(super) fn statements(text: &str) -> Result<Statements<'_>, usize> {
    let mut reader = Reader { text, at: 0, line: 1 };
    let mut found = Statements::default();
    // Of each open block, the map that it is.
    let mut blocks: Vec<Option<usize>> = Vec::new();
    let (mut words, mut line) = (Vec::new(), 1);
    while let Some(token) = reader.next()? {
        match token {
            Token::Word(word) => {
                if words.is_empty() {
                    line = reader.line;
                }
                words.push(word);
            }
            Token::End => {
                let map = blocks.last().copied().flatten();
                if map.is_some() || blocks.is_empty() {
                    found.statements.push(Statement { words: std::mem::take(&mut words), line, map });
                }
                words.clear();
            }
            Token::Open => {
                let is_map = words.len() == 3 && words[0].as_str() == "map";
                let map = is_map.then(|| words.swap_remove(1)).map(|source| {
                    found.maps.push(Map { source, line });
                    found.maps.len() - 1
                });
                blocks.push(map);
                words.clear();
            }
            Token::Close => {
                blocks.pop();
                words.clear();
            }
        }
    }
    if !words.is_empty() && blocks.is_empty() {
        // The last line, without its `;`.
        found.statements.push(Statement { words, line, map: None });
    }
    found.statements.retain(|statement| !statement.words.is_empty());
    Ok(found)
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    line: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Option<Token<'t>>, usize> {
        self.skip();
        let rest = &self.text[self.at..];
        let Some(first) = rest.chars().next() else { return Ok(None) };
        let single = match first {
            ';' => Some(Token::End),
            '{' => Some(Token::Open),
            '}' => Some(Token::Close),
            _ => None,
        };
        if single.is_some() {
            self.at += 1;
            return Ok(single);
        }
        if first == '"' || first == '\'' {
            return self.quoted(first).map(Some);
        }
        let end = word_end(rest);
        self.at += end;
        Ok(Some(Token::Word(word(&rest[..end]))))
    }

    /// Goes past spaces and comments.
    fn skip(&mut self) {
        let mut comment = false;
        for c in self.text[self.at..].chars() {
            match c {
                '\n' => (comment, self.line) = (false, self.line + 1),
                '#' => comment = true,
                _ if comment || c.is_ascii_whitespace() => {}
                _ => return,
            }
            self.at += c.len_utf8();
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Token<'t>, usize> {
        let (begin, line) = (self.at + 1, self.line);
        let mut escaped = false;
        for (offset, c) in self.text[begin..].char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == quote => {
                    let inside = &self.text[begin..begin + offset];
                    self.at = begin + offset + 1;
                    self.line += inside.matches('\n').count();
                    return Ok(Token::Word(word(inside)));
                }
                _ => {}
            }
        }
        Err(line)
    }
}

/// Where a word without quotes ends.
fn word_end(rest: &str) -> usize {
    let (mut escaped, mut dollar) = (false, false);
    for (at, c) in rest.char_indices() {
        let after_dollar = std::mem::replace(&mut dollar, c == '$' && !escaped);
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            // `${` begins the name of a variable.
            '{' if after_dollar => {}
            ';' | '{' => return at,
            c if c.is_ascii_whitespace() => return at,
            _ => {}
        }
    }
    rest.len()
}

/// What a word means: a backslash goes before what it keeps from being special, and stays before anything else.
fn word(raw: &str) -> Word<'_> {
    if !raw.contains('\\') {
        return Word::Piece(raw);
    }
    let mut text = Zeroizing::new(String::with_capacity(raw.len()));
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        let meant = match (c, chars.peek()) {
            ('\\', Some('"' | '\'' | '\\')) => chars.next(),
            ('\\', Some('t')) => chars.next().map(|_| '\t'),
            ('\\', Some('r')) => chars.next().map(|_| '\r'),
            ('\\', Some('n')) => chars.next().map(|_| '\n'),
            _ => Some(c),
        };
        text.extend(meant);
    }
    Word::Made(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<(usize, String, Option<usize>)> {
        let found = statements(text).expect("a configuration");
        let words = |words: &[Word<'_>]| words.iter().map(|word| word.as_str()).collect::<Vec<_>>().join("|");
        found.statements.iter().map(|one| (one.line, words(&one.words), one.map)).collect()
    }

    #[test]
    fn words_are_nginxs() {
        for (text, words) in [
            ("a b;", "a|b"),
            ("\"a b\" 'c;d';", "a b|c;d"),
            ("a\\ b c;", "a\\ b|c"),
            (r#""a\"b" 'c\'d' e\\f "\n";"#, "a\"b|c'd|e\\f|\n"),
            ("a#b c;", "a#b|c"),
            ("a ${x}y;", "a|${x}y"),
            ("a b", "a|b"),
            ("é ü;", "é|ü"),
        ] {
            assert_eq!(shown(text), [(1, words.to_owned(), None)], "{text}");
        }
    }

    #[test]
    fn maps_are_found_wherever_they_stand() {
        let text = "# top\nuser x;\nhttp {\n  map $a $b { # of a\n    default 0;\n    k 1;\n  }\n  server {\n    listen 1;\n  }\n}\n\
                    map $c $d { l 2; }\n";
        let statements = [(2, "user|x", None), (5, "default|0", Some(0)), (6, "k|1", Some(0)), (12, "l|2", Some(1))];
        let statements = statements.map(|(line, words, map)| (line, words.to_owned(), map));
        assert_eq!(shown(text), statements);
        let found = super::statements(text).expect("a configuration");
        let maps: Vec<_> = found.maps.iter().map(|map| (map.line, map.source.to_string())).collect();
        assert_eq!(maps, [(4, "$a".to_owned()), (12, "$c".to_owned())]);
    }

    #[test]
    fn an_open_quote_is_found() {
        assert_eq!(statements("a b;\n\"c d;\n e").err(), Some(2));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[a-zé\\\\\"'{};#$ \\n]{0,60}") {
            let _ = statements(&text);
        }
    }
}
