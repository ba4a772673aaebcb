//! What a key is: its file entry come to life, and how one is found.

pub mod census;
pub mod key;
pub mod lifecycle;
pub mod ring;
#[cfg(test)]
mod tests;

pub use census::Census;
pub use key::Key;
pub use lifecycle::{Identified, Rejected, identify};
pub use ring::Ring;
