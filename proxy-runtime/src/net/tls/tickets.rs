//! Keys for session tickets that outlive a reload of files, and a process: a new one gets them at a takeover ([`TicketKeys`]).
//!
//! rustls keeps the keys of its own ticketer to itself. Here a ticket is sealed by AES-256-GCM-SIV (RFC 8452), whose random nonces may even collide; the key's
//! name is authenticated along with it (RFC 5077 section 4). A key is used for `rotate`, and opens tickets for as long again.
//!
//! A ticket stands for a client that has been verified. So keys are shared only by settings that verify clients in the same way: their scope is a
//! hash of these settings.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, rand};
use rustls::server::ProducesTickets;

use crate::context::settings::Settings;
use crate::site::Tls;

/// The name of a key, which begins its tickets.
const NAME: usize = 16;
const KEY: usize = 32;
const SCOPE: usize = 32;
/// The time of creation, name and key, as they are handed over.
const ENTRY: usize = 8 + NAME + KEY;

/// A key, and the previous one.
const KEPT: usize = 2;

/// The keys of a site.
#[derive(Default)]
pub(super) struct TicketKeys(Mutex<Vec<Arc<KeyRing>>>);

impl TicketKeys {
    /// Returns the ticketer of a `tls`, whose keys are changed after `rotate` seconds.
    ///
    /// # Errors
    /// There are no random numbers.
    pub(super) fn ticketer(
        &self,
        tls: &Tls,
        settings: &Settings,
        rotate: u32,
    ) -> Result<Arc<dyn ProducesTickets>, String> {
        let scope = scope(tls, settings);
        let mut rings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ring) = rings.iter().find(|ring| ring.scope == scope && ring.rotate == rotate) {
            return Ok(Arc::<KeyRing>::clone(ring));
        }
        // Those of replaced settings are forgotten.
        rings.retain(|ring| Arc::strong_count(ring) > 1);
        let key = TicketKey::random(now()).ok_or("no random key")?;
        let ring = Arc::new(KeyRing { scope, rotate, keys: RwLock::new(VecDeque::from([key])) });
        rings.push(Arc::clone(&ring));
        Ok(ring)
    }

    /// Returns the keys to hand over: for each `tls` its scope, and a few keys, the newest first.
    pub(super) fn hand_over(&self) -> Vec<Vec<u8>> {
        let rings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rings.iter().map(|ring| ring.hand_over()).collect()
    }

    /// Goes on with keys that were handed over, where there is a `tls` for them.
    pub(super) fn adopt(&self, handed_over: &[u8]) {
        let Some((scope, entries)) = handed_over.split_at_checked(SCOPE) else { return };
        let keys: Option<VecDeque<_>> = entries.chunks(ENTRY).take(KEPT).map(TicketKey::adopt).collect();
        let Some(keys) = keys.filter(|keys| !keys.is_empty()) else { return };
        let rings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ring) = rings.iter().find(|ring| ring.scope == scope) {
            *ring.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        }
    }
}

/// Returns a hash of the settings under which a client that resumes a session must have been verified.
fn scope(tls: &Tls, settings: &Settings) -> [u8; SCOPE] {
    let client = tls.client.as_ref();
    let authorities = client.map(|client| settings.file(client.ca));
    let verified = client.map(|client| client.required);
    let settings = format!("{:?}", (&tls.name, &tls.hosts, tls.min_version, verified, authorities.as_deref()));
    let mut scope = [0; SCOPE];
    scope.copy_from_slice(digest::digest(&digest::SHA256, settings.as_bytes()).as_ref());
    scope
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The keys of one `tls`.
struct KeyRing {
    scope: [u8; SCOPE],
    rotate: u32,
    /// The newest first.
    keys: RwLock<VecDeque<TicketKey>>,
}

/// Does not print keys.
impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing").finish_non_exhaustive()
    }
}

impl KeyRing {
    fn hand_over(&self) -> Vec<u8> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = self.scope.to_vec();
        for key in keys.iter() {
            bytes.extend(key.created.to_be_bytes());
            bytes.extend(key.name);
            bytes.extend(key.bytes);
        }
        bytes
    }

    /// Makes a new key if the present one has been used long enough.
    fn rotate(&self, now: u64) {
        let is_due = |keys: &VecDeque<TicketKey>| {
            keys.front().is_none_or(|key| key.created.saturating_add(self.rotate.into()) <= now)
        };
        if !is_due(&self.keys.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been faster. Without random numbers, the present key stays.
        if let Some(key) = TicketKey::random(now).filter(|_| is_due(&keys)) {
            keys.push_front(key);
            keys.truncate(KEPT);
        }
    }

    fn seal(&self, plain: &[u8], now: u64) -> Option<Vec<u8>> {
        self.rotate(now);
        self.keys.read().unwrap_or_else(PoisonError::into_inner).front()?.seal(plain)
    }

    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let (name, sealed) = ticket.split_at_checked(NAME)?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.iter().find(|key| key.name == name)?;
        let is_valid = now < key.created.saturating_add(u64::from(self.rotate) * 2);
        is_valid.then(|| key.open(sealed))?
    }
}

impl ProducesTickets for KeyRing {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.rotate.saturating_mul(2)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, now())
    }
}

struct TicketKey {
    /// In seconds since 1970.
    created: u64,
    name: [u8; NAME],
    bytes: [u8; KEY],
    key: RandomizedNonceKey,
}

impl TicketKey {
    fn new(created: u64, name: [u8; NAME], bytes: [u8; KEY]) -> Option<TicketKey> {
        let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, &bytes).ok()?;
        Some(TicketKey { created, name, bytes, key })
    }

    fn random(created: u64) -> Option<TicketKey> {
        let (mut name, mut bytes) = ([0; NAME], [0; KEY]);
        rand::fill(&mut name).ok()?;
        rand::fill(&mut bytes).ok()?;
        TicketKey::new(created, name, bytes)
    }

    fn adopt(entry: &[u8]) -> Option<TicketKey> {
        let (created, rest) = entry.split_first_chunk()?;
        let (name, bytes) = rest.split_first_chunk()?;
        // A clock may have been set back in between.
        TicketKey::new(u64::from_be_bytes(*created).min(now()), *name, bytes.try_into().ok()?)
    }

    /// Returns name, nonce and sealed text.
    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let nonce = self.key.seal_in_place_append_tag(Aad::from(self.name), &mut sealed).ok()?;
        Some([&self.name[..], nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut opened = sealed.to_vec();
        let length = self.key.open_in_place(nonce, Aad::from(self.name), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn ring(scope: u8) -> Arc<KeyRing> {
        let key = TicketKey::random(now()).expect("a key");
        Arc::new(KeyRing { scope: [scope; SCOPE], rotate: HOUR as u32, keys: RwLock::new(VecDeque::from([key])) })
    }

    #[test]
    fn keys_are_rotated() {
        let (ring, began) = (ring(0), now());
        let first = ring.seal(b"a", began).expect("sealed");
        let before = ring.seal(b"b", began + HOUR - 1).expect("sealed");
        assert_eq!(first[..NAME], before[..NAME], "the key is used for an hour");
        let second = ring.seal(b"c", began + HOUR).expect("sealed");
        assert_ne!(first[..NAME], second[..NAME], "and not longer");
        assert_eq!(ring.open(&first, began + 2 * HOUR - 1).as_deref(), Some(&b"a"[..]));
        assert_eq!(ring.open(&second, began + 2 * HOUR - 1).as_deref(), Some(&b"c"[..]));
        assert_eq!(ring.open(&first, began + 2 * HOUR), None, "tickets are valid for two hours");
        ring.seal(b"d", began + 2 * HOUR).expect("sealed");
        assert_eq!(ring.open(&first, began), None, "the key is gone");
    }

    #[test]
    fn tickets_that_were_changed_are_not_opened() {
        let ring = ring(0);
        let ticket = ring.encrypt(b"session").expect("sealed");
        assert_eq!(ring.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        for index in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[index] ^= 1;
            assert_eq!(ring.decrypt(&changed), None, "byte {index}");
            assert_eq!(ring.decrypt(&ticket[..index]), None, "{index} bytes");
        }
        assert_ne!(ticket, ring.encrypt(b"session").expect("sealed"));
    }

    #[test]
    fn keys_are_handed_over_within_their_scope() {
        let (old, new) = (TicketKeys::default(), TicketKeys::default());
        let (ring_of_old, same, other) = (ring(1), ring(1), ring(2));
        old.0.lock().expect("rings").push(Arc::clone(&ring_of_old));
        new.0.lock().expect("rings").extend([Arc::clone(&same), Arc::clone(&other)]);
        let ticket = ring_of_old.encrypt(b"session").expect("sealed");
        assert_eq!(same.decrypt(&ticket), None);
        for keys in old.hand_over() {
            new.adopt(&keys);
        }
        assert_eq!(same.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(other.decrypt(&ticket), None);
        assert_eq!(ring_of_old.decrypt(&same.encrypt(b"next").expect("sealed")).as_deref(), Some(&b"next"[..]));
        for wrong in [&[][..], &[1; SCOPE], &[1; SCOPE + 1], &[1; SCOPE + ENTRY - 1], &[1; SCOPE + ENTRY + 1]] {
            new.adopt(wrong);
        }
        assert!(same.decrypt(&ticket).is_some(), "what is not a list of keys is ignored");
        assert_eq!(format!("{same:?}"), "KeyRing { .. }");
    }
}
