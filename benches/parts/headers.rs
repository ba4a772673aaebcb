//! Header rewriting: a client's headers made ready for the upstream.

use divan::Bencher;
use http::header::{HeaderName, HeaderValue};
use keyward::upstream::headers::prepare_request;
use keyward::vocab::fields::Fields;

use crate::world::{self, World};

/// What a browser sends, and some of what must not pass.
pub(crate) fn sent_by_a_browser() -> Fields {
    let mut headers = world::plain_headers();
    for (name, value) in [
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate, br"),
        ("accept-language", "en-GB,en;q=0.9"),
        ("cookie", "session=c2Vzc2lvbg; theme=dark"),
        ("referer", "https://app.example.com/orders"),
        ("connection", "keep-alive"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-consumer-id", "somebody-else"),
    ] {
        headers.set(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

/// Rewrites one set of headers after the other, each fresh from a client.
pub(crate) fn rewriting() -> impl FnMut(Fields) -> Fields {
    let mut world = World::new("");
    let snapshot = world.build();
    let conn = world::conn();
    let (facts, _) = world::facts(&world.clock, &sent_by_a_browser());
    let host = HeaderValue::from_static("api.example.com");
    move |mut headers| {
        prepare_request(&mut headers, (&facts, &conn), (&host, &host), &snapshot.settings.passing.identity);
        headers
    }
}

#[divan::bench]
fn request_headers(bencher: Bencher<'_, '_>) {
    let mut rewrite = rewriting();
    assert!(!rewrite(sent_by_a_browser()).contains(HeaderName::from_static("x-consumer-id")));
    bencher.with_inputs(sent_by_a_browser).bench_local_values(rewrite);
}
