//! WebSocket over HTTP/2 and HTTP/3 (RFC 8441, RFC 9220): converts an extended CONNECT to a `GET` with `Upgrade` ([`ask`]), and its 101 to a 200
//! ([`check`]).

mod sha1;

use http::StatusCode;

use crate::balance::Dice;
use crate::content::respond::Answer;
use crate::failure::Failure;
use crate::protocol::fields::Fields;
use crate::serve::body::Body;

/// The key that is sent to a server, which must prove that it has understood it (RFC 6455 section 1.3).
pub(super) struct WebSocketKey([u8; 24]);

/// Adds the fields of an HTTP/1.1 upgrade (RFC 6455 section 4.1); HTTP/2 has no key (RFC 8441 section 5.1).
pub(super) fn ask(fields: &mut Fields, dice: &Dice) -> WebSocketKey {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // 16 bytes in base64: 22 digits, of which the last has only two significant bits, and the padding.
    let mut key = [b'='; 24];
    key[..21].fill_with(|| DIGITS[dice.below(64)]);
    key[21] = b"AQgw"[dice.below(4)];
    fields.set("connection", b"upgrade");
    fields.set("upgrade", b"websocket");
    fields.set("sec-websocket-key", &key);
    WebSocketKey(key)
}

impl WebSocketKey {
    /// Returns the expected `Sec-WebSocket-Accept` (RFC 6455 section 4.2.2).
    fn accepted(&self) -> String {
        const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
        data_encoding::BASE64.encode(&sha1::digest(&[&self.0, GUID].concat()))
    }
}

/// Checks the response to a request, which may be an extended CONNECT; converts a 101 to one. Otherwise, returns the failure.
pub(super) fn check(key: Option<&WebSocketKey>, answer: &mut Answer<Body>) -> Option<Failure> {
    match (matches!(answer.body, Body::Tunnel(_)), key) {
        (true, Some(key)) if accept(key, answer) => None,
        // A 101 that was not asked for, or from a server that did not understand the request.
        (true, _) => Some(Failure::UpstreamInvalid),
        // RFC 8441 section 4: a 2xx would mean that there is a tunnel; any other status means that there is none.
        (_, Some(_)) if answer.status.is_success() => Some(Failure::NotUpgraded),
        _ => None,
    }
}

/// Converts a 101 to the response to an extended CONNECT. `false`: the server's key does not match (RFC 6455 section 4.1).
fn accept(key: &WebSocketKey, answer: &mut Answer<Body>) -> bool {
    let mut shown = answer.fields.all("sec-websocket-accept");
    if shown.next() != Some(key.accepted().as_bytes()) || shown.next().is_some() {
        return false;
    }
    drop(shown);
    answer.status = StatusCode::OK;
    for name in ["connection", "upgrade", "sec-websocket-accept"] {
        answer.fields.remove(name);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        // The example of RFC 6455 section 1.3.
        assert_eq!(WebSocketKey(*b"dGhlIHNhbXBsZSBub25jZQ==").accepted(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
