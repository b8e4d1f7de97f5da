//! `tls acme`: certificates that an authority is asked for (RFC 8555), and asked again before they expire.
//!
//! One task per `tls` on the main thread; few ask at once. The account and each certificate with its key are a file in the
//! folder `state`, readable by the owner alone and replaced whole, so that a new start goes on where the last one was. Who the
//! authority believes to own a host is shown by an answer to a plain request (http-01) or by a certificate made for it
//! (tls-alpn-01, RFC 8737), both by [`Challenges`].

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, ExternalAccountKey, Identifier, NewAccount,
    NewOrder, OrderStatus, RetryPolicy,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::sync::Semaphore;

use super::server::{self, Candidate, Served};
use super::{Engine, provider};
use crate::balance::Dice;
use crate::certificate::Chain;
use crate::handler::Answer;
use crate::observe::notice;
use crate::settings::{Refused, Settings};
use crate::site::{self, Acme, Certificates, Site, Tls};

/// The protocol of a handshake that is a challenge.
pub(super) const PROTOCOL: &[u8] = b"acme-tls/1";

/// Where plain requests of an authority go.
const WELL_KNOWN: &str = "/.well-known/acme-challenge/";

/// How many certificates are asked for at once.
const AT_ONCE: usize = 4;

/// How long an authority may take for a step.
const STEP: Duration = Duration::from_secs(120);

/// The first pause after a failure; each failure doubles it, up to the longest.
const PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// Clocks are set, and machines sleep: it is looked at the time at least this often.
const LOOK: Duration = Duration::from_secs(3600);

/// What an authority wants to see just now.
#[derive(Default)]
pub(crate) struct Challenges {
    count: AtomicUsize,
    /// What is answered to a token.
    plain: RwLock<HashMap<String, String>>,
    /// What is shown for a host.
    shown: RwLock<HashMap<String, Arc<ServerConfig>>>,
}

impl Challenges {
    /// Whether there is any. One load, on the path of every request.
    pub(super) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// The answer to a plain request, if it is an authority's.
    pub(crate) fn answer(&self, path: &str) -> Option<Answer<Bytes>> {
        if !self.any() {
            return None;
        }
        let plain = self.plain.read().unwrap_or_else(PoisonError::into_inner);
        let answer = plain.get(path.strip_prefix(WELL_KNOWN)?)?;
        let mut answer = Answer::new(StatusCode::OK, Bytes::from(answer.clone()));
        answer.fields.add(b"content-type", b"application/octet-stream");
        Some(answer)
    }

    /// What is shown in a handshake, if it is an authority's.
    pub(super) fn config(&self, host: &str) -> Option<Arc<ServerConfig>> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }

    fn set(&self, challenge: site::Challenge, key: &str, value: Option<Shown>) {
        self.count.fetch_add(usize::from(value.is_some()), Ordering::Relaxed);
        let removed = match (challenge, value) {
            (_, Some(Shown::Plain(text))) => {
                self.plain.write().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), text).is_some()
            }
            (_, Some(Shown::Handshake(config))) => {
                self.shown.write().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), config).is_some()
            }
            (site::Challenge::Http01, None) => {
                self.plain.write().unwrap_or_else(PoisonError::into_inner).remove(key).is_some()
            }
            (site::Challenge::TlsAlpn01, None) => {
                self.shown.write().unwrap_or_else(PoisonError::into_inner).remove(key).is_some()
            }
        };
        self.count.fetch_sub(usize::from(removed), Ordering::Relaxed);
    }
}

/// What an authority is to see.
enum Shown {
    Plain(String),
    Handshake(Arc<ServerConfig>),
}

/// A challenge that is met until this is dropped.
struct Met<'a> {
    challenges: &'a Challenges,
    challenge: site::Challenge,
    key: String,
}

impl Drop for Met<'_> {
    fn drop(&mut self) {
        self.challenges.set(self.challenge, &self.key, None);
    }
}

/// Why the start fails: the folder can't be had.
pub(super) fn refused(site: &Site, settings: &Settings) -> Option<Refused> {
    let acme = site.acme?;
    let folder = PathBuf::from(acme.state.get(settings));
    let probe = folder.join(".writable");
    let tried = std::fs::create_dir_all(folder.join("certificates"))
        .and_then(|()| write(&probe, b""))
        .and_then(|()| std::fs::remove_file(&probe));
    let message = |error| format!("can't keep certificates in `{}`: {error}", folder.display());
    tried.err().map(|error| Refused { message: message(error), place: acme.place.clone() })
}

/// The certificate that was got before, if it is still there and good.
pub(super) fn stored(tls: &Tls, site: &Site, settings: &Settings) -> Option<Candidate> {
    let pem = std::fs::read(file(site.acme?, tls, settings)).ok()?;
    server::candidate(&pem, &pem, None).ok()
}

/// Where a certificate and its key are.
fn file(acme: &Acme, tls: &Tls, settings: &Settings) -> PathBuf {
    // Hosts are letters, digits, dots and hyphens.
    Path::new(acme.state.get(settings)).join("certificates").join(format!("{}.pem", tls.name))
}

/// A file for the owner's eyes alone, replaced whole.
fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let _ = std::fs::remove_file(&beside);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

/// Sees to all certificates of the site, for ever.
pub(crate) fn keep_certificates(site: &'static Site, settings: &'static Settings, engine: &'static Engine) {
    let Some(acme) = site.acme else { return };
    let few = std::rc::Rc::new(Semaphore::new(AT_ONCE));
    for (index, tls) in site.tls.iter().enumerate().filter(|(_, tls)| tls.certificates == Certificates::Acme) {
        let few = std::rc::Rc::clone(&few);
        tokio::task::spawn_local(async move {
            let mut failures = 0;
            let dice = Dice::new(index as u64 ^ u64::from(std::process::id()) << 32);
            loop {
                let due = due(acme, tls, settings, &dice);
                let left = due.duration_since(SystemTime::now()).unwrap_or_default();
                if left > Duration::ZERO {
                    tokio::time::sleep(left.min(LOOK)).await;
                    continue;
                }
                let asked = async {
                    let _turn = few.acquire().await;
                    obtain((acme, tls), site, settings, engine).await
                };
                match asked.await {
                    Ok(pem) => {
                        failures = 0;
                        if let Err(reason) = take_up(index, &pem, site, settings, engine) {
                            failures = 1;
                            say(tls, &format!("the certificate that came is no good: {reason}"));
                        }
                    }
                    Err(reason) => {
                        failures += 1;
                        say(tls, &format!("no certificate: {reason}"));
                    }
                }
                if failures > 0 {
                    tokio::time::sleep(pause(failures, &dice)).await;
                }
            }
        });
    }
}

fn say(tls: &Tls, what: &str) {
    notice(&format!("{}:{}: tls of `{}`: {what}", tls.place.file, tls.place.line, tls.name));
}

/// How long to wait after so many failures in a row, give or take a fifth.
fn pause(failures: u32, dice: &Dice) -> Duration {
    let long = PAUSE.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_PAUSE);
    long.mul_f64(0.8 + dice.below(1000) as f64 * 0.0004)
}

/// When a certificate is due: now if there is none, or it is not for all hosts; else when two thirds of its life are over, or up to
/// a twentieth of it earlier, so that proxies that were started together do not ask together.
fn due(acme: &Acme, tls: &Tls, settings: &Settings, dice: &Dice) -> SystemTime {
    let chain = std::fs::read(file(acme, tls, settings)).ok().and_then(|pem| Chain::read(&pem).ok());
    let Some(chain) = chain.filter(|chain| tls.hosts.iter().all(|host| chain.hosts().iter().any(|name| name == host)))
    else {
        return SystemTime::UNIX_EPOCH;
    };
    let (from, until) = chain.validity();
    let life = until.duration_since(from).unwrap_or_default();
    from + life.mul_f64(2.0 / 3.0 - dice.below(1000) as f64 * 0.00005)
}

/// Serves a certificate from now on.
fn take_up(index: usize, pem: &str, site: &Site, settings: &Settings, engine: &Engine) -> Result<(), String> {
    let (tls, acme) = (&site.tls[index], site.acme.ok_or("nobody is asked")?);
    let candidate = server::candidate(pem.as_bytes(), pem.as_bytes(), None).map_err(|flaw| flaw.to_string())?;
    write(&file(acme, tls, settings), pem.as_bytes()).map_err(|error| format!("it can't be kept: {error}"))?;
    let served: Served = server::with(vec![candidate], tls, settings)
        .map_err(|refused| refused.first().map(ToString::to_string).unwrap_or_default())?;
    engine.served[index].store(Arc::new(served));
    let until = Chain::read(pem.as_bytes()).map(|chain| chain.until()).unwrap_or_default();
    say(tls, &format!("a certificate was obtained, good until {until}"));
    Ok(())
}

/// Asks for a certificate: its key, and the chain behind it.
async fn obtain(
    (acme, tls): (&Acme, &Tls),
    site: &Site,
    settings: &Settings,
    engine: &Engine,
) -> Result<String, String> {
    let within = |step: &'static str| move |_| format!("the authority takes too long for {step}");
    let failed = |error: instant_acme::Error| error.to_string();
    let account = tokio::time::timeout(STEP, account(acme, site, settings)).await.map_err(within("the account"))??;
    let identifiers: Vec<Identifier> = tls.hosts.iter().map(|host| Identifier::Dns(host.to_string())).collect();
    let asked = async {
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await.map_err(failed)?;
        let mut met = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(failed)?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let kind = match acme.challenge {
                site::Challenge::Http01 => ChallengeType::Http01,
                site::Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
            };
            let mut challenge = authorization.challenge(kind).ok_or("the authority does not offer the challenge")?;
            let proof = challenge.key_authorization();
            let (key, shown) = match acme.challenge {
                site::Challenge::Http01 => (challenge.token.clone(), Shown::Plain(proof.as_str().to_owned())),
                site::Challenge::TlsAlpn01 => {
                    let host = challenge.identifier().to_string();
                    let config = handshake(&host, proof.digest().as_ref()).map_err(|error| error.to_string())?;
                    (host, Shown::Handshake(config))
                }
            };
            engine.challenges.set(acme.challenge, &key, Some(shown));
            met.push(Met { challenges: &engine.challenges, challenge: acme.challenge, key });
            challenge.set_ready().await.map_err(failed)?;
        }
        let patience = RetryPolicy::new().timeout(STEP);
        if order.poll_ready(&patience).await.map_err(failed)? != OrderStatus::Ready {
            let mut authorizations = order.authorizations();
            while let Some(Ok(authorization)) = authorizations.next().await {
                let problem = authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref());
                if let Some(problem) = problem {
                    return Err(format!("the authority does not believe it: {problem}"));
                }
            }
            return Err("the authority does not believe it".to_owned());
        }
        let key = order.finalize().await.map_err(failed)?;
        let chain = order.poll_certificate(&patience).await.map_err(failed)?;
        Ok(format!("{key}{chain}"))
    };
    tokio::time::timeout(3 * STEP, asked).await.map_err(within("the order"))?
}

/// The account with the authority: the one that was made before, or a new one.
async fn account(acme: &Acme, site: &Site, settings: &Settings) -> Result<Account, String> {
    let path_of = |file: u16| settings.path(&site.files[usize::from(file)]);
    let failed = |error: instant_acme::Error| error.to_string();
    let directory = acme.directory.get(settings);
    let builder = || match acme.ca {
        Some(file) => Account::builder_with_root(path_of(file)).map_err(failed),
        None => Account::builder().map_err(failed),
    };
    // An account is one authority's.
    let name: String = directory.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '-' }).collect();
    let path = Path::new(acme.state.get(settings)).join(format!("account-{name}.json"));
    if let Ok(kept) = std::fs::read(&path) {
        let credentials: AccountCredentials =
            serde_json::from_slice(&kept).map_err(|error| format!("`{}` can't be read: {error}", path.display()))?;
        return builder()?.from_credentials(credentials).await.map_err(failed);
    }
    let external = match &acme.external {
        Some((id, key)) => {
            // The key is given in base64 for URLs (RFC 8555 section 7.3.4).
            let text = String::from_utf8_lossy(&settings.file(*key)).trim().trim_end_matches('=').to_owned();
            let key = data_encoding::BASE64URL_NOPAD.decode(text.as_bytes());
            Some(ExternalAccountKey::new(id.to_string(), &key.map_err(|_| "`eab-key` is no base64 for URLs")?))
        }
        None => None,
    };
    let contact = acme.email.as_ref().map(|email| format!("mailto:{email}"));
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let (account, credentials) =
        builder()?.create(&new, directory.to_owned(), external.as_ref()).await.map_err(failed)?;
    let text = serde_json::to_vec(&credentials).map_err(|error| error.to_string())?;
    write(&path, &text).map_err(|error| format!("the account can't be kept in `{}`: {error}", path.display()))?;
    Ok(account)
}

/// What tls-alpn-01 wants to see (RFC 8737 section 3): a certificate that nobody has signed, with a digest in it.
fn handshake(host: &str, digest: &[u8]) -> Result<Arc<ServerConfig>, Box<dyn std::error::Error>> {
    let mut params = rcgen::CertificateParams::new(vec![host.to_owned()])?;
    params.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(digest)];
    let key = rcgen::KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = aws_lc_rs::sign::any_supported_type(&PrivateKeyDer::Pkcs8(key.serialize_der().into()))?;
    // Not looked at here: the extension is critical, and the library does not know it.
    let certified = CertifiedKey::new(vec![certificate.der().clone()], key);
    let mut config = ServerConfig::builder_with_provider(provider(&[]))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}
