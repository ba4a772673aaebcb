//! Text to meaning: `keyward.toml` and `keys.toml`, every problem at once and each with its place. Pure but for [`load`].

pub mod diagnostics;
pub mod edit;
pub mod gateway;
pub mod keyfile;
pub mod load;
pub(crate) mod mask;
mod problems;
pub(crate) mod reader;
pub mod source;
