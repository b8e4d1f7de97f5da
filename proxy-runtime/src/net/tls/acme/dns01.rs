//! dns-01 (RFC 8555 section 8.4): a TXT record below the name proves control over it. A [`DnsProvider`] sets and removes records, one value
//! at a time: a name and its wildcard have two values at the same name.

mod exec;
mod rfc2136;
mod txt_record;
mod webhook;

use std::time::Duration;

use self::txt_record::{Action, TxtRecord};
use crate::context::settings::{Settings, StartError};
use crate::observe::notice;
use crate::site::{Acme, DnsProvider, DnsUpdate};

/// The time-out of a provider for a record.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest propagation time.
const LONGEST_PROPAGATION: Duration = Duration::from_secs(3600);

/// A record for an authority.
pub(super) struct DnsChallenge<'a> {
    provider: &'a DnsProvider,
    record: TxtRecord,
}

impl<'a> DnsChallenge<'a> {
    /// Returns the record that proves control over a name.
    pub(super) fn new(provider: &'a DnsProvider, name: &str, value: String) -> DnsChallenge<'a> {
        DnsChallenge { provider, record: TxtRecord { name: format!("_acme-challenge.{name}."), value } }
    }

    /// Sets the record.
    ///
    /// # Errors
    /// The provider has failed, as far as is known.
    pub(super) async fn present(&self, settings: &Settings) -> Result<(), String> {
        self.act(Action::Present, settings).await
    }

    /// Removes the record, or logs the failure.
    pub(super) async fn cleanup(&self, settings: &Settings) {
        if let Err(reason) = self.act(Action::Cleanup, settings).await {
            notice(&format!("acme: {reason}"));
        }
    }

    /// Returns the time between setting the record and telling the authority.
    pub(super) fn propagation(&self, settings: &Settings) -> Duration {
        self.provider.propagation.get(settings).min(LONGEST_PROPAGATION)
    }

    async fn act(&self, action: Action, settings: &Settings) -> Result<(), String> {
        let act = async {
            match &self.provider.update {
                DnsUpdate::Exec(command) => exec::run(action, command, &self.record).await,
                DnsUpdate::Webhook { url, token, ca } => {
                    let token = token.map(|token| settings.file(token));
                    webhook::ask(
                        action,
                        url.get(settings),
                        token.as_deref().map(Vec::as_slice),
                        *ca,
                        &self.record,
                        settings,
                    )
                    .await
                }
                DnsUpdate::Rfc2136 { server, key_name, key, algorithm } => {
                    let zone = self.provider.zone.as_deref().unwrap_or_default();
                    let key = rfc2136::TransactionKey::new(key_name, &settings.file(*key), *algorithm)?;
                    rfc2136::update(action, server.get(settings), zone, key, &self.record).await
                }
            }
        };
        let done = match tokio::time::timeout(PATIENCE, act).await {
            Ok(done) => done,
            Err(_) => Err(format!("it takes longer than {PATIENCE:?}")),
        };
        done.map_err(|reason| format!("the TXT record of `{}`, {action}: {reason}", self.record.name))
    }
}

/// Returns the reasons why the start fails: a provider's settings are unusable.
pub(super) fn refused(acme: &Acme, settings: &Settings) -> Vec<StartError> {
    let wrong = |provider: &DnsProvider| match &provider.update {
        DnsUpdate::Exec(command) => exec::check(command),
        DnsUpdate::Webhook { url, token, .. } => {
            let token = token.map(|token| settings.file(token));
            webhook::check(url.get(settings), token.as_deref().map(Vec::as_slice))
        }
        DnsUpdate::Rfc2136 { server, key_name, key, algorithm } => rfc2136::address(server.get(settings))
            .and_then(|_| rfc2136::TransactionKey::new(key_name, &settings.file(*key), *algorithm))
            .map(|_| ()),
    };
    let refuse = |provider: &DnsProvider| {
        let message = wrong(provider).err()?;
        Some(StartError { message: format!("`dns`: {message}"), place: provider.place.clone() })
    };
    acme.dns.iter().filter_map(refuse).collect()
}
