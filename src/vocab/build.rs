//! What this build was made from.

/// The package's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit it was built from.
pub const COMMIT: &str = match option_env!("KEYWARD_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
/// The compiler that built it.
pub const RUSTC: &str = match option_env!("KEYWARD_RUSTC") {
    Some(rustc) => rustc,
    None => "unknown",
};
