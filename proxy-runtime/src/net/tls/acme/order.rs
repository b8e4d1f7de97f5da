//! One order (RFC 8555 section 7.4): [`obtain`] requests a certificate, completes the authority's challenges and fetches the certificate.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Identifier, NewOrder, Order, OrderStatus,
    RetryPolicy,
};

use super::account::Accounts;
use super::challenges::{ChallengeGuard, Challenges, Proof, address};
use super::dns01::DnsChallenge;
use super::error::{AcmeError, again};
use crate::context::settings::Settings;
use crate::site::{Acme, Challenge, Text};

/// The time-out for the authority to validate challenges, and again to issue the certificate.
const PATIENCE: Duration = Duration::from_secs(180);

/// The time-out of an order.
const LONGEST: Duration = Duration::from_secs(600);

/// The request of an order, and the means for its challenges.
pub(crate) struct OrderRequest<'a> {
    pub(crate) acme: &'a Acme,
    pub(crate) settings: &'a Settings,
    /// The hosts of the certificate.
    pub(crate) hosts: &'a [Text],
    /// The certificate that it replaces (RFC 9773 section 5).
    pub(crate) replaces: Option<CertificateIdentifier<'static>>,
    pub(crate) challenges: &'a Challenges,
}

/// Orders a certificate; returns its key and chain.
///
/// # Errors
/// The order has failed.
pub(crate) async fn obtain(wanted: &OrderRequest<'_>, accounts: &Accounts) -> Result<String, AcmeError> {
    let mut records = Vec::new();
    let propagation = wanted.acme.dns.iter().map(|provider| provider.propagation.get(wanted.settings)).max();
    let ordered = async {
        let identifiers: Vec<Identifier> = wanted.hosts.iter().map(|host| identifier(host)).collect();
        let mut order = begin(wanted, &identifiers, accounts).await?;
        fetch_authorizations(&mut order).await?;
        let met = meet(wanted, &mut order, &mut records).await?;
        say_so(wanted, &mut order).await?;
        become_ready(&mut order).await?;
        drop(met);
        sign(&mut order, wanted.hosts).await
    };
    let outcome = tokio::time::timeout(LONGEST + propagation.unwrap_or_default(), ordered).await;
    // In any case.
    for record in &records {
        record.cleanup(wanted.settings).await;
    }
    outcome.unwrap_or_else(|_| Err("the authority takes too long".into()))
}

/// Creates an order. An account that the authority does not know, or not any more, is registered again, once.
async fn begin(wanted: &OrderRequest<'_>, identifiers: &[Identifier], accounts: &Accounts) -> Result<Order, AcmeError> {
    let account = accounts.get().await?;
    let refused = match ask_for(wanted, identifiers, &account).await {
        Ok(order) => return Ok(order),
        Err(refused) => refused,
    };
    let unknown = refused.is("accountDoesNotExist")
        // For a deactivated account; but also for hosts that the account may not order.
        || refused.is("unauthorized") && accounts.is_refused(&account).await;
    if !unknown {
        return Err(refused);
    }
    ask_for(wanted, identifiers, &accounts.replace(&account).await?).await
}

async fn ask_for(wanted: &OrderRequest<'_>, identifiers: &[Identifier], account: &Account) -> Result<Order, AcmeError> {
    let new = || {
        let new = NewOrder::new(identifiers);
        wanted.acme.profile.as_deref().into_iter().fold(new, NewOrder::profile)
    };
    if let Some(profile) = wanted.acme.profile.as_deref() {
        // draft-ietf-acme-profiles section 4: a client must not request a profile that is not offered.
        let offered: Vec<_> = account.profiles().map(|offered| offered.name).collect();
        if !offered.contains(&profile) {
            let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
            return Err(format!("the authority has no profile `{profile}`; it offers: {offered}").into());
        }
    }
    if let Some(replaced) = &wanted.replaces {
        let replacing = new().replaces(replaced.clone());
        match again(async || account.new_order(&replacing).await).await {
            // No order was created, possibly because of the other certificate: it was replaced already, or is unknown.
            Err(refused) if ["alreadyReplaced", "malformed", "unauthorized"].iter().any(|name| refused.is(name)) => {}
            outcome => return outcome,
        }
    }
    let new = new();
    again(async || account.new_order(&new).await).await
}

/// Returns the identifier of a host; addresses have no brackets (RFC 8738 section 3).
fn identifier(host: &str) -> Identifier {
    match address(host) {
        Some(address) => Identifier::Ip(address),
        None => Identifier::Dns(host.to_owned()),
    }
}

/// Returns the challenge for a host, by its authorization, which must be for a host of the order.
fn challenge(wanted: &OrderRequest<'_>, host: &str) -> Result<Challenge, AcmeError> {
    if !wanted.hosts.iter().any(|one| **one == *host || address(host).is_some_and(|ip| address(one) == Some(ip))) {
        return Err(AcmeError::from("the authority asks for a host that it was not asked for").about(host));
    }
    Ok(match host {
        _ if host.starts_with("*.") => Challenge::Dns01,
        _ if address(host).is_some() => wanted.acme.address_challenge,
        _ => wanted.acme.challenge,
    })
}

fn kind(challenge: Challenge) -> ChallengeType {
    match challenge {
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        Challenge::Dns01 => ChallengeType::Dns01,
    }
}

/// Responds to all challenges. Records must be removed later: they are added to the list before they are set.
async fn meet<'a>(
    wanted: &OrderRequest<'a>,
    order: &mut Order,
    records: &mut Vec<DnsChallenge<'a>>,
) -> Result<Vec<ChallengeGuard<'a>>, AcmeError> {
    let mut met = Vec::new();
    let mut propagation = Duration::ZERO;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let host = authorization.identifier().to_string();
        let chosen = challenge(wanted, &host)?;
        let Some(challenge) = authorization.challenge(kind(chosen)) else {
            return Err(AcmeError::from("the authority does not offer the challenge").about(&host));
        };
        let proof = challenge.key_authorization();
        let digest = proof.digest();
        match chosen {
            Challenge::Http01 => {
                met.push(wanted.challenges.meet(Proof::Plain { token: &challenge.token, text: proof.as_str() })?);
            }
            Challenge::TlsAlpn01 => {
                met.push(wanted.challenges.meet(Proof::Handshake { host: &host, digest: digest.as_ref() })?);
            }
            Challenge::Dns01 => {
                let name = host.strip_prefix("*.").unwrap_or(&host);
                let provider = wanted.acme.dns_provider(name).ok_or_else(|| format!("no `dns` is for `{name}`"))?;
                let record = DnsChallenge::new(provider, name, proof.dns_value());
                propagation = propagation.max(record.propagation(wanted.settings));
                records.push(record);
                records[records.len() - 1].present(wanted.settings).await?;
            }
        }
    }
    tokio::time::sleep(propagation).await;
    Ok(met)
}

/// Tells the authority that the challenges are ready.
async fn say_so(wanted: &OrderRequest<'_>, order: &mut Order) -> Result<(), AcmeError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let host = authorization.identifier().to_string();
        let chosen = challenge(wanted, &host)?;
        if let Some(mut challenge) = authorization.challenge(kind(chosen)) {
            again(async || challenge.set_ready().await).await.map_err(|error| error.about(&host))?;
        }
    }
    Ok(())
}

/// Fetches all authorizations, so that looking at them needs no further request.
async fn fetch_authorizations(order: &mut Order) -> Result<(), AcmeError> {
    again(async || {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            authorization?;
        }
        Ok(())
    })
    .await
}

/// Waits until the authority has validated the challenges.
async fn become_ready(order: &mut Order) -> Result<(), AcmeError> {
    let waited = again(async || order.poll_ready(&patience()).await).await;
    match waited {
        Ok(OrderStatus::Ready) => return Ok(()),
        // The order's own error; those of the challenges are more precise.
        Err(error) if !error.is_refusal() || error.is("accountDoesNotExist") => return Err(error),
        _ => {}
    }
    let mut reasons = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let _ = again(async || authorization.refresh().await.map(|_| ())).await;
        let host = authorization.identifier().to_string();
        for problem in authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref()) {
            reasons.push(AcmeError::refused(problem, None).about(&host).to_string());
        }
    }
    if reasons.is_empty() {
        return Err(waited.err().unwrap_or_else(|| "the authority could not verify it".into()));
    }
    Err(AcmeError::from(reasons.join("; ")).about("the authority could not verify it"))
}

/// Requests a certificate for a new key. Returns the key and the chain.
async fn sign(order: &mut Order, hosts: &[Text]) -> Result<String, AcmeError> {
    let flaw = |error: rcgen::Error| AcmeError::from(error.to_string());
    // Certificates contain addresses without brackets.
    let hosts: Vec<String> = hosts.iter().map(|host| host.trim_matches(['[', ']']).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(hosts).map_err(flaw)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let key = rcgen::KeyPair::generate().map_err(flaw)?;
    let request = params.serialize_request(&key).map_err(flaw)?;
    again(async || order.finalize_csr(request.der()).await).await?;
    let chain = again(async || order.poll_certificate(&patience()).await).await?;
    Ok(format!("{}{chain}", key.serialize_pem()))
}

/// Returns the intervals at which an order is polled: short at first, then a fifth of the time so far; or as the
/// authority says.
fn patience() -> RetryPolicy {
    RetryPolicy::new().initial_delay(Duration::from_millis(250)).backoff(1.2).timeout(PATIENCE)
}
