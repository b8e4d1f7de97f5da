//! What the operator is told on standard error ([`notice`]).

use std::io::Write as _;

use crate::context::facts::Timestamp;
use crate::protocol::escape;

/// Says something to the operator, on standard error, in one line: what others have said in it (a server, a name server, an authority)
/// can't make it two. Not for what a client can cause at will.
pub(crate) fn notice(message: &str) {
    let (time, message) = (Timestamp::now().rfc3339(), escape::shown(message.as_bytes()));
    // There is nobody to tell that standard error is gone.
    let _ = writeln!(std::io::stderr(), "{time} {message}");
}
