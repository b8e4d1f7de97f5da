//! One request and its response, on a stream of its own ([`exchange`]).

use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use http::{Method, StatusCode, Version};
use quinn::{RecvStream, SendStream};
use tokio::time::Instant;

use super::super::websocket::{self, WebSocketKey};
use super::{Session, tunnel};
use crate::body::outbound::{BodyFraming, Outbound, SendError, YieldOnce};
use crate::body::pace::Pace;
use crate::body::source::Source as _;
use crate::client::http3::{Http3Client, StreamError};
use crate::client::record::Record;
use crate::client::{Client, Wire};
use crate::content::respond::Answer;
use crate::failure::Failure;
use crate::http1::Framing;
use crate::http2::flood::{FOR_HEAD, RESET};
use crate::http3::codes::ErrorCode;
use crate::http3::head::{self, HeadError, Http3Head};
use crate::net::clock::after;
use crate::net::listen::FINE_QUEUE;
use crate::protocol::fields::Fields;
use crate::protocol::names::KnownField;
use crate::serve::body::Body;
use crate::serve::{self, Aborted};

/// The size of a field section that the memory of an exchange includes.
const SMALL_SECTION: usize = 8 << 10;

/// Handles one request and its response.
pub(super) async fn exchange(session: &Rc<Session>, streams: (SendStream, RecvStream)) {
    let (began, is_early) = (Instant::now(), session.is_early(&streams.1));
    let http3 = Http3Client::new(&session.connection, streams, Rc::clone(&session.budget), session.limit);
    let client = Rc::new(Client::new(Rc::clone(&session.peer), Wire::Http3(http3)));
    if let Wire::Http3(http3) = &client.wire {
        client.timer.run(pin!(converse(session, &client, http3, (began, is_early)))).await;
    }
}

async fn converse(session: &Session, client: &Rc<Client>, http3: &Http3Client, (began, is_early): (Instant, bool)) {
    let section = match receive(session, client, http3, began).await {
        Ok(section) => section,
        Err(HeadEnd::Silent) => return,
        Err(HeadEnd::Cancelled) => return session.spend(RESET),
        Err(HeadEnd::Protocol(code)) => return session.fail(code),
        Err(HeadEnd::Refused(failure, code)) => return give_up(session, client, http3, (failure, code), began),
    };
    let read = section.map_or(Err(HeadError::TooLarge), |section| Http3Head::read(&section, session.limit));
    let mut head = match read {
        Ok(head) => head,
        Err(HeadError::TooLarge) => Http3Head {
            method: Method::from_bytes(b"-").unwrap_or_default(),
            target: String::new(),
            fields: Fields::new(),
            framing: Framing::Empty,
            websocket: false,
            flaw: Some(Failure::HeadersTooLarge),
        },
        Err(HeadError::Stream(code)) => return give_up(session, client, http3, (Failure::BadRequest, code), began),
        Err(HeadError::Connection(code)) => return session.fail(code),
    };
    http3.prioritize(head.fields.get("priority"));
    if is_early && !is_safe(&head) && !session.is_shaken().await {
        return;
    }
    if head.websocket {
        http3.tunnel();
        let key = websocket::ask(&mut head.fields, &client.worker.dice);
        (head.method, head.framing) = (Method::GET, Framing::Empty);
        let Some(_share) = session.budget.admit_parts(head.fields.size() + head.target.len(), None) else {
            http3.reset(ErrorCode::RequestRejected);
            return http3.stop(ErrorCode::RequestRejected);
        };
        return answer(session, client, http3, (head, Some(key)), began).await;
    }
    http3.expect(match head.framing {
        Framing::Length(length) => Some(length),
        _ => None,
    });
    // The end of a stream is often in the same packet, or the next one.
    let mut look_around = YieldOnce::default();
    let ended = std::future::poll_fn(|cx| match http3.ends(cx) {
        false if look_around.poll(cx).is_pending() => Poll::Pending,
        ended => Poll::Ready(ended),
    });
    // A server may need to be told of no content (RFC 9110 section 8.6).
    if ended.await && head.framing != Framing::Length(0) {
        head.framing = Framing::Empty;
    }
    if is_early && is_safe(&head) {
        if !matches!(head.framing, Framing::Empty | Framing::Length(0)) {
            if !session.is_shaken().await {
                return;
            }
        } else {
            // RFC 8470 section 5.1.
            head.fields.set("early-data", b"1");
        }
    }
    let body = match head.framing {
        Framing::Empty => None,
        Framing::Length(length) => Some(u32::try_from(length).unwrap_or(u32::MAX)),
        _ => Some(u32::MAX),
    };
    let Some(_share) = session.budget.admit_parts(head.fields.size() + head.target.len(), body) else {
        http3.reset(ErrorCode::RequestRejected);
        return http3.stop(ErrorCode::RequestRejected);
    };
    session.connection.quic.set_receive_window(session.budget.announced().into());
    http3.expects_continue.set(body.is_some() && head.fields.contains(KnownField::EXPECT));
    answer(session, client, http3, (head, None), began).await;
}

/// Whether a request may be processed in early data, which can be sent again by anybody who has recorded it: if its method is safe (RFC 9110 section
/// 9.2.1). RFC 8470 section 3: others wait for the end of the handshake, as do those with a body.
fn is_safe(head: &Http3Head) -> bool {
    matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS) && !head.websocket
}

/// Why there is no head.
enum HeadEnd {
    /// Nobody has to know: the connection is closed.
    Silent,
    /// The client has cancelled the request.
    Cancelled,
    /// The client violates the protocol.
    Protocol(ErrorCode),
    /// The request is refused.
    Refused(Failure, ErrorCode),
}

/// Receives the field section of the request; `None` if it is larger than allowed.
async fn receive(
    session: &Session,
    client: &Client,
    http3: &Http3Client,
    began: Instant,
) -> Result<Option<Vec<u8>>, HeadEnd> {
    let patience = client.worker.site.root.timeouts.request.get(client.worker.settings);
    let mut held = None;
    std::future::poll_fn(|cx| {
        let received = match http3.poll_head(cx) {
            Poll::Ready(Ok(section)) => Ok(section),
            Poll::Ready(Err(None)) => Err(HeadEnd::Refused(Failure::RequestTruncated, ErrorCode::RequestIncomplete)),
            Poll::Ready(Err(Some(StreamError::Reset))) => Err(HeadEnd::Cancelled),
            Poll::Ready(Err(Some(StreamError::Protocol(code)))) => Err(HeadEnd::Protocol(code)),
            Poll::Pending if client.timer.over(after(began, patience)) => {
                Err(HeadEnd::Refused(Failure::RequestTimeout, ErrorCode::RequestCancelled))
            }
            Poll::Pending if session.connection.quic.close_reason().is_some() => Err(HeadEnd::Silent),
            Poll::Pending => {
                if held.is_none() && http3.collected() > SMALL_SECTION {
                    held = session.budget.hold(session.limit);
                    if held.is_none() {
                        let refused = HeadEnd::Refused(Failure::MemoryFull, ErrorCode::RequestRejected);
                        return Poll::Ready(Err(refused));
                    }
                }
                return Poll::Pending;
            }
        };
        Poll::Ready(received)
    })
    .await
}

/// Ends a request without a response, which counts as much as a stream that the client has reset.
fn give_up(
    session: &Session,
    client: &Client,
    http3: &Http3Client,
    (failure, code): (Failure, ErrorCode),
    began: Instant,
) {
    session.spend(RESET);
    let method = Method::from_bytes(b"-").unwrap_or_default();
    let mut record = Record::new(&client.peer, method, Version::HTTP_3, Fields::new(), began);
    record.failed(failure);
    record.answered(failure.status().as_u16());
    record.finished();
    http3.reset(code);
    http3.stop(code);
}

async fn answer(
    session: &Session,
    client: &Rc<Client>,
    http3: &Http3Client,
    (head, websocket): (Http3Head, Option<WebSocketKey>),
    began: Instant,
) {
    let Http3Head { method, target, fields, framing, flaw, .. } = head;
    let to_head = method == Method::HEAD;
    let mut record = Record::new(&client.peer, method, Version::HTTP_3, fields, began);
    let mut stopped = pin!(http3.stopped());
    let answered = {
        let mut steps = pin!(async {
            match flaw {
                None => serve::exchange(client, &mut record, target, framing).await,
                Some(failure) => Ok(serve::refuse_malformed(client, &mut record, failure)),
            }
        });
        std::future::poll_fn(|cx| match steps.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            // The client does not want the response, or the connection is closed.
            Poll::Pending if stopped.as_mut().poll(cx).is_ready() => Poll::Ready(None),
            Poll::Pending => {
                http3.poll_interim(cx);
                Poll::Pending
            }
        })
        .await
    };
    match answered {
        Some(Ok(answer)) => {
            let sent = send(client, http3, &mut record, answer, (to_head, websocket.as_ref())).await;
            drop(record);
            // The request is no longer needed (RFC 9114 section 4.1).
            http3.stop(ErrorCode::No);
            if http3.is_malformed() {
                session.spend(RESET);
            } else if sent {
                session.allowance.borrow_mut().earn(FOR_HEAD);
            }
            if !sent {
                // The stream was reset, and nobody tells when the client knows.
                session.resets.set(session.resets.get() + 1);
                return;
            }
            // The response is delivered.
            session.delivering.set(session.delivering.get() + 1);
            let until = after(Instant::now(), client.idle.get());
            std::future::poll_fn(|cx| {
                let over = stopped.as_mut().poll(cx).is_ready() || client.timer.over(until);
                if over { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            session.delivering.set(session.delivering.get() - 1);
        }
        Some(Err(Aborted)) => {
            session.resets.set(session.resets.get() + 1);
            record.finished();
            http3.reset(ErrorCode::RequestCancelled);
            http3.stop(ErrorCode::RequestCancelled);
        }
        None => {
            session.spend(RESET);
            if !http3.whole.get() && websocket.is_none() {
                record.failed(Failure::RequestTruncated);
                record.answered(Failure::RequestTruncated.status().as_u16());
            }
            http3.reset(ErrorCode::RequestCancelled);
            http3.stop(ErrorCode::RequestCancelled);
        }
    }
}

/// Sends a response; returns whether it was sent completely.
async fn send(
    client: &Client,
    http3: &Http3Client,
    record: &mut Record,
    mut answer: Answer<Body>,
    (to_head, websocket): (bool, Option<&WebSocketKey>),
) -> bool {
    if let Some(failure) = websocket::check(websocket, &mut answer) {
        let answer = serve::instead(record, failure);
        return Box::pin(send(client, http3, record, answer, (to_head, None))).await;
    }
    if let Some(said) = answer.fields.get("priority") {
        http3.prioritize_response(said);
    }
    let bodiless = to_head || matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = answer.body.length().filter(|_| match answer.status {
        StatusCode::NO_CONTENT => false,
        StatusCode::NOT_MODIFIED => !matches!(answer.body, Body::Bytes(_)),
        _ => true,
    });
    if bodiless {
        answer.body = Body::None(None);
    }
    let date = (!answer.fields.contains(KnownField::DATE)).then(|| client.worker.date_value(Instant::now()));
    let mut digits = itoa::Buffer::new();
    let more = [
        date.as_deref().map(|date| ("date", date.as_bytes())),
        length.map(|length| ("content-length", digits.format(length).as_bytes())),
    ];
    let more: Vec<_> = more.into_iter().flatten().collect();
    let mut out = http3.take_interim();
    let interim = out.len();
    head::write_response(&mut out, answer.status, &answer.fields, &more);
    if let Body::Tunnel(call) = answer.body {
        record.finished();
        // Boxed, as all exchanges would have space for it otherwise.
        return Box::pin(tunnel::through(client, http3, out, *call)).await;
    }
    let framing = match length {
        Some(length @ 1..) if !bodiless => {
            head::write_data(&mut out, length);
            BodyFraming::Frames { begun: true }
        }
        Some(_) => BodyFraming::Frames { begun: true },
        None => BodyFraming::Frames { begun: false },
    };
    let mut outbound = Outbound::answer(out, framing);
    let mut pace = Pace::new(record.policy().limits.min_rate, 2 * FINE_QUEUE);
    let mut stopped = pin!(http3.stopped());
    let mut held = None;
    let sent = std::future::poll_fn(|cx| {
        let outcome = outbound.poll(cx, &mut answer.body, |cx, parts| http3.poll_write(cx, parts));
        record.sent(outbound.body);
        record.received(client.received.get());
        if let Poll::Ready(outcome) = outcome {
            return Poll::Ready(outcome);
        }
        match outbound.blocked() {
            None => held = None,
            Some(_) if held.is_none() => {
                held = http3.budget.hold(answer.body.rest());
                if held.is_none() {
                    record.failed(Failure::MemoryFull);
                    return Poll::Ready(Err(SendError::Sink));
                }
            }
            Some(_) => {}
        }
        if let Some(pace) = &mut pace {
            if outbound.blocked().is_none() {
                pace.rests();
            } else if pace.is_too_slow(&client.timer, || outbound.body) {
                record.failed(Failure::ClientTooSlow);
                return Poll::Ready(Err(SendError::Sink));
            }
        }
        let stalled = outbound.blocked().and_then(|since| after(since, client.idle.get()));
        if client.timer.over(stalled) || stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(SendError::Sink));
        }
        Poll::Pending
    })
    .await;
    match sent {
        Ok(()) => {
            http3.finish();
            record.finished();
            true
        }
        Err(SendError::Sink) => {
            if outbound.is_unsent() && record.failure().is_none() {
                record.unanswered();
            }
            http3.reset(ErrorCode::RequestCancelled);
            false
        }
        Err(SendError::Source(failure)) if outbound.is_unsent() && record.failure().is_none() => {
            // Nothing was sent yet: the response can still be replaced by an error response.
            http3.give_back_interim(outbound.take_back(interim));
            let answer = serve::instead(record, failure);
            Box::pin(send(client, http3, record, answer, (to_head, None))).await
        }
        Err(SendError::Source(failure)) => {
            record.failed(failure);
            record.finished();
            http3.reset(ErrorCode::Internal);
            false
        }
    }
}
