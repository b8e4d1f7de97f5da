//! Keeps the certificates of a site up to date ([`keep_certificates`]): one task for each.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use instant_acme::CertificateIdentifier;
use tokio::sync::Semaphore;

use super::acme::account::Accounts;
use super::acme::ari::{self, RenewalInfo};
use super::acme::challenges::address;
use super::acme::error::AcmeError;
use super::acme::order::{self, OrderRequest};
use super::acme::schedule::{self, Now, Schedule, Window};
use super::acme::store::{self, StateFolder};
use super::engine::Engine;
use super::server::{self, TlsConfigs};
use crate::context::settings::Settings;
use crate::dice::Dice;
use crate::net::certificate::Chain;
use crate::observe::notice;
use crate::site::{Acme, Certificates, Site, Tls};

/// The most certificates that are ordered at a time.
const AT_ONCE: usize = 4;

/// The longest sleep, as clocks are set, and machines are suspended.
const LOOK: Duration = Duration::from_secs(3600);

/// The time-out for renewal information from an authority.
const ASKING: Duration = Duration::from_secs(60);

/// The first pause before another attempt to write a certificate; it doubles each time, up to the longest.
const WRITE_AGAIN: Duration = Duration::from_secs(2);

const WRITE_AGAIN_AT_MOST: Duration = Duration::from_secs(300);

/// Keeps all certificates of the site up to date for as long as the process runs.
pub(crate) fn keep_certificates(site: &'static Site, settings: &'static Settings, engine: &'static Engine) {
    let Some(acme) = site.acme else { return };
    let few = Rc::new(Semaphore::new(AT_ONCE));
    let accounts = Rc::new(Accounts::new(acme, settings));
    for (index, tls) in site.tls.iter().enumerate().filter(|(_, tls)| tls.certificates == Certificates::Acme) {
        let keeper = CertificateKeeper::new((index, tls), acme, settings, engine);
        let (few, accounts) = (Rc::clone(&few), Rc::clone(&accounts));
        tokio::task::spawn_local(async move { keeper.run(&few, &accounts).await });
    }
}

/// Keeps one certificate up to date.
struct CertificateKeeper {
    index: usize,
    tls: &'static Tls,
    acme: &'static Acme,
    settings: &'static Settings,
    engine: &'static Engine,
    folder: StateFolder,
    dice: Dice,
    schedule: Schedule,
    /// The current certificate; `None` if it does not cover all hosts.
    current: Option<CurrentCertificate>,
    /// The position of a renewal within its window, from 0 to 1; random for each certificate.
    luck: f64,
    unwritten: Option<UnwrittenCertificate>,
}

/// The certificate that is served.
struct CurrentCertificate {
    validity: (SystemTime, SystemTime),
    /// Its identifier for the authority.
    id: Option<CertificateIdentifier<'static>>,
    /// The renewal window that the authority suggests.
    window: Option<Window>,
    /// When the authority is asked for that, and how often that has failed.
    ask: Instant,
    unanswered: u32,
}

impl CurrentCertificate {
    fn new(chain: &Chain) -> CurrentCertificate {
        let (validity, id) = (chain.validity(), ari::identifier(chain));
        CurrentCertificate { validity, id, window: None, ask: Instant::now(), unanswered: 0 }
    }
}

/// A certificate that is only in memory, because it could not be written.
struct UnwrittenCertificate {
    pem: String,
    again: Instant,
    wait: Duration,
}

impl CertificateKeeper {
    fn new(
        (index, tls): (usize, &'static Tls),
        acme: &'static Acme,
        settings: &'static Settings,
        engine: &'static Engine,
    ) -> CertificateKeeper {
        let folder = StateFolder::new(acme.state.get(settings));
        let dice = Dice::new(index as u64 ^ u64::from(std::process::id()) << 32);
        // A certificate that can't be served counts as missing.
        let usable = |pem: &Vec<u8>| server::candidate(pem, pem, None).is_ok();
        let pem = std::fs::read(folder.certificate(&tls.name)).ok().filter(usable);
        let chain = pem.and_then(|pem| Chain::read(&pem).ok());
        let now = Now::read();
        let schedule = Schedule::restored(folder.pause(&tls.name), now);
        let mut keeper = CertificateKeeper {
            index,
            tls,
            acme,
            settings,
            engine,
            folder,
            dice,
            schedule,
            current: None,
            luck: 0.0,
            unwritten: None,
        };
        keeper.luck = keeper.throw();
        keeper.current =
            chain.filter(|chain| keeper.is_for_all_hosts(chain)).map(|chain| CurrentCertificate::new(&chain));
        let pause = keeper.schedule.pause(now);
        if pause > Duration::ZERO {
            keeper.say(&format!(
                "the next order is in {}s, after {} failed ones",
                pause.as_secs(),
                keeper.schedule.failures()
            ));
        }
        keeper
    }

    async fn run(mut self, few: &Semaphore, accounts: &Accounts) {
        loop {
            self.write();
            let mut now = Now::read();
            if self.ask_at().is_some_and(|ask| ask <= now.monotonic) {
                let Ok(_turn) = few.acquire().await else { return };
                self.ask(accounts).await;
                now = Now::read();
            }
            let wait = self.schedule.wait(self.due(), now);
            if wait == Duration::ZERO {
                let Ok(_turn) = few.acquire().await else { return };
                self.order(accounts).await;
                continue;
            }
            let write = self.unwritten.as_ref().map(|unwritten| unwritten.again);
            let other = [write, self.ask_at()].into_iter().flatten();
            let other = other.map(|when| when.saturating_duration_since(now.monotonic));
            tokio::time::sleep(other.fold(wait.min(LOOK), Duration::min)).await;
        }
    }

    /// Returns when the next certificate must be ordered: now if there is none.
    fn due(&self) -> SystemTime {
        self.current
            .as_ref()
            .map_or(SystemTime::UNIX_EPOCH, |current| schedule::renewal(current.validity, current.window, self.luck))
    }

    /// Returns when the authority is asked for renewal information.
    fn ask_at(&self) -> Option<Instant> {
        self.current.as_ref().filter(|current| current.id.is_some()).map(|current| current.ask)
    }

    /// Asks for renewal information. If that fails, the previous one is used.
    async fn ask(&mut self, accounts: &Accounts) {
        let luck = self.throw();
        let Some(CurrentCertificate { id: Some(id), .. }) = &self.current else { return };
        let asked = async { ari::ask(&accounts.get().await?, id).await };
        let asked = tokio::time::timeout(ASKING, asked).await.unwrap_or_else(|_| Err("it takes too long".into()));
        let Some(current) = &mut self.current else { return };
        let mut explained = None;
        let wait = match asked {
            Ok(Some(RenewalInfo { window, explanation, ask_again })) => {
                explained = explanation.filter(|_| current.window != Some(window));
                (current.window, current.unanswered) = (Some(window), 0);
                ask_again
            }
            Ok(None) => schedule::ask_again(Duration::MAX),
            Err(error) => {
                current.unanswered = current.unanswered.saturating_add(1);
                schedule::pause(current.unanswered, luck).max(error.retry_after.unwrap_or_default())
            }
        };
        current.ask = Instant::now() + wait;
        if let Some(explanation) = explained {
            self.say(&format!("the authority says when to renew the certificate, and why: {explanation}"));
        }
    }

    async fn order(&mut self, accounts: &Accounts) {
        let luck = self.throw();
        let pause = self.schedule.began(Now::read(), luck);
        self.keep_pause(Some(pause));
        // After a failure, the order does not name the certificate that it replaces, because authorities differ about
        // that.
        let known = self.current.as_ref().filter(|current| current.window.is_some() && self.schedule.failures() == 1);
        let wanted = OrderRequest {
            replaces: known.and_then(|current| current.id.clone()),
            acme: self.acme,
            settings: self.settings,
            hosts: &self.tls.hosts,
            challenges: &self.engine.challenges,
        };
        let obtained = order::obtain(&wanted, accounts).await;
        match obtained.and_then(|pem| self.serve(pem)) {
            Ok(good_until) => {
                let validity = self.current.as_ref().map(|current| current.validity);
                let life = validity.and_then(|(from, until)| until.duration_since(from).ok()).unwrap_or_default();
                let pause = self.schedule.succeeded(life, self.due(), Now::read(), luck);
                // Until it is written, a new process would order another one.
                if pause.is_some() || self.unwritten.is_none() {
                    self.keep_pause(pause);
                }
                // Logged at the end, because the reader may stop the process.
                self.say(&format!("a certificate was obtained, valid until {good_until}"));
            }
            Err(error) => {
                let pause = self.schedule.failed(error.retry_after, Now::read(), luck);
                self.keep_pause(Some(pause));
                self.say(&format!("no certificate: {error}; the next order is in {}s", pause.wait));
            }
        }
    }

    /// Serves a certificate from now on, and writes it, now or later. Returns the end of its validity.
    fn serve(&mut self, pem: String) -> Result<String, AcmeError> {
        let flaw = |flaw: String| AcmeError::from(flaw).about("the new certificate can't be used");
        let chain = Chain::read(pem.as_bytes()).map_err(|error| flaw(error.to_string()))?;
        if !self.is_for_all_hosts(&chain) {
            return Err(flaw(format!("it is for {}", chain.hosts().join(" "))));
        }
        let candidate =
            server::candidate(pem.as_bytes(), pem.as_bytes(), None).map_err(|error| flaw(error.to_string()))?;
        let served: TlsConfigs = server::with(vec![candidate], self.tls, self.settings, &self.engine.tickets)
            .map_err(|refused| flaw(refused.first().map(ToString::to_string).unwrap_or_default()))?;
        self.engine.served[self.index].store(Arc::new(served));
        self.current = Some(CurrentCertificate::new(&chain));
        self.luck = self.throw();
        self.unwritten = Some(UnwrittenCertificate { pem, again: Instant::now(), wait: Duration::ZERO });
        self.write();
        Ok(chain.until())
    }

    /// Writes a pending certificate, if the next attempt is due.
    fn write(&mut self) {
        let Some(unwritten) = &mut self.unwritten else { return };
        if Instant::now() < unwritten.again {
            return;
        }
        let path = self.folder.certificate(&self.tls.name);
        let first = unwritten.wait == Duration::ZERO;
        match store::write(&path, unwritten.pem.as_bytes()) {
            Ok(()) => {
                self.unwritten = None;
                if !first {
                    if self.schedule.is_settled() {
                        self.keep_pause(None);
                    }
                    self.say("the certificate has been written");
                }
            }
            Err(error) => {
                unwritten.wait = (unwritten.wait * 2).clamp(WRITE_AGAIN, WRITE_AGAIN_AT_MOST);
                unwritten.again = Instant::now() + unwritten.wait;
                if first {
                    let path = path.display();
                    self.say(&format!(
                        "the certificate can't be written to `{path}`, and is served from memory: {error}"
                    ));
                }
            }
        }
    }

    /// Saves a pause. One that can't be written applies as long as the process runs; the write error is logged for the certificate.
    fn keep_pause(&self, pause: Option<schedule::Pause>) {
        let _ = self.folder.keep_pause(&self.tls.name, pause);
    }

    fn is_for_all_hosts(&self, chain: &Chain) -> bool {
        let names = chain.hosts();
        let is = |host: &str, name: &str| name == host || address(host).is_some_and(|ip| address(name) == Some(ip));
        self.tls.hosts.iter().all(|host| names.iter().any(|name| is(host, name)))
    }

    /// Returns a random number from 0 to 1.
    fn throw(&self) -> f64 {
        self.dice.below(1000) as f64 / 1000.0
    }

    #[track_caller]
    fn say(&self, what: &str) {
        notice(&format!("{}:{}: tls of `{}`: {what}", self.tls.place.file, self.tls.place.line, self.tls.name));
    }
}
