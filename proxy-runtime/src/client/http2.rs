//! The state of the exchange on a stream of a client's HTTP/2 connection ([`Http2Client`]).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Response, StatusCode};

use crate::body::inbound::BodyError;
use crate::http2::budget::StreamBudget;
use crate::http2::monitor::Monitor;
use crate::http2::{DataPiece, received_trailers, to_send};
use crate::protocol::fields::Fields;

/// The state of the exchange on a stream.
pub(crate) struct Http2Client {
    body: RefCell<RecvStream>,
    /// The received data that was not passed on yet.
    chunk: RefCell<Bytes>,
    trailers: RefCell<Option<Fields>>,
    pub(crate) respond: RefCell<SendResponse<DataPiece>>,
    monitor: Rc<Monitor>,
    pub(crate) budget: Rc<StreamBudget>,
    /// The complete body was received.
    pub(crate) whole: Cell<bool>,
    /// The client waits for `100 Continue`.
    pub(crate) expects_continue: Cell<bool>,
}

impl Http2Client {
    /// Returns the state of a stream whose request begins; `whole`: the request has no body.
    pub(crate) fn new(
        (body, respond): (RecvStream, SendResponse<DataPiece>),
        (budget, monitor): (Rc<StreamBudget>, Rc<Monitor>),
        (whole, expects_continue): (bool, bool),
    ) -> Http2Client {
        Http2Client {
            body: RefCell::new(body),
            chunk: RefCell::default(),
            trailers: RefCell::default(),
            respond: RefCell::new(respond),
            monitor,
            budget,
            whole: Cell::new(whole),
            expects_continue: Cell::new(expects_continue),
        }
    }

    pub(crate) fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Result<usize, BodyError>> {
        let (mut body, mut chunk) = (self.body.borrow_mut(), self.chunk.borrow_mut());
        while chunk.is_empty() {
            match std::task::ready!(body.poll_data(cx)) {
                Some(Ok(data)) => *chunk = data,
                Some(Err(_)) => return Poll::Ready(Err(BodyError::Truncated)),
                None => {
                    return match std::task::ready!(body.poll_trailers(cx)) {
                        Ok(None) => {
                            self.whole.set(true);
                            Poll::Ready(Ok(0))
                        }
                        Ok(Some(trailers)) if self.monitor.is_too_large(0, &trailers) => {
                            Poll::Ready(Err(BodyError::Malformed))
                        }
                        Ok(Some(trailers)) => match received_trailers(&trailers) {
                            Some(trailers) if !self.monitor.is_malformed(body.stream_id().as_u32()) => {
                                self.whole.set(true);
                                *self.trailers.borrow_mut() = Some(trailers);
                                Poll::Ready(Ok(0))
                            }
                            _ => Poll::Ready(Err(BodyError::Malformed)),
                        },
                        Err(_) => Poll::Ready(Err(BodyError::Truncated)),
                    };
                }
            }
        }
        Poll::Ready(Ok(chunk.len()))
    }

    pub(crate) fn take_body(&self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        let mut chunk = self.chunk.borrow_mut();
        let took = to(&chunk);
        chunk.advance(took);
        // The client may send as much again. This fails only if the stream has ended.
        let _ = self.body.borrow_mut().flow_control().release_capacity(took);
        self.budget.received(took);
        took
    }

    pub(crate) fn trailers(&self) -> Option<Fields> {
        self.trailers.borrow_mut().take()
    }

    pub(crate) fn interim(&self, status: StatusCode, fields: &Fields) {
        let mut response = Response::new(());
        (*response.status_mut(), *response.headers_mut()) = (status, to_send(fields));
        // If the client has disconnected, the exchange will notice.
        let _ = self.respond.borrow_mut().send_informational(response);
    }
}
