//! A connection of ours against a server that says exactly what it is told to.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::header::HOST;
use http::uri::PathAndQuery;
use http_body::Body as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::*;
use crate::vocab::fields::Fields;

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

fn pair() -> (Box<Conn>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    (Box::new(Conn::new(Stream::Unix(ours), Rc::from("test"))), theirs)
}

fn outgoing(method: Method, target: &'static str) -> Outgoing {
    Outgoing { method, target: PathAndQuery::from_static(target), fields: Fields::new() }
}

fn get() -> Outgoing {
    let mut request = outgoing(Method::GET, "/a");
    request.fields.set(HOST, HeaderValue::from_static("a.example"));
    request
}

async fn next(body: &mut Body) -> Option<Result<Bytes, Cause>> {
    let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

/// Sends a GET to a server that answers with `wire` and then hangs up: status and body, and whether the connection could be
/// used again.
fn exchange(wire: &str) -> Result<(u16, String, bool), Cause> {
    run(async {
        let (conn, mut server) = pair();
        let request = get();
        let (sent, _) = tokio::join!(conn.send(&request, RequestBody::default()), async {
            let mut head = [0; 1024];
            let _ = server.read(&mut head).await;
            let _ = server.write_all(wire.as_bytes()).await;
            let _ = server.shutdown().await;
        });
        let Answer { status, mut body, .. } = sent.map_err(|failure| failure.cause)?;
        let mut text = Vec::new();
        while let Some(data) = next(&mut body).await {
            text.extend_from_slice(&data?);
        }
        Ok((status.as_u16(), String::from_utf8_lossy(&text).into_owned(), body.into_idle().is_some()))
    })
}

#[test]
fn responses_are_read_to_their_end_and_no_further() {
    for (wire, status, body, reusable) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, "hi", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!", 200, "hi", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", 200, "hi", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 200, "hi", true),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n",
            200,
            "hi",
            false,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, "until the end", false),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true),
        ("HTTP/1.1 204 No Content\r\n\r\nsmuggled", 204, "", false),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
            404,
            "",
            true,
        ),
    ] {
        let got = exchange(wire).unwrap_or_else(|cause| panic!("{wire:?}: {cause:?}"));
        assert_eq!(got, (status, body.to_owned(), reusable), "{wire:?}");
    }
}

#[test]
fn what_is_no_whole_response_is_an_error() {
    let flood = "HTTP/1.1 103 Early\r\n\r\n".repeat(INTERIM_MAX + 1);
    for wire in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "nonsense\r\n\r\n",
        &flood,
    ] {
        assert!(exchange(wire).is_err(), "{wire:?}");
    }
}

#[test]
fn a_body_goes_out_while_the_answer_comes_in() {
    run(async {
        let (conn, mut server) = pair();
        let request = outgoing(Method::POST, "/a");
        let large = Bytes::from(vec![b'x'; 4 << 20]);
        let body = RequestBody::default().again(large.clone());
        let (sent, received) = tokio::join!(
            async {
                let mut response = conn.send(&request, body).await.map_err(|f| f.cause).expect("a response");
                let first = next(&mut response.body).await.expect("a frame").expect("data");
                let end = next(&mut response.body).await;
                (first, end.is_none(), response.body.into_idle().is_some())
            },
            async {
                // The head of the answer comes before most of the request has been read.
                server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").await.expect("room");
                let (mut all, mut piece) = (Vec::new(), vec![0; 64 << 10]);
                while !all.ends_with(b"xx") || all.len() < large.len() {
                    let read = server.read(&mut piece).await.expect("bytes");
                    all.extend_from_slice(&piece[..read]);
                    if all.len() > large.len() {
                        break;
                    }
                }
                server.write_all(b"hi").await.expect("room");
                all
            }
        );
        assert_eq!(sent, (Bytes::from("hi"), true, true));
        let text = String::from_utf8_lossy(&received);
        assert!(text.starts_with(&format!("POST /a HTTP/1.1\r\ncontent-length: {}\r\n\r\nxxx", large.len())));
        assert!(received.len() > large.len());
    });
}

/// Both ends of a connection over TLS, with as little room between them as the system allows.
async fn narrow_tls_pair() -> (Box<Conn>, tokio_rustls::server::TlsStream<tokio::net::TcpStream>) {
    let named = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = named.cert.der().clone();
    let key = rustls::pki_types::PrivateKeyDer::try_from(named.signing_key.serialize_der()).expect("a key");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let theirs = rustls::ServerConfig::builder().with_no_client_auth();
    let theirs = theirs.with_single_cert(vec![certificate], key).expect("a configuration");
    let ours = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    socket2::SockRef::from(&listener).set_recv_buffer_size(4 << 10).expect("a small buffer");
    let stream =
        tokio::net::TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
    socket2::SockRef::from(&stream).set_send_buffer_size(4 << 10).expect("a small buffer");
    let (server, _) = listener.accept().await.expect("a connection");
    let (ours, theirs) = (tokio_rustls::TlsConnector::from(Arc::new(ours)), Arc::new(theirs));
    let name = "localhost".try_into().expect("a name");
    let (client, server) =
        tokio::join!(ours.connect(name, stream), tokio_rustls::TlsAcceptor::from(theirs).accept(server));
    let stream = Stream::Tls(Box::new(client.expect("a handshake")));
    (Box::new(Conn::new(stream, Rc::from("test"))), server.expect("a handshake"))
}

#[test]
fn what_tls_holds_back_of_a_request_goes_out_as_soon_as_there_is_room() {
    run(async {
        // Of these lengths, the end of one at least finds the socket full, and room left in the buffer of TLS.
        for length in (16 << 10..256 << 10).step_by(16 << 10) {
            let (conn, mut server) = narrow_tls_pair().await;
            let request = outgoing(Method::POST, "/a");
            let body = RequestBody::default().again(Bytes::from(vec![b'x'; length]));
            let exchange = async {
                tokio::join!(conn.send(&request, body), async {
                    for _ in 0..100 {
                        tokio::task::yield_now().await;
                    }
                    let (mut read, mut piece) = (0, vec![0; 64 << 10]);
                    while read < length {
                        read += server.read(&mut piece).await.expect("bytes");
                    }
                    server.write_all(b"HTTP/1.1 204 Read\r\n\r\n").await.expect("room");
                })
            };
            let done = tokio::time::timeout(Duration::from_secs(10), exchange).await;
            let (sent, ()) = done.unwrap_or_else(|_| panic!("{length} bytes did not come through"));
            assert_eq!(sent.map_err(|failure| failure.cause).expect("an answer").status, 204);
        }
    });
}

#[test]
fn a_server_that_had_hung_up_has_seen_nothing_and_the_body_comes_back() {
    run(async {
        let (conn, server) = pair();
        drop(server);
        let request = outgoing(Method::POST, "/a");
        let failure = conn.send(&request, RequestBody::default().again(Bytes::from("once"))).await.err();
        let failure = failure.expect("a failure");
        assert!(failure.unseen);
        assert_eq!(failure.body.map(|body| body.size_hint().exact()), Some(Some(4)));
    });
}

#[test]
fn a_server_that_hangs_up_on_a_request_may_have_seen_it() {
    run(async {
        let (conn, mut server) = pair();
        let request = get();
        let (sent, ()) = tokio::join!(conn.send(&request, RequestBody::default()), async {
            let mut head = [0; 1024];
            assert!(server.read(&mut head).await.expect("a request") > 0);
            drop(server);
        });
        assert!(sent.is_err_and(|failure| !failure.unseen));
    });
}

#[test]
fn bytes_that_nobody_asked_for_make_a_connection_unfit() {
    run(async {
        let (mut conn, mut server) = pair();
        assert!(conn.is_silent());
        server.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("room");
        let Stream::Unix(stream) = &conn.stream else { unreachable!("it is one") };
        stream.readable().await.expect("bytes");
        assert!(!conn.is_silent());
    });
}
