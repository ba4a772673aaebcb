//! What must not be logged is replaced before it reaches a line.

use std::borrow::Cow;

use memchr::memmem::Finder;

use crate::request::target::percent_decode;

/// Query parameters that carry credentials of some well-known kind, beside those of `keys.sources`: API keys, bearer
/// tokens (RFC 6750 §2.3) and the signatures that OpenTelemetry asks to scrub.
const KNOWN: [&str; 13] = [
    "api_key",
    "apikey",
    "api-key",
    "x-api-key",
    "key",
    "access_token",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "X-Goog-Signature",
];

/// What stands where something was.
pub const REDACTED: &str = "REDACTED";

/// A run of this many characters behind `PREFIX_` is a key, or enough of one to matter.
const RUN_MIN: usize = 12;

/// Finds keys in text that is to be logged.
#[derive(Debug)]
pub struct Redactor {
    mark: Finder<'static>,
    parameters: Box<[Box<str>]>,
}

impl Redactor {
    /// `prefix` is `keys.prefix`, `parameters` the query parameters among `keys.sources`.
    pub fn new<'a>(prefix: &str, parameters: impl IntoIterator<Item = &'a str>) -> Self {
        let mark = Finder::new(&format!("{prefix}_")).into_owned();
        Self { mark, parameters: parameters.into_iter().chain(KNOWN).map(Box::from).collect() }
    }

    /// Finds `PREFIX_`.
    pub const fn mark(&self) -> &Finder<'static> {
        &self.mark
    }

    /// `text` without anything of our key's shape, however it is percent-encoded.
    pub fn text<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        // Too short for a key: most methods, hosts and paths.
        if text.len() < self.mark.needle().len() + RUN_MIN {
            return Cow::Borrowed(text);
        }
        if memchr::memchr(b'%', text).is_some()
            && let Ok(encoded) = std::str::from_utf8(text)
            && let Cow::Owned(clean) = self.replace(&percent_decode(encoded))
        {
            return Cow::Owned(clean);
        }
        self.replace(text)
    }

    /// A query in which credential parameters keep their name and lose their value.
    pub fn query<'a>(&self, query: &'a str) -> Cow<'a, [u8]> {
        let is_credential = |pair: &str| {
            let name = percent_decode(pair.split_once('=').map_or(pair, |(name, _)| name));
            self.parameters.iter().any(|p| p.as_bytes() == &*name)
        };
        if !query.split('&').any(is_credential) {
            return self.text(query.as_bytes());
        }
        let cleaned: Vec<Cow<'_, str>> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name, _)) if is_credential(pair) => Cow::Owned(format!("{name}={REDACTED}")),
                _ => Cow::Borrowed(pair),
            })
            .collect();
        Cow::Owned(self.text(cleaned.join("&").as_bytes()).into_owned())
    }

    fn replace<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let mark = self.mark.needle().len();
        let mut out = Vec::new();
        let mut copied = 0;
        let mut from = 0;
        while let Some(at) = self.mark.find(&text[from..]) {
            let secret = from + at + mark;
            let run = text[secret..].iter().take_while(|b| b.is_ascii_alphanumeric()).count();
            if run >= RUN_MIN {
                out.extend_from_slice(&text[copied..from + at]);
                out.extend_from_slice(REDACTED.as_bytes());
                copied = secret + run;
            }
            // A run too short for a key may end in the mark of the next.
            from = if run >= RUN_MIN { secret + run } else { secret };
        }
        if copied == 0 {
            return Cow::Borrowed(text);
        }
        out.extend_from_slice(&text[copied..]);
        Cow::Owned(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "kw_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJzQWBuTSOoRi4A0mLq17";

    #[test]
    fn keys_are_redacted_wherever_they_stand_and_however_they_are_encoded() {
        let redactor = Redactor::new("kw", ["tok"]);
        for (text, clean) in [
            (format!("/a/{KEY}/b"), "/a/REDACTED/b"),
            (KEY.to_owned(), "REDACTED"),
            (format!("/{KEY}/{}", KEY.replace('_', "%5f")), "/REDACTED/REDACTED"),
            (format!("a {KEY} b {KEY}"), "a REDACTED b REDACTED"),
            (KEY.replace('_', "%5F"), "REDACTED"),
            (KEY.replace('Q', "%51"), "REDACTED"),
            (KEY[..30].to_owned(), "REDACTED"),
            (format!("/kw_{KEY}/kw_x{KEY}"), "/kw_REDACTED/kw_xREDACTED"),
            ("/kw_short/kw_".to_owned(), "/kw_short/kw_"),
            ("/a%20b".to_owned(), "/a%20b"),
        ] {
            assert_eq!(redactor.text(text.as_bytes()), clean.as_bytes(), "{text}");
        }
    }

    #[test]
    fn credential_parameters_keep_their_name() {
        let redactor = Redactor::new("kw", ["tok"]);
        for (query, clean) in [
            ("a=b", "a=b"),
            ("tok=legacy&a=b", "tok=REDACTED&a=b"),
            ("a=b&t%6fk=legacy", "a=b&t%6fk=REDACTED"),
            ("api_key=x&sig=y&Sig=z", "api_key=REDACTED&sig=REDACTED&Sig=z"),
            ("tok", "tok"),
            (&format!("q={KEY}"), "q=REDACTED"),
            (&format!("tok=1&q={KEY}"), "tok=REDACTED&q=REDACTED"),
        ] {
            assert_eq!(redactor.query(query), clean.as_bytes(), "{query}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_secret_survives(before in "(kw_|[ -~]){0,9}", after in "[^0-9A-Za-z]{0,20}") {
            let text = format!("{before}{KEY}{after}");
            let clean = Redactor::new("kw", []).text(text.as_bytes()).into_owned();
            proptest::prop_assert!(!String::from_utf8_lossy(&clean).contains(&KEY[3..15]));
        }
    }
}
