//! The form of keys made here: `PREFIX_<43 base62><6 base62 CRC32>`, as GitHub's tokens have it.
//!
//! 43 characters of base62 are 256 bits. The checksum is a CRC-32 (ISO-HDLC) over those 43 characters alone, in base62,
//! left-padded with `0`. It is no secret and proves nothing: it lets a gateway, a scanner and a clipboard tell a mistyped
//! key from a wrong one without looking anything up.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::vocab::secret::Secret;

/// Random characters of a key.
pub const RANDOM_CHARS: usize = 43;
/// Characters of its checksum.
pub const CHECKSUM_CHARS: usize = 6;
/// Longest credential that is looked at, in bytes.
pub const PRESENTED_BYTES_MAX: usize = 512;

/// Characters behind `PREFIX_`.
pub const BODY_CHARS: usize = RANDOM_CHARS + CHECKSUM_CHARS;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Random bytes from here up are thrown away: 248 is the largest multiple of 62 that a byte can hold, and taking the
/// remainder of a larger one would favour the first eight letters.
const UNBIASED_BELOW: u8 = 248;

/// What can be said of a presented credential before any lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The form of keys made here, with the right checksum.
    Ours,
    /// The form of keys made here, with a wrong checksum.
    BadChecksum,
    /// Nothing that could be a key: `PREFIX_` with the wrong length or alphabet, empty, too long, or not printable ASCII.
    Malformed,
    /// A key of some other make; its hash decides.
    Foreign,
}

/// A new key from the operating system's randomness.
pub fn generate(prefix: &str) -> Result<Secret, getrandom::Error> {
    generate_from(prefix, getrandom::fill)
}

/// What `presented` looks like. It allocates nothing, and where it stops tells the form of the bytes, never how much of a
/// checksum was right.
pub fn inspect(prefix: &str, presented: &[u8]) -> Shape {
    if presented.is_empty() || presented.len() > PRESENTED_BYTES_MAX {
        return Shape::Malformed;
    }
    let printable = presented.iter().fold(true, |all, c| all & matches!(c, b' '..=b'~'));
    if !printable {
        return Shape::Malformed;
    }
    let Some(body) = presented.strip_prefix(prefix.as_bytes()).and_then(|rest| rest.strip_prefix(b"_")) else {
        return Shape::Foreign;
    };
    let Ok(body) = <&[u8; BODY_CHARS]>::try_from(body) else {
        return Shape::Malformed;
    };
    if !body.iter().fold(true, |all, c| all & c.is_ascii_alphanumeric()) {
        return Shape::Malformed;
    }
    let (random, sum) = body.split_at(RANDOM_CHARS);
    if checksum(random).ct_eq(sum).into() { Shape::Ours } else { Shape::BadChecksum }
}

/// Whether what stands behind `PREFIX_` makes it a key of ours.
pub fn is_ours(body: &[u8]) -> bool {
    let Some((random, sum)) = body.split_at_checked(RANDOM_CHARS) else { return false };
    body.len() == BODY_CHARS && body.iter().all(u8::is_ascii_alphanumeric) && checksum(random).ct_eq(sum).into()
}

/// CRC-32 of `random` in base62, most significant letter first.
fn checksum(random: &[u8]) -> [u8; CHECKSUM_CHARS] {
    let mut rest = crc32fast::hash(random);
    let mut out = [b'0'; CHECKSUM_CHARS];
    for letter in out.iter_mut().rev() {
        // The remainder is below 62, so the index is always inside the alphabet.
        *letter = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    out
}

/// [`generate`] from any source of random bytes.
fn generate_from<E>(prefix: &str, mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Secret, E> {
    // One allocation of the final size: a growing buffer would leave copies of the secret behind.
    let mut key = Zeroizing::new(Vec::with_capacity(prefix.len() + 1 + BODY_CHARS));
    key.extend_from_slice(prefix.as_bytes());
    key.push(b'_');
    let random_from = key.len();
    let random_to = random_from + RANDOM_CHARS;
    let mut pool = Zeroizing::new([0_u8; 64]);
    while key.len() < random_to {
        fill(&mut pool[..])?;
        let wanted = random_to - key.len();
        key.extend(
            pool.iter()
                .filter(|byte| **byte < UNBIASED_BELOW)
                .map(|byte| ALPHABET[usize::from(byte % 62)])
                .take(wanted),
        );
    }
    let sum = checksum(&key[random_from..]);
    key.extend_from_slice(&sum);
    Ok(Secret::new(std::mem::take(&mut *key)))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn from_bytes(prefix: &str, bytes: &[u8]) -> Vec<u8> {
        let mut source = bytes.iter().copied().cycle();
        let Ok(key) = generate_from(prefix, |pool: &mut [u8]| {
            pool.fill_with(|| source.next().unwrap_or(0));
            Ok::<_, Infallible>(())
        });
        key.expose().to_vec()
    }

    #[test]
    fn the_checksum_is_githubs() {
        assert_eq!(checksum(b"zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ"), *b"0mLq17");
    }

    #[test]
    fn a_new_key_has_the_form_and_no_two_are_alike() {
        let (a, b) = (generate("kw"), generate("kw"));
        let (Ok(a), Ok(b)) = (a, b) else { panic!("the system has no randomness") };
        assert!(a.expose() != b.expose());
        assert_eq!(a.expose().len(), 3 + 49);
        assert_eq!(inspect("kw", a.expose()), Shape::Ours);
        assert_eq!(inspect("acme_live", a.expose()), Shape::Foreign);
    }

    #[test]
    fn bytes_that_would_bias_the_letters_are_thrown_away() {
        // 248..=255 appear in the input and none of them in the key: what is left is 0, 1, 2, 61, 0, …
        let key = from_bytes("kw", &[248, 0, 255, 1, 250, 2, 247]);
        assert!(key.starts_with(b"kw_012z012z"));
        assert_eq!(inspect("kw", &key), Shape::Ours);
    }

    #[test]
    fn every_byte_below_the_bound_is_used_equally_often() {
        let mut seen = [0_u32; 62];
        for byte in (0..=u8::MAX).filter(|byte| *byte < UNBIASED_BELOW) {
            seen[usize::from(byte % 62)] += 1;
        }
        assert!(seen.iter().all(|n| *n == 4));
    }

    #[test]
    fn shapes() {
        let key = from_bytes("kw", &[7, 100, 33]);
        let at = |i: usize, c: u8| {
            let mut changed = key.clone();
            changed[i] = c;
            changed
        };
        let long = vec![b'x'; 513];
        let cases: &[(&[u8], Shape)] = &[
            (&key, Shape::Ours),
            (b"", Shape::Malformed),
            (b"kw", Shape::Foreign),
            (b"kw_", Shape::Malformed),
            (b"KW_abc", Shape::Foreign),
            (b"kw-abc", Shape::Foreign),
            (&key[..51], Shape::Malformed),
            (&[&key[..], b"0"].concat(), Shape::Malformed),
            (&at(10, b'-'), Shape::Malformed),
            (&at(10, b'~'), Shape::Malformed),
            (&at(51, b' '), Shape::Malformed),
            (&at(10, 0x7f), Shape::Malformed),
            (&long[..512], Shape::Foreign),
            (&long, Shape::Malformed),
            (b"with space", Shape::Foreign),
            (b"tab\there", Shape::Malformed),
            ("clé".as_bytes(), Shape::Malformed),
            (b"f81d4fae-7dec-11d0-a765-00a0c91e6bf6", Shape::Foreign),
        ];
        for (presented, shape) in cases {
            assert_eq!(inspect("kw", presented), *shape, "{}", String::from_utf8_lossy(presented));
        }
    }

    proptest! {
        #[test]
        fn every_key_is_ours_and_one_changed_letter_is_not(
            prefix in "[a-z][a-z0-9_]{0,15}",
            bytes in proptest::collection::vec(0_u8..248, 43..64),
            place in 0_usize..49,
            letter in 0_usize..62,
        ) {
            let mut key = from_bytes(&prefix, &bytes);
            prop_assert_eq!(inspect(&prefix, &key), Shape::Ours);
            let place = key.len() - 49 + place;
            prop_assume!(key[place] != ALPHABET[letter]);
            key[place] = ALPHABET[letter];
            // A CRC-32 finds every burst of up to 32 bits, so every single wrong letter.
            prop_assert_eq!(inspect(&prefix, &key), Shape::BadChecksum);
        }

        #[test]
        fn no_input_panics_and_ours_always_has_the_length(
            prefix in "[a-z]{1,4}",
            presented in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            let shape = inspect(&prefix, &presented);
            prop_assert!(shape != Shape::Ours || presented.len() == prefix.len() + 50);
        }
    }
}
