//! The response to a request of the proxy's own, which it reads to its end ([`OwnResponse`]).

use std::task::{Poll, ready};

use http::{Method, StatusCode};

use super::inbound::Inbound;
use crate::http1::{HeadReader, MessageHead};
use crate::net::stream::BufferedStream;

/// A response that is being received. The caller enforces a time-out, and a limit on the body.
pub(crate) struct OwnResponse {
    pub(crate) head: MessageHead<StatusCode>,
    body: Inbound,
    link: BufferedStream,
}

/// Why a response can't be read.
const INCOMPLETE: &str = "the response is incomplete";

impl OwnResponse {
    /// Reads the head of a response to a request with `method`.
    ///
    /// # Errors
    /// Fails if it is malformed, larger than the stream's buffer, or incomplete.
    pub(crate) async fn receive(mut link: BufferedStream, method: &Method) -> Result<OwnResponse, &'static str> {
        let mut reading = HeadReader::default();
        let head = std::future::poll_fn(|cx| {
            loop {
                if let Some(head) = reading.answer(link.bytes(), method).map_err(|_| "it is not a valid response")? {
                    link.consume(head.size);
                    if !head.is_interim() {
                        return Poll::Ready(Ok(head));
                    }
                    // RFC 9110 section 15.2: others may come before the final one.
                    reading = HeadReader::default();
                    continue;
                }
                match ready!(link.poll_fill(cx)) {
                    Ok(true) => {}
                    Ok(false) | Err(_) => return Poll::Ready(Err(INCOMPLETE)),
                }
            }
        });
        let head = head.await?;
        Ok(OwnResponse { body: Inbound::of_server(head.framing), head, link })
    }

    /// Passes the next piece of the body to `take`. Returns whether there was one.
    ///
    /// # Errors
    /// Fails if the body ends before its end.
    pub(crate) async fn piece(&mut self, take: impl FnOnce(&[u8])) -> Result<bool, &'static str> {
        let found = std::future::poll_fn(|cx| self.body.poll(cx, &mut self.link)).await;
        if found.map_err(|_| INCOMPLETE)? == 0 {
            return Ok(false);
        }
        self.body.take(&mut self.link, |data| {
            take(data);
            data.len()
        });
        Ok(true)
    }

    /// Reads the whole body, of at most `limit` bytes.
    ///
    /// # Errors
    /// Fails if it is larger, or ends before its end.
    pub(crate) async fn whole(&mut self, limit: usize) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        while self.piece(|data| body.extend_from_slice(data)).await? {
            if body.len() > limit {
                return Err(format!("more than {} KiB", limit >> 10));
            }
        }
        Ok(body)
    }
}
