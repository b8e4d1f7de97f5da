//! Keys for session tickets, by the library: replaces `tickets` where keys are not handed over to another process.

use std::sync::Arc;

use rustls::crypto::{GetRandomFailed, aws_lc_rs};
use rustls::server::ProducesTickets;
use rustls::ticketer::TicketRotator;

use crate::context::settings::Settings;
use crate::site::Tls;

/// The library has the keys.
#[derive(Default)]
pub(super) struct TicketKeys {}

impl TicketKeys {
    #[allow(clippy::unused_self, reason = "as the other has keys")]
    pub(super) fn ticketer(&self, _: &Tls, _: &Settings, rotate: u32) -> Result<Arc<dyn ProducesTickets>, String> {
        let rotator = TicketRotator::new(rotate, ticket_key).map_err(|error| error.to_string())?;
        Ok(Arc::new(rotator))
    }
}

/// Creates a key for session tickets.
fn ticket_key() -> Result<Box<dyn ProducesTickets>, GetRandomFailed> {
    let key = aws_lc_rs::Ticketer::new().map_err(|_| GetRandomFailed)?;
    Ok(Box::new(LibraryKey(key)))
}

#[derive(Debug)]
struct LibraryKey(Arc<dyn ProducesTickets>);

impl ProducesTickets for LibraryKey {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }
    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(plain)
    }
    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(cipher)
    }
}
