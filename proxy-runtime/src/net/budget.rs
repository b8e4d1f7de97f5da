//! Limits client connections and TLS handshakes, in the process and from one address ([`ConnectionBudget`]).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::context::settings::Settings;
use crate::failure::Failure;
use crate::site::Site;

/// The limits of client connections and handshakes.
#[derive(Debug)]
pub(crate) struct ConnectionBudget {
    max: usize,
    open: AtomicUsize,
    most: AtomicUsize,
    per_client: u32,
    handshakes: usize,
    shaking: AtomicUsize,
    /// The connections per client, only counted if they are limited. Locked per connection, never per request; its size
    /// is that of the open connections.
    clients: Mutex<HashMap<IpAddr, u32>>,
}

/// A counted connection.
#[derive(Debug)]
pub(crate) struct Permit {
    budget: &'static ConnectionBudget,
    counted: Option<IpAddr>,
}

impl ConnectionBudget {
    /// `connections`: the number that the descriptor limit allows.
    pub(crate) fn new(site: &Site, settings: &Settings, connections: usize) -> ConnectionBudget {
        let limits = &site.root.limits;
        ConnectionBudget {
            max: connections,
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            per_client: u32::try_from(limits.per_client.get(settings)).unwrap_or(u32::MAX),
            handshakes: usize::try_from(limits.handshakes.get(settings)).unwrap_or(usize::MAX),
            shaking: AtomicUsize::new(0),
            clients: Mutex::default(),
        }
    }

    /// Returns the peak number of connections since the last call, and the current number.
    pub(crate) fn connections(&self) -> (usize, usize) {
        let now = self.open.load(Ordering::Relaxed);
        (self.most.swap(now, Ordering::Relaxed).max(now), now)
    }

    #[cfg(feature = "admin")]
    /// Returns the current number of connections.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts a TLS handshake, until the guard is dropped.
    pub(crate) fn handshake(&'static self) -> Option<Handshake> {
        let counted = Handshake(self);
        (self.shaking.fetch_add(1, Ordering::Relaxed) < self.handshakes).then_some(counted)
    }

    /// Returns whether half of the handshakes that are allowed are under way.
    #[cfg(feature = "h3")]
    pub(crate) fn is_shaking_much(&self) -> bool {
        self.shaking.load(Ordering::Relaxed) >= self.handshakes / 2
    }

    /// Counts a connection, and its client if that is known.
    pub(crate) fn admit(&'static self, client: Option<IpAddr>) -> Result<Permit, Failure> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        self.most.fetch_max(before + 1, Ordering::Relaxed);
        if before >= self.max {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(Failure::TooManyConnections);
        }
        let mut permit = Permit { budget: self, counted: None };
        if let Some(client) = client {
            permit.count(client)?;
        }
        Ok(permit)
    }
}

impl Permit {
    /// Counts the client; once for each connection.
    pub(crate) fn count(&mut self, client: IpAddr) -> Result<(), Failure> {
        let budget = self.budget;
        if budget.per_client == u32::MAX || self.counted.is_some() {
            return Ok(());
        }
        let mut clients = budget.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let open = clients.entry(client).or_insert(0);
        if *open >= budget.per_client {
            return Err(Failure::ClientConnectionLimit);
        }
        *open += 1;
        self.counted = Some(client);
        Ok(())
    }
}

/// Counts a TLS handshake under way.
pub(crate) struct Handshake(&'static ConnectionBudget);

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.shaking.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(peer) = self.counted {
            let mut clients = self.budget.clients.lock().unwrap_or_else(PoisonError::into_inner);
            if let std::collections::hash_map::Entry::Occupied(mut entry) = clients.entry(peer) {
                *entry.get_mut() -= 1;
                if *entry.get() == 0 {
                    entry.remove();
                }
            }
        }
    }
}
