//! HTTP/1 with a client (RFC 9112): one request after the other, read strictly, answered as the gate says.
//!
//! It is our own because it has to be strict where `hyper`'s server is lenient ([`reader`] says where), because a connection
//! without a request shall cost next to nothing, and because one reading of the bytes costs less than two.

pub mod head;
mod link;
pub mod reader;
#[cfg(test)]
mod tests;
mod write;

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::CONNECTION;
use http::{Method, StatusCode, Version};
use http_body::Body as _;

use self::head::{Framing as RequestFraming, Head};
use self::link::{Link, Upload};
use self::reader::Reader;
use self::write::{Asked, Framing, framing, push_head, push_refusal};
use super::socket::{Progress, Socket};
use super::worker::Worker;
use crate::config::gateway::Http;
use crate::gate::response_body::ResponseBody;
use crate::gate::tunnel::Tunnel;
use crate::gate::{self, Abandoned, Handling, Reply};
use crate::request::{ClientBody, ConnFacts, Received};
use crate::upstream::message::Answer;
use crate::vocab::header::has_word;

/// How a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As connections do.
    Over,
    /// The client left, before a head was whole or while it waited for a response.
    Gone,
    /// A head was refused, with this status.
    Refused(StatusCode),
}

/// A connection.
pub(super) struct Connection {
    worker: Rc<Worker>,
    conn: Rc<ConnFacts>,
    progress: Rc<Progress>,
    link: Rc<RefCell<Link>>,
    stage: Stage,
    asked: Asked,
    keeps_alive: bool,
    /// What it becomes once the response is out.
    tunnel: Option<Box<Tunnel>>,
}

enum Stage {
    /// Before a request, or in its head.
    Idle,
    /// The gate has the request.
    Answering(Pin<Box<dyn Future<Output = Result<Reply, Abandoned>>>>),
    /// The response's head is written, or about to be; its body follows.
    Sending(ResponseBody, Framing),
    /// What there is of the response is to be written; then comes the next request, if there was an end to it.
    Ending { is_whole: bool },
    /// A head was refused.
    Refusing(StatusCode),
}

impl Connection {
    /// Of a client of which `input` was read already.
    pub(super) fn new(
        (worker, conn, progress): (Rc<Worker>, Rc<ConnFacts>, Rc<Progress>),
        http: &Http,
        socket: Socket,
        input: BytesMut,
    ) -> Self {
        let reader = Reader::new(http.header_bytes_max as usize, http.headers_max);
        let link = Rc::new(RefCell::new(Link::new(socket, input, reader)));
        let asked = Asked { is_http_10: false, is_head: false, accepts_trailers: false };
        Self { worker, conn, progress, link, stage: Stage::Idle, asked, keeps_alive: true, tunnel: None }
    }

    /// Serves; ready when HTTP has ended. The connection is to be shut down then, or has become a tunnel.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        loop {
            match &mut self.stage {
                Stage::Idle => match ready!(self.poll_head(context)) {
                    Some(Ok(head)) => self.begin(head),
                    Some(Err(status)) => {
                        push_refusal(&mut self.link.borrow_mut().output, status, &self.worker.date());
                        self.stage = Stage::Refusing(status);
                    }
                    None => return Poll::Ready(if self.keeps_alive { End::Gone } else { End::Over }),
                },
                Stage::Answering(reply) => match reply.as_mut().poll(context) {
                    Poll::Ready(Ok(reply)) => self.answer(reply),
                    Poll::Ready(Err(Abandoned)) => return Poll::Ready(End::Over),
                    Poll::Pending => return self.poll_gone(context),
                },
                Stage::Sending(..) => match self.poll_body(context) {
                    Poll::Ready(is_whole) => self.stage = Stage::Ending { is_whole },
                    Poll::Pending => return self.poll_gone(context),
                },
                Stage::Ending { is_whole } => {
                    let is_whole = *is_whole;
                    let mut link = self.link.borrow_mut();
                    let is_written = ready!(link.poll_write_out(context)).is_ok();
                    if !is_written
                        || !is_whole
                        || self.tunnel.is_some()
                        || !link.skip_body(context)
                        || !self.keeps_alive
                    {
                        return Poll::Ready(End::Over);
                    }
                    self.worker.buffers().give_output(std::mem::take(&mut link.output));
                    self.stage = Stage::Idle;
                }
                Stage::Refusing(status) => {
                    // Whether or not it can be told.
                    let _ = ready!(self.link.borrow_mut().poll_write_out(context));
                    return Poll::Ready(End::Refused(*status));
                }
            }
        }
    }

    /// The next head, or why there is none; `None` at the end.
    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Head, StatusCode>>> {
        let mut link = self.link.borrow_mut();
        let link = &mut *link;
        loop {
            if !self.keeps_alive {
                return Poll::Ready(None);
            }
            if !link.input.is_empty() {
                let head = link.reader.head(&mut link.input).transpose();
                // A head that is refused is one that is not done with until the client has been told.
                let is_refused = head.as_ref().is_some_and(Result::is_err);
                self.progress.has_read(is_refused || (head.is_none() && !link.input.is_empty()));
                if head.is_some() {
                    return Poll::Ready(head);
                }
            }
            let read = ready!(link.poll_read_scratch(&mut self.worker.buffers().scratch().borrow_mut(), context));
            if !matches!(read, Ok(1..)) {
                return Poll::Ready(None);
            }
        }
    }

    fn begin(&mut self, head: Head) {
        self.progress.head_is_whole(false);
        self.asked = Asked {
            is_http_10: head.version == Version::HTTP_10,
            is_head: head.method == Method::HEAD,
            accepts_trailers: head.accepts_trailers,
        };
        self.keeps_alive = head.keeps_alive;
        let body = match head.framing {
            RequestFraming::Nothing => ClientBody::Nothing,
            RequestFraming::Length(_) | RequestFraming::Chunked => {
                self.link.borrow_mut().owes_continue = head.expects_continue;
                ClientBody::Http1(Box::pin(Upload::of(&self.link)))
            }
        };
        let Head { method, uri, version, fields, .. } = head;
        let request = Received { method, uri, version, fields, is_websocket_stream: false, body };
        let worker = &self.worker;
        match gate::handle(worker.tools(), &worker.snapshot(), &self.conn, worker.next_request_id(), request) {
            Handling::Answered(reply) => self.answer(reply),
            Handling::Underway(reply) => self.stage = Stage::Answering(reply),
        }
    }

    /// Writes a response's head into the output.
    fn answer(&mut self, reply: Reply) {
        let Reply { response: Answer { status, fields, body }, tunnel } = reply;
        let framing = framing(self.asked, status, body.size_hint().exact());
        let is_last =
            self.worker.is_draining() || framing == Framing::UntilClose || has_word(&fields, &CONNECTION, "close");
        if is_last && status != StatusCode::SWITCHING_PROTOCOLS {
            // The client knows before it sends another (RFC 9112 §9.6).
            self.keeps_alive = false;
        }
        self.tunnel = tunnel;
        let mut link = self.link.borrow_mut();
        link.is_answered = true;
        // Whether the body that was not asked for will come is not certain: what follows may be it, or the next request.
        self.keeps_alive &= !link.owes_continue;
        if link.output.capacity() == 0 {
            link.output = self.worker.buffers().take_output();
        }
        let date = self.worker.date();
        push_head(&mut link.output, self.asked, (status, &fields), framing, self.keeps_alive, &date);
        self.stage = if body.is_end_stream() {
            link.push_end(framing, None);
            Stage::Ending { is_whole: true }
        } else {
            Stage::Sending(body, framing)
        };
    }

    /// Writes a response's body; ready when all of it is in the output, and says whether there was an end to it.
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let Stage::Sending(body, framing) = &mut self.stage else { return Poll::Ready(true) };
        loop {
            // Not to be held while the body is polled: the request's may be read with it.
            let has_room = self.link.borrow().has_room();
            if has_room {
                match Pin::new(&mut *body).poll_frame(context) {
                    Poll::Ready(Some(Ok(frame))) => {
                        let mut link = self.link.borrow_mut();
                        match frame.into_data() {
                            Ok(data) => link.push_data(*framing, data),
                            Err(frame) => {
                                let trailers = frame.into_trailers().ok().filter(|_| self.asked.accepts_trailers);
                                link.push_end(*framing, trailers.as_ref());
                                return Poll::Ready(true);
                            }
                        }
                        if body.is_end_stream() {
                            link.push_end(*framing, None);
                            return Poll::Ready(true);
                        }
                        continue;
                    }
                    Poll::Ready(None) => {
                        self.link.borrow_mut().push_end(*framing, None);
                        return Poll::Ready(true);
                    }
                    // What came of it goes out; the missing end says the rest.
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                    Poll::Pending => {
                        let written = self.link.borrow_mut().poll_write_out(context);
                        return if matches!(written, Poll::Ready(Err(_))) { Poll::Ready(false) } else { Poll::Pending };
                    }
                }
            }
            if ready!(self.link.borrow_mut().poll_write_out(context)).is_err() {
                return Poll::Ready(false);
            }
        }
    }

    /// While the client waits: whether it has left. What it sends ahead is kept, and nothing is read beyond that.
    fn poll_gone(&self, context: &mut Context<'_>) -> Poll<End> {
        let mut link = self.link.borrow_mut();
        if link.reader.is_in_body() {
            link.wait_for_body(context);
            return Poll::Pending;
        }
        if !link.input.is_empty() || link.reader.is_broken() {
            return Poll::Pending;
        }
        let read = ready!(link.poll_read_scratch(&mut self.worker.buffers().scratch().borrow_mut(), context));
        if matches!(read, Ok(1..)) {
            self.progress.has_read(true);
            return Poll::Pending;
        }
        Poll::Ready(End::Gone)
    }

    /// Takes no new requests.
    pub(super) fn wind_down(&mut self) {
        self.keeps_alive = false;
    }

    /// What is left when HTTP has ended: the connection, what was read of it beyond, and what it becomes.
    pub(super) fn into_rest(mut self) -> Option<(Socket, Bytes, Option<Box<Tunnel>>)> {
        let tunnel = self.tunnel.take();
        // The records of what was underway close before anybody waits for the client again.
        self.stage = Stage::Idle;
        let rest = self.link.borrow_mut().close();
        rest.map(|(socket, early)| (socket, early, tunnel))
    }
}

impl Drop for Connection {
    /// A body that another task still reads does not keep the socket open.
    fn drop(&mut self) {
        self.stage = Stage::Idle;
        drop(self.link.borrow_mut().close());
    }
}
