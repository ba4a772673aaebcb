//! Durations, sizes and rates as people write them: `250ms`, `32KiB`, `600/5m burst 20`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// `N/T burst B`: a bucket of depth B (default N) refilled at N per T.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// As written: the policy's name in headers and logs.
    pub text: Arc<str>,
    /// N: `q` in `RateLimit-Policy`.
    pub units: NonZeroU32,
    /// T: `w` in `RateLimit-Policy`, whole seconds, at least one.
    pub window: Duration,
    /// B: the depth of the bucket.
    pub burst: NonZeroU32,
}

/// Why a word is not what it should be: a lower-case fragment that says what would be right. Never contains the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(pub &'static str);

/// `250ms 10s 5m 12h 90d`; a bare `0` is zero.
pub fn parse_duration(_text: &str) -> Result<Duration, UnitError> {
    Err(UnitError("durations are not read yet"))
}

/// `512B 32KiB 10MiB 1GiB`, in bytes.
pub fn parse_size(_text: &str) -> Result<u64, UnitError> {
    Err(UnitError("sizes are not read yet"))
}

/// `100/s`, `600/5m`, `5000/h burst 200`.
pub fn parse_rate(_text: &str) -> Result<Rate, UnitError> {
    Err(UnitError("rates are not read yet"))
}
