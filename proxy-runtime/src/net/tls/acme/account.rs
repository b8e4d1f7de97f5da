//! The account with the authority: [`Accounts`]. All certificates share it; one task registers it while the others wait.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use tokio::sync::Mutex;

use super::client::HttpsClient;
use super::error::{AcmeError, again};
use super::schedule;
use super::store::{self, StateFolder};
use crate::context::settings::Settings;
use crate::observe::notice;
use crate::site::Acme;

/// The account of a site.
pub(crate) struct Accounts {
    acme: &'static Acme,
    settings: &'static Settings,
    path: PathBuf,
    registered: Mutex<AccountState>,
}

/// The state of an account.
#[derive(Default)]
struct AccountState {
    /// Its id and key, as in the file.
    credentials: Option<Vec<u8>>,
    /// The credentials have not been written yet.
    unwritten: bool,
    /// Consecutive failed registrations; the end of the pause after them, and the reason.
    failures: u32,
    refused: Option<(Instant, AcmeError)>,
}

impl Accounts {
    pub(crate) fn new(acme: &'static Acme, settings: &'static Settings) -> Accounts {
        let path = StateFolder::new(acme.state.get(settings)).account(acme.directory.get(settings));
        Accounts { acme, settings, path, registered: Mutex::default() }
    }

    /// Returns the account: an existing one, or a new one.
    ///
    /// # Errors
    /// The authority can't be reached, or refuses.
    pub(crate) async fn get(&self) -> Result<Account, AcmeError> {
        let mut registered = self.registered.lock().await;
        if registered.credentials.is_none() {
            registered.credentials = self.kept()?;
        }
        if registered.credentials.is_none() {
            return self.register(&mut registered).await;
        }
        self.write(&mut registered);
        self.restore(registered.credentials.as_deref().unwrap_or_default()).await
    }

    /// Replaces an account that the authority does not know; with the one that another task has registered meanwhile, if there is one.
    ///
    /// # Errors
    /// The authority can't be reached, or refuses.
    pub(crate) async fn replace(&self, unknown: &Account) -> Result<Account, AcmeError> {
        let mut registered = self.registered.lock().await;
        if let Some(credentials) = registered.credentials.as_deref()
            && let Ok(account) = self.restore(credentials).await
            && account.id() != unknown.id()
        {
            return Ok(account);
        }
        notice(&format!("acme: the authority does not know the account `{}`: another is registered", unknown.id()));
        self.register(&mut registered).await
    }

    /// Returns whether the authority refuses all requests of this account.
    pub(crate) async fn is_refused(&self, account: &Account) -> bool {
        let contact = self.contact();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let asked = again(async || account.update_contacts(&contact).await).await;
        asked.is_err_and(|error| error.is("accountDoesNotExist") || error.is("unauthorized"))
    }

    async fn register(&self, registered: &mut AccountState) -> Result<Account, AcmeError> {
        if let Some((until, why)) = &registered.refused
            && Instant::now() < *until
        {
            return Err(why.clone().after(*until - Instant::now()));
        }
        let new = async {
            let contact = self.contact();
            let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
            let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
            let external = self.external()?;
            let directory = self.acme.directory.get(self.settings);
            again(async || self.builder()?.create(&new, directory.to_owned(), external.as_ref()).await).await
        };
        match new.await {
            Ok((account, credentials)) => {
                let credentials = serde_json::to_vec(&credentials).map_err(|error| error.to_string())?;
                *registered =
                    AccountState { credentials: Some(credentials), unwritten: true, ..AccountState::default() };
                self.write(registered);
                Ok(account)
            }
            Err(error) => {
                // All certificates need the account, and each would try to register it.
                registered.failures = registered.failures.saturating_add(1);
                let pause = schedule::pause(registered.failures, 0.0).max(error.retry_after.unwrap_or(Duration::ZERO));
                let error = error.about("the account can't be registered");
                registered.refused = Some((Instant::now() + pause, error.clone()));
                Err(error)
            }
        }
    }

    /// Returns the content of the file; `None` if it belongs to another authority.
    fn kept(&self) -> Result<Option<Vec<u8>>, AcmeError> {
        let kept = match std::fs::read(&self.path) {
            Ok(kept) => kept,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("`{}` can't be read: {error}", self.path.display()).into()),
        };
        let directory = serde_json::from_slice::<serde_json::Value>(&kept)
            .ok()
            .and_then(|found| found.get("directory")?.as_str().map(str::to_owned));
        let usable = directory.as_deref() == Some(self.acme.directory.get(self.settings))
            && serde_json::from_slice::<AccountCredentials>(&kept).is_ok();
        if !usable {
            notice(&format!(
                "acme: `{}` is not an account of this authority: another is registered",
                self.path.display()
            ));
        }
        Ok(usable.then_some(kept))
    }

    /// Writes a pending account. Without the file, a new process registers another account, without further effect.
    fn write(&self, registered: &mut AccountState) {
        let Some(credentials) = registered.credentials.as_deref().filter(|_| registered.unwritten) else { return };
        match store::write(&self.path, credentials) {
            Ok(()) => registered.unwritten = false,
            Err(error) => notice(&format!("acme: the account can't be written to `{}`: {error}", self.path.display())),
        }
    }

    async fn restore(&self, credentials: &[u8]) -> Result<Account, AcmeError> {
        let credentials = || serde_json::from_slice(credentials).map_err(instant_acme::Error::from);
        again(async || self.builder()?.from_credentials(credentials()?).await).await
    }

    fn builder(&self) -> Result<instant_acme::AccountBuilder, instant_acme::Error> {
        let client = HttpsClient::new(self.acme.ca, self.settings).map_err(AcmeError::from)?;
        Ok(Account::builder_with_http(Box::new(client)))
    }

    fn contact(&self) -> Option<String> {
        self.acme.email.as_ref().map(|email| format!("mailto:{email}"))
    }

    /// Returns the external account that this one is bound to.
    fn external(&self) -> Result<Option<ExternalAccountKey>, AcmeError> {
        let Some((id, key)) = &self.acme.external else { return Ok(None) };
        // The key is in base64url (RFC 8555 section 7.3.4).
        let key = self.settings.file(*key);
        let end = key.iter().rposition(|byte| !byte.is_ascii_whitespace() && *byte != b'=').map_or(0, |last| last + 1);
        let key = data_encoding::BASE64URL_NOPAD.decode(key[..end].trim_ascii_start());
        Ok(Some(ExternalAccountKey::new(id.to_string(), &key.map_err(|_| "`eab-key` is not base64url")?)))
    }
}
