//! Bytes that must not be shown and are zeroed when dropped.

use zeroize::Zeroizing;

/// A key, a pepper, a password. It has no `Debug`, no `Display` and no equality: what must be compared is digested first.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes ownership of `bytes` and zeroes them on drop.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves, to hash or to hand to their owner.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes().to_vec())
    }
}
