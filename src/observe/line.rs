//! One JSON object, one line. Written by hand, because it is written for every request.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::vocab::units::push_number;

/// A line being written into a buffer. Every line has `time`, `level` and `event` first.
pub struct Line<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Line<'a> {
    /// Opens a line. `wall_us` is microseconds since the epoch.
    pub fn open(out: &'a mut Vec<u8>, times: &mut TimeText, wall_us: i64, level: &str, event: &str) -> Self {
        out.extend_from_slice(b"{\"time\":\"");
        times.push(out, wall_us);
        out.extend_from_slice(b"\",\"level\":\"");
        out.extend_from_slice(level.as_bytes());
        out.extend_from_slice(b"\",\"event\":\"");
        out.extend_from_slice(event.as_bytes());
        out.push(b'"');
        Self { out }
    }

    /// A string. Control bytes are escaped and bytes that are not UTF-8 replaced, so that no value ends or forges a line.
    pub fn text(&mut self, name: impl Name, value: &[u8]) -> &mut Self {
        name.push(self.out);
        self.out.push(b'"');
        push_escaped(self.out, value);
        self.out.push(b'"');
        self
    }

    /// A string that is known to need no escape: a word of ours, hexadecimal digits, an address.
    pub fn word(&mut self, name: impl Name, value: &str) -> &mut Self {
        self.ascii(name, value.as_bytes())
    }

    /// The same in bytes.
    pub fn ascii(&mut self, name: impl Name, value: &[u8]) -> &mut Self {
        name.push(self.out);
        self.out.push(b'"');
        self.out.extend_from_slice(value);
        self.out.push(b'"');
        self
    }

    /// A whole number.
    pub fn number(&mut self, name: impl Name, value: u64) -> &mut Self {
        name.push(self.out);
        push_number(self.out, value);
        self
    }

    /// A list of strings.
    pub fn list<'b>(&mut self, name: impl Name, values: impl IntoIterator<Item = &'b str>) -> &mut Self {
        name.push(self.out);
        self.out.push(b'[');
        for (at, value) in values.into_iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            self.out.push(b'"');
            push_escaped(self.out, value.as_bytes());
            self.out.push(b'"');
        }
        self.out.push(b']');
        self
    }

    /// An object of lists; values of one name stand behind each other.
    pub fn lists<'b>(&mut self, name: impl Name, values: impl IntoIterator<Item = (&'b str, &'b str)>) -> &mut Self {
        name.push(self.out);
        let mut last = None;
        for (name, value) in values {
            let before: &[u8] = match last {
                Some(last) if last == name => b",",
                Some(_) => b"],\"",
                None => b"{\"",
            };
            self.out.extend_from_slice(before);
            if last != Some(name) {
                push_escaped(self.out, name.as_bytes());
                self.out.extend_from_slice(b"\":[");
                last = Some(name);
            }
            self.out.push(b'"');
            push_escaped(self.out, value.as_bytes());
            self.out.push(b'"');
        }
        self.out.extend_from_slice(if last.is_some() { b"]}" } else { b"{}" });
        self
    }

    /// Fields that were written before, kept by [`Line::fields`].
    pub fn again(&mut self, fields: &[u8]) -> &mut Self {
        self.out.extend_from_slice(fields);
        self
    }

    /// Fields that are the same in many lines, to be written [`Line::again`].
    pub fn fields(write: impl FnOnce(&mut Line<'_>)) -> Box<[u8]> {
        let mut out = Vec::new();
        write(&mut Line { out: &mut out });
        out.into()
    }

    /// Closes the line.
    pub fn close(&mut self) {
        self.out.extend_from_slice(b"}\n");
    }
}

/// The name of a field, with what stands around it.
pub trait Name {
    /// Appends `,"NAME":`.
    fn push(self, out: &mut Vec<u8>);
}

impl Name for &str {
    fn push(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(self.as_bytes());
        out.extend_from_slice(b"\":");
    }
}

/// A name that was put between its quotes at compile time, by [`name!`]: one copy of a length that is known.
#[derive(Clone, Copy, Debug)]
pub struct Quoted(pub &'static str);

impl Name for Quoted {
    #[inline(always)]
    fn push(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_bytes());
    }
}

/// The [`Quoted`] name of a field.
macro_rules! name {
    ($name:literal) => {
        $crate::observe::line::Quoted(concat!(",\"", $name, "\":"))
    };
}
pub(crate) use name;

/// Appends `value` as the inside of a JSON string (RFC 8259 §7).
pub fn push_escaped(out: &mut Vec<u8>, value: &[u8]) {
    // Sixteen at a time without a branch between them: the compiler makes vectors of it.
    let plain = |b: &u8| (b.wrapping_sub(0x20) < 0x5f) & (*b != b'"') & (*b != b'\\');
    if value.chunks(16).all(|chunk| chunk.iter().fold(true, |all, b| all & plain(b))) {
        out.extend_from_slice(value);
        return;
    }
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            push_escaped_char(out, character);
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn push_escaped_char(out: &mut Vec<u8>, character: char) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        // U+2028 and U+2029 end a line in some readers.
        '\0'..='\x1f' | '\x7f' | '\u{80}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
            let code = u32::from(character);
            out.extend_from_slice(b"\\u");
            for shift in [12, 8, 4, 0] {
                out.push(b"0123456789abcdef"[(code >> shift & 15) as usize]);
            }
        }
        other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// RFC 3339 with microseconds, in UTC. Remembers the second that it last wrote: most lines share one.
#[derive(Clone, Debug, Default)]
pub struct TimeText {
    second: Option<i64>,
    text: Vec<u8>,
}

impl TimeText {
    fn push(&mut self, out: &mut Vec<u8>, wall_us: i64) {
        let (second, micros) = (wall_us.div_euclid(1_000_000), wall_us.rem_euclid(1_000_000));
        if self.second != Some(second) {
            self.second = Some(second);
            let time = Timestamp::from_second(second).unwrap_or_default().to_zoned(TimeZone::UTC);
            self.text.clear();
            self.text.extend_from_slice(time.strftime("%Y-%m-%dT%H:%M:%S.").to_string().as_bytes());
        }
        out.extend_from_slice(&self.text);
        let mut rest = micros as u32;
        let mut digits = [b'0'; 6];
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        out.extend_from_slice(&digits);
        out.push(b'Z');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(write: impl FnOnce(&mut Line<'_>)) -> serde_json::Value {
        let mut out = Vec::new();
        let mut line = Line::open(&mut out, &mut TimeText::default(), 1_795_305_600_000_042, "info", "test");
        write(&mut line);
        line.close();
        assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1, "one line");
        serde_json::from_slice(&out).expect("JSON")
    }

    #[test]
    fn a_line_is_json_with_its_time_in_microseconds() {
        let value = line(|l| {
            l.text("a", b"x").number("n", u64::MAX).number("z", 0).list("l", ["p", "q\""]).number(name!("s"), 7).again(
                &Line::fields(|l| {
                    l.word("w", "x");
                }),
            );
        });
        assert_eq!(
            value,
            serde_json::json!({
                "time": "2026-11-22T00:00:00.000042Z", "level": "info", "event": "test",
                "a": "x", "n": u64::MAX, "z": 0, "l": ["p", "q\""], "s": 7, "w": "x",
            })
        );
    }

    proptest::proptest! {
        #[test]
        fn no_value_can_break_or_forge_a_line(value in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            let read = line(|l| { l.text("v", &value); });
            proptest::prop_assert_eq!(read["v"].as_str().expect("a string"), String::from_utf8_lossy(&value));
        }
    }
}
