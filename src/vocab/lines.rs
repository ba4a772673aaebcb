//! Single lines of HTTP/1 (RFC 9112): a request line, a status line, a field line, the line before a chunk. Each reads
//! from the front of its bytes as far as the line's end, which may lie anywhere in them, or not have come yet. `None` is a
//! line that has no single reading.

use std::ops::Range;

/// How far a line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<T> {
    /// So many bytes, CRLF and all, and what they say.
    Whole(usize, T),
    /// Good as far as it has come.
    Partial,
}

/// A request line: the method from the start, a space, the target, and a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLine {
    /// Bytes of the method.
    pub method_len: usize,
    /// Bytes of the target.
    pub target_len: usize,
    /// Otherwise it is 1.1.
    pub is_http_10: bool,
}

/// A status line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusLine {
    /// 100 to 999
    pub code: u16,
    /// Otherwise it is 1.1.
    pub is_http_10: bool,
}

/// A line where a field may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldLine {
    /// The empty line behind the last field.
    End,
    /// A field.
    Field {
        /// Bytes of the name, which the line begins with.
        name_len: usize,
        /// Where the value lies, without the blanks around it.
        value: Range<usize>,
        /// What it says of framing.
        says: Says,
    },
}

/// What a field says of framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Nothing.
    Nothing,
    /// `Content-Length`, and its value if that is a number.
    Length(Option<u64>),
    /// `Transfer-Encoding`, and whether it is `chunked` and nothing else.
    Coding(bool),
}

/// `METHOD SP target SP HTTP/1.x CRLF` (RFC 9112 §3).
pub fn request_line(bytes: &[u8]) -> Option<Line<RequestLine>> {
    let Some(method_len) = find::<b' ', DEL, DEL>(bytes) else { return is_token(bytes).then_some(Line::Partial) };
    if bytes[method_len] != b' ' || method_len == 0 || !is_token(&bytes[..method_len]) {
        return None;
    }
    let target_start = method_len + 1;
    // A fragment is never sent; other parsers cut it off.
    let Some(target_len) = find::<b' ', b'#', DEL>(&bytes[target_start..]) else { return Some(Line::Partial) };
    let version = &bytes[target_start + target_len..];
    if version[0] != b' ' || target_len == 0 {
        return None;
    }
    let (http_11, http_10) = (b" HTTP/1.1\r\n", b" HTTP/1.0\r\n");
    let whole = |is_http_10| {
        let length = target_start + target_len + http_11.len();
        Some(Line::Whole(length, RequestLine { method_len, target_len, is_http_10 }))
    };
    match version.get(..http_11.len()) {
        Some(version) if version == http_11 => whole(false),
        Some(version) if version == http_10 => whole(true),
        Some(_) => None,
        None => (http_11.starts_with(version) || http_10.starts_with(version)).then_some(Line::Partial),
    }
}

/// `HTTP/1.x SP 3DIGIT [SP reason] CRLF` (RFC 9112 §4); servers leave out the space before no reason.
pub fn status_line(bytes: &[u8]) -> Option<Line<StatusLine>> {
    const BEGIN: [&[u8]; 2] = [b"HTTP/1.1 ", b"HTTP/1.0 "];
    let (Some(begin), Some(code)) = (bytes.get(..9), bytes.get(9..12)) else {
        let seen = bytes.len().min(9);
        return BEGIN.iter().any(|it| it[..seen] == bytes[..seen]).then_some(Line::Partial);
    };
    let is_http_10 = BEGIN[1] == begin;
    if !is_http_10 && BEGIN[0] != begin || !code.iter().all(u8::is_ascii_digit) || code[0] == b'0' {
        return None;
    }
    let code = code.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    let end = match bytes.get(12) {
        None => return Some(Line::Partial),
        Some(b' ') => match value_len(&bytes[12..]) {
            Some(length) => 12 + length,
            None => return Some(Line::Partial),
        },
        Some(_) => 12,
    };
    Some(line_end(bytes, end)?.map(|()| StatusLine { code, is_http_10 }))
}

/// `name ":" OWS value OWS CRLF` (RFC 9112 §5), or the empty line behind the last.
#[inline(always)]
pub fn field_line(bytes: &[u8]) -> Option<Line<FieldLine>> {
    let Some(name_len) = find::<b' ', b':', b':'>(bytes) else {
        return is_token(bytes).then_some(Line::Partial);
    };
    if name_len == 0 {
        return Some(line_end(bytes, 0)?.map(|()| FieldLine::End));
    }
    let name = &bytes[..name_len];
    if bytes[name_len] != b':' || !is_token(name) {
        return None;
    }
    let value_start = name_len + 1;
    let Some(value_len) = value_len(&bytes[value_start..]) else { return Some(Line::Partial) };
    let end = value_start + value_len;
    let line = line_end(bytes, end)?;
    let value = trim(bytes, value_start..end);
    let says = match name_len {
        14 | 17 => framing_field(name, &bytes[value.clone()])?,
        _ => Says::Nothing,
    };
    Some(line.map(|()| FieldLine::Field { name_len, value, says }))
}

impl Line<()> {
    #[inline(always)]
    fn map<T>(self, what: impl FnOnce(()) -> T) -> Line<T> {
        match self {
            Self::Whole(length, ()) => Line::Whole(length, what(())),
            Self::Partial => Line::Partial,
        }
    }
}

fn framing_field(name: &[u8], value: &[u8]) -> Option<Says> {
    if name.eq_ignore_ascii_case(b"content-length") {
        return Some(Says::Length(number(value)));
    }
    if name.eq_ignore_ascii_case(b"transfer-encoding") {
        return Some(Says::Coding(value.eq_ignore_ascii_case(b"chunked")));
    }
    // Servers that hand fields on as CGI variables take these for the others.
    let alike = [&b"content_length"[..], b"transfer_encoding"];
    (!alike.iter().any(|alike| name.eq_ignore_ascii_case(alike))).then_some(Says::Nothing)
}

/// `chunk-size [ chunk-ext ] CRLF` (RFC 9112 §7.1), and the size.
pub fn chunk_size(bytes: &[u8], max: usize) -> Option<Line<u64>> {
    let digits = bytes.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if digits > 16 {
        return None;
    }
    let size = bytes[..digits]
        .iter()
        .fold(0, |size: u64, digit| size << 4 | u64::from(char::from(*digit).to_digit(16).unwrap_or(0)));
    if i64::try_from(size).is_err() {
        return None;
    }
    let extension = &bytes[digits..];
    if extension.is_empty() {
        return Some(Line::Partial);
    }
    // "Bad" whitespace may stand before a semicolon, and nowhere else.
    let blank = extension.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let is_blank_only = extension.get(blank).is_some_and(|after| *after != b';') && blank > 0;
    let has_extension = matches!(extension[0], b';' | b' ' | b'\t');
    if digits == 0 || is_blank_only {
        return None;
    }
    let end = digits + if has_extension { value_len(extension).unwrap_or(extension.len()) } else { 0 };
    if end > max {
        return None;
    }
    if end == bytes.len() {
        return Some(Line::Partial);
    }
    Some(line_end(bytes, end)?.map(|()| size))
}

/// A line that ends at `at`: with CRLF, or with as much of it as has come.
fn line_end(bytes: &[u8], at: usize) -> Option<Line<()>> {
    match &bytes[at..] {
        [b'\r', b'\n', ..] => Some(Line::Whole(at + 2, ())),
        [b'\r'] => Some(Line::Partial),
        _ => None,
    }
}

/// Without the optional whitespace around a value.
#[inline(always)]
fn trim(bytes: &[u8], value: Range<usize>) -> Range<usize> {
    let is_blank = |at: usize| matches!(bytes[at], b' ' | b'\t');
    let Range { mut start, mut end } = value;
    while start < end && is_blank(start) {
        start += 1;
    }
    while start < end && is_blank(end - 1) {
        end -= 1;
    }
    start..end
}

/// Digits and nothing else, in 63 bits as servers keep it.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0_u64, |value, digit| value * 10 + u64::from(digit - b'0'));
    i64::try_from(value).is_ok().then_some(value)
}

/// Whether there is nothing but characters of a token.
fn is_token(bytes: &[u8]) -> bool {
    // Without a way out in the middle: names are short.
    !bytes.iter().fold(false, |odd, byte| odd | IS_ODD[usize::from(*byte)])
}

const DEL: u8 = 0x7f;

/// How far a value goes: to the first control character that is no HTAB.
#[inline(always)]
fn value_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += find::<0x1f, DEL, DEL>(&bytes[at..])?;
        if bytes[at] != b'\t' {
            return Some(at);
        }
        at += 1;
    }
}

/// The first byte that is at most `MOST`, or `ALSO`, or `OR` (all are under 0x80): eight at a time, in one word.
#[inline(always)]
fn find<const MOST: u8, const ALSO: u8, const OR: u8>(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let limit = ONES * (u64::from(MOST) + 1);
    let mut at = 0;
    while let Some(eight) = bytes.get(at..at + 8).and_then(|eight| <[u8; 8]>::try_from(eight).ok()) {
        let word = u64::from_le_bytes(eight);
        let (is_also, is_or) = (word ^ (ONES * ALSO as u64), word ^ (ONES * OR as u64));
        // Of each byte its highest bit: a subtraction borrows where the byte is less. A borrow may spoil bytes behind the
        // first that is found, never one before it.
        let mut found = word.wrapping_sub(limit) & !word | is_also.wrapping_sub(ONES) & !is_also;
        if OR != ALSO {
            found |= is_or.wrapping_sub(ONES) & !is_or;
        }
        found &= HIGHS;
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    bytes[at..].iter().position(|b| *b <= MOST || *b == ALSO || *b == OR).map(|more| at + more)
}

/// Characters that no token has (RFC 9110 §5.6.2).
const IS_ODD: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < 256 {
        let b = at as u8;
        table[at] = !b.is_ascii_alphanumeric()
            && !matches!(
                b,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        at += 1;
    }
    table
};
