//! Keys made without the gateway's help, and a memory of every secret this process ever made.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Mutex;

use super::sha256_hex;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Secrets (43 characters) and digests (64 hex) that no output may ever contain.
static SECRETS: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// An API key as a client holds it.
#[derive(Clone)]
pub(crate) struct Key {
    /// The whole key, as sent.
    pub(crate) text: String,
}

impl Key {
    /// A fresh key with the default prefix.
    pub(crate) fn new() -> Key {
        Key::with_prefix("kw")
    }

    pub(crate) fn with_prefix(prefix: &str) -> Key {
        let random = random_base62(43);
        let text = format!("{prefix}_{random}{}", base62_crc(&random));
        Key::from_text(&text)
    }

    /// A key of any shape: what was imported from elsewhere.
    pub(crate) fn from_text(text: &str) -> Key {
        let key = Key { text: text.to_owned() };
        let mut guard = SECRETS.lock().unwrap();
        let secrets = guard.get_or_insert_default();
        if let Some(secret) = key.secret() {
            secrets.insert(secret.to_owned());
        }
        secrets.insert(sha256_hex(text.as_bytes()));
        key
    }

    /// The same key with its checksum broken.
    pub(crate) fn bad_checksum(&self) -> String {
        let mut bytes = self.text.clone().into_bytes();
        let last = bytes.len() - 1;
        bytes[last] = if bytes[last] == b'0' { b'1' } else { b'0' };
        String::from_utf8(bytes).unwrap()
    }

    /// The 43 random characters, where the key has our shape.
    pub(crate) fn secret(&self) -> Option<&str> {
        let (_, rest) = self.text.split_once('_')?;
        (rest.len() == 49).then(|| &rest[..43])
    }

    pub(crate) fn digest_hex(&self) -> String {
        sha256_hex(self.text.as_bytes())
    }

    /// The `hash` field of its entry.
    pub(crate) fn hash(&self) -> String {
        format!("sha256:{}", self.digest_hex())
    }

    /// A `[[key]]` entry; further fields can be appended as lines.
    pub(crate) fn entry(&self, id: &str, fields: &str) -> String {
        format!("[[key]]\nid = \"{id}\"\nhash = \"{}\"\n{fields}\n\n", self.hash())
    }
}

/// `count` entries nobody has the key of.
pub(crate) fn filler_entries(count: usize) -> String {
    let mut text = String::new();
    for n in 0..count {
        let digest = sha256_hex(format!("filler {n}").as_bytes());
        write!(text, "[[key]]\nid = \"filler-{n}\"\nhash = \"sha256:{digest}\"\n\n").unwrap();
    }
    text
}

/// The six checksum characters of a key's random part.
pub(crate) fn base62_crc(random: &str) -> String {
    let mut left = crc32fast::hash(random.as_bytes());
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(left % 62) as usize];
        left /= 62;
    }
    String::from_utf8(digits.to_vec()).unwrap()
}

fn random_base62(length: usize) -> String {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    bytes.iter().map(|b| char::from(ALPHABET[usize::from(*b) % 62])).collect()
}

/// Every known secret or stored digest that occurs in `text`.
pub(crate) fn secrets_in(text: &str) -> Vec<String> {
    let guard = SECRETS.lock().unwrap();
    let Some(secrets) = guard.as_ref() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for run in text.split(|c: char| !c.is_ascii_alphanumeric()) {
        for length in [43, 64] {
            // Long runs only occur in bodies of filler; a secret inside one is looked for at every offset up to a bound.
            for start in 0..run.len().saturating_sub(length - 1).min(4096) {
                if secrets.contains(&run[start..start + length]) {
                    found.push(run[start..start + length].to_owned());
                }
            }
        }
    }
    found
}
