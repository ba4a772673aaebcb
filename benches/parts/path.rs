//! The canonical path, and what routes are matched on.

use divan::{Bencher, black_box};
use keyward::request::target::{canonical, matching};

/// As nearly all are.
pub(crate) const PLAIN: &str = "/v1/customers/4711/orders/2026-11-22";
/// With what may be decoded, what may not, and what is no ASCII.
pub(crate) const ESCAPED: &str = "/v1/c%75stomers/M%C3%BCller/orders/2026%2D11-22%21";

/// The length of what a route sees.
pub(crate) fn read(path: &str) -> usize {
    canonical(black_box(path)).map_or(0, |canonical| matching(&canonical).len())
}

#[divan::bench(args = [PLAIN, ESCAPED])]
fn canonical_path(bencher: Bencher<'_, '_>, path: &str) {
    assert!(read(path) > 0);
    bencher.bench_local(|| read(path));
}
