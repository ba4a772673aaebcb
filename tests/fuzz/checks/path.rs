//! What holds of every path: its canonical form is a path with one meaning, and is its own canonical form.

use keyward::request::target::{canonical, matching, percent_decode};

pub(crate) fn check(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    let _ = (matching(path), percent_decode(path));
    let Ok(once) = canonical(path) else { return };
    assert_eq!(canonical(&once).as_deref(), Ok(&*once), "{path:?}");
    assert!(once == "*" || once.starts_with('/'), "{path:?}");
    assert_eq!(percent_decode(path), percent_decode(&once), "{path:?}: what it means has changed");
    let decoded = percent_decode(&once).into_owned();
    let segments = || decoded.split(|b| *b == b'/');
    assert!(!segments().any(|segment| matches!(segment, b"." | b"..")), "{path:?}");
    assert_eq!(segments().count(), once.split('/').count(), "{path:?}: a slash was hidden");
    assert!(!decoded.iter().any(|b| matches!(b, b'\\' | b';' | 0..=0x1f | 0x7f)), "{path:?}");
}
