//! What is kept of a presented key once its bytes are gone, to know it again where it must not be.

use super::format::PRESENTED_BYTES_MAX;
use crate::vocab::digest::Digest;

/// A key of another make is known again from this length on, in bytes: shorter runs of characters stand anywhere by chance.
pub const FOREIGN_BYTES_MIN: usize = 12;
/// Characters of a hash.
pub const HASH_CHARS: usize = 64;

/// Knows a presented key, and its stored hashes, without knowing the key.
#[derive(Clone)]
pub struct Traces {
    pub(super) sha256: Digest,
    pub(super) hmac: Option<Digest>,
    pub(super) needle: Option<Needle>,
}

/// A key of another make, as a number that is quickly had of every piece of a text: a polynomial of its bytes modulo 2^64,
/// at a secret place. What has the same number is looked at by its digest.
#[derive(Clone)]
pub struct Needle {
    place: u64,
    /// `place` to the power of `length`.
    power: u64,
    number: u64,
    length: usize,
}

impl Traces {
    /// Whether `text` is the key.
    pub fn is_key(&self, text: &[u8]) -> bool {
        Digest::sha256(text) == self.sha256
    }

    /// Whether `text`, 64 hexadecimal characters, is a hash of it as the key file has it.
    pub fn is_hash(&self, text: &[u8]) -> bool {
        let read = std::str::from_utf8(text).ok().and_then(Digest::from_hex);
        read.is_some_and(|read| (read == self.sha256) | self.hmac.is_some_and(|hmac| read == hmac))
    }

    /// The last 8 bytes of its hashes: what ends otherwise is none of them.
    pub fn hash_ends(&self) -> [u64; 2] {
        let end = |digest: &Digest| digest.as_bytes().last_chunk().copied().map_or(0, u64::from_be_bytes);
        let sha256 = end(&self.sha256);
        [sha256, self.hmac.as_ref().map_or(sha256, end)]
    }

    /// What finds the key, unless it is one of ours, which are found by their form.
    pub const fn needle(&self) -> Option<&Needle> {
        self.needle.as_ref()
    }
}

impl Needle {
    /// Of a key that is long enough and has no spaces in it.
    pub(super) fn new(place: u64, key: &[u8]) -> Option<Self> {
        let is_long_enough = (FOREIGN_BYTES_MIN..=PRESENTED_BYTES_MAX).contains(&key.len());
        if !is_long_enough || !key.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let power = key.iter().fold(1_u64, |power, _| power.wrapping_mul(place));
        Some(Self { place, power, number: number(place, key), length: key.len() })
    }

    /// Bytes of the key.
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Gives every place in `text` where the key may begin.
    pub fn each(&self, text: &[u8], mut found: impl FnMut(usize)) {
        let Some((first, rest)) = text.split_at_checked(self.length) else { return };
        let mut number = number(self.place, first);
        if number == self.number {
            found(0);
        }
        for (at, (gone, new)) in text.iter().zip(rest).enumerate() {
            number = number
                .wrapping_mul(self.place)
                .wrapping_add(u64::from(*new))
                .wrapping_sub(self.power.wrapping_mul(u64::from(*gone)));
            if number == self.number {
                found(at + 1);
            }
        }
    }
}

fn number(place: u64, text: &[u8]) -> u64 {
    text.iter().fold(0, |number, byte| number.wrapping_mul(place).wrapping_add(u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLACE: u64 = 0x9e37_79b9_7f4a_7c15;

    fn places(key: &[u8], text: &[u8]) -> Vec<usize> {
        let mut places = Vec::new();
        if let Some(needle) = Needle::new(PLACE, key) {
            needle.each(text, |at| places.push(at));
        }
        places
    }

    #[test]
    fn keys_that_are_short_or_have_spaces_are_not_known_again() {
        for (key, is_known) in [
            (&b"elevenchars"[..], false),
            (b"twelve-chars", true),
            (b"with a space in it", false),
            (b"f81d4fae-7dec-11d0-a765-00a0c91e6bf6", true),
            (&[b'x'; 512], true),
            (&[b'x'; 513], false),
        ] {
            assert_eq!(Needle::new(PLACE, key).is_some(), is_known, "{}", key.len());
        }
    }

    #[test]
    fn hashes_are_known_by_either_digest_in_either_case() {
        let (sha256, hmac) = (Digest::sha256(b"a key"), Digest::sha256(b"stands for the other"));
        let traces = Traces { sha256, hmac: Some(hmac), needle: None };
        for digest in [sha256, hmac] {
            assert!(traces.is_hash(digest.to_hex().as_bytes()));
            assert!(traces.is_hash(digest.to_hex().to_uppercase().as_bytes()));
            assert!(traces.hash_ends().contains(&u64::from_be_bytes(*digest.as_bytes().last_chunk().expect("8"))));
        }
        assert!(!traces.is_hash(Digest::sha256(b"another key").to_hex().as_bytes()));
        assert!(traces.is_key(b"a key") && !traces.is_key(b"another key"));
    }

    proptest! {
        #[test]
        fn it_finds_what_a_search_for_the_key_itself_would(
            key in "[ab]{12,14}", text in "[ab]{0,400}", before in "[ -~]{0,40}", after in "[ -~]{0,40}",
        ) {
            let text = format!("{text}{before}{key}{after}");
            let (key, text) = (key.as_bytes(), text.as_bytes());
            let expected: Vec<usize> = (0..=text.len() - key.len()).filter(|at| text[*at..].starts_with(key)).collect();
            prop_assert_eq!(places(key, text), expected);
        }
    }
}
