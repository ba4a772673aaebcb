//! The digests keys are known by. Neither type shows itself: a digest in a log line would confirm a guess.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::secret::Secret;

/// 32 bytes of SHA-256 or HMAC-SHA-256. Equality takes the same time wherever the first difference is.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// A digest read from elsewhere.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// SHA-256 (FIPS 180-4) of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads 64 hexadecimal characters of either case.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let hex: &[u8; 64] = hex.as_bytes().try_into().ok()?;
        let nibble = |c: u8| NIBBLES[usize::from(c)];
        // Errors are gathered and judged at the end: a million hashes are read at a time.
        let (mut bytes, mut errors) = ([0; 32], 0);
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            let (high, low) = (nibble(pair[0]), nibble(pair[1]));
            errors |= high | low;
            *byte = high << 4 | low;
        }
        (errors < 16).then_some(Self(bytes))
    }

    /// The raw bytes, for the index of the key ring and for the key file. Never for output that people or programs read.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lower-case hexadecimal characters, for the key file alone.
    pub fn to_hex(self) -> String {
        let mut out = String::with_capacity(64);
        push_hex(&mut out, &self.0);
        out
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

/// The secret that turns a key's hash into an HMAC, so that a stolen key file confirms no guess.
#[derive(Clone)]
pub struct Pepper(Hmac<Sha256>);

impl Pepper {
    /// A pepper from its raw bytes, of any length (RFC 2104).
    pub fn new(secret: &Secret) -> Self {
        Self(Hmac::new_from_slice(secret.expose()).expect("HMAC takes a key of any length"))
    }

    /// HMAC-SHA-256 of `bytes` under this pepper.
    pub fn digest(&self, bytes: &[u8]) -> Digest {
        let mut mac = self.0.clone();
        mac.update(bytes);
        Digest(mac.finalize().into_bytes().into())
    }
}

/// A keyed hash that names a presented key in logs: equal keys look equal, and nobody without the secret can confirm a guess.
#[derive(Clone)]
pub struct Fingerprinter {
    keyed: Sha256,
    place: u64,
}

/// 12 hexadecimal characters; see [`Fingerprinter`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 12]);

impl Fingerprinter {
    /// `secret` is 64 bytes: exactly one SHA-256 block, compressed once here and never again.
    pub fn new(secret: &[u8; 64]) -> Self {
        let keyed = Sha256::new().chain_update(secret);
        let derived: [u8; 32] = keyed.clone().chain_update(b"where polynomials are evaluated").finalize().into();
        let place = derived.first_chunk().copied().map_or(0, u64::from_le_bytes);
        // Modulo 2^64, the powers of an even number soon are 0.
        Self { keyed, place: place | 1 }
    }

    /// The fingerprint of the key whose SHA-256 is `digest`. The input has a fixed length and the output is cut, so a
    /// prefix-keyed hash is sound here (no length extension).
    pub fn fingerprint(&self, digest: &Digest) -> Fingerprint {
        let full: [u8; 32] = self.keyed.clone().chain_update(digest.0).finalize().into();
        let mut hex = [0; 12];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(full) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        Fingerprint(hex)
    }

    /// A number that nobody can know without the secret; odd.
    pub const fn place(&self) -> u64 {
        self.place
    }
}

impl Fingerprint {
    /// The 12 characters.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The 12 characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// What a hexadecimal character of either case stands for; 16 and more for any other.
static NIBBLES: [u8; 256] = {
    let mut table = [u8::MAX; 256];
    let mut value = 0;
    while value < 16 {
        table[HEX[value] as usize] = value as u8;
        table[HEX[value].to_ascii_uppercase() as usize] = value as u8;
        value += 1;
    }
    table
};

/// Appends `bytes` as lower-case hexadecimal characters.
pub fn push_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_and_hmac_match_the_published_vectors() {
        // FIPS 180-4 "abc"; RFC 4231 test case 2.
        assert!(Digest::sha256(b"abc").to_hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let pepper = Pepper::new(&Secret::from("Jefe"));
        assert!(
            pepper.digest(b"what do ya want for nothing?").to_hex()
                == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn hex_round_trips_and_refuses_what_is_not_64_hex_characters() {
        let digest = Digest::sha256(b"x");
        assert!(Digest::from_hex(&digest.to_hex()) == Some(digest));
        assert!(Digest::from_hex(&digest.to_hex().to_uppercase()) == Some(digest));
        for bad in ["", "zz", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65), &"é".repeat(32)] {
            assert!(Digest::from_hex(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn fingerprints_tell_keys_apart_and_depend_on_the_secret() {
        let (a, b) = (Fingerprinter::new(&[1; 64]), Fingerprinter::new(&[2; 64]));
        let (x, y) = (Digest::sha256(b"x"), Digest::sha256(b"y"));
        assert_eq!(a.fingerprint(&x), a.fingerprint(&x));
        assert_ne!(a.fingerprint(&x), a.fingerprint(&y));
        assert_ne!(a.fingerprint(&x), b.fingerprint(&x));
        assert!(a.fingerprint(&x).as_str().bytes().all(|c| c.is_ascii_hexdigit()));
    }
}
