//! `health-check`: checks the health of every server at intervals. One task per server, on the main thread; workers
//! read the result in [`Health`](super::health::Health).

mod http2;
mod verdict;

use std::time::Duration;

use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use self::verdict::{MAX_ANSWER, verdict};
use super::connect::{Dialler, why};
use super::proxy_protocol::announce_own;
use super::server::{ServerState, TargetAddress};
use super::state::UpstreamState;
use crate::balance::Dice;
use crate::context::settings::Settings;
use crate::http1::HeadReader;
use crate::net::stream::BufferedStream;
use crate::site::HealthCheck;

/// The shortest interval, whatever a parameter says: the main thread has other work.
const SHORTEST: Duration = Duration::from_millis(10);

/// The longest interval.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How soon a name that does not resolve is tried again.
const UNRESOLVED: Duration = Duration::from_millis(100);

/// Checks a server for as long as the process runs. Returns at once without `health-check`.
pub(crate) async fn keep_checking(
    upstream: &'static UpstreamState,
    server: &'static ServerState,
    settings: &'static Settings,
    dialler: Dialler,
) {
    let Some(check) = &upstream.config.health_check else { return };
    let interval = check.interval.get(settings).clamp(SHORTEST, LONGEST);
    let timeout = check.timeout.get(settings).min(LONGEST);
    // Random start times, so that neither all servers nor one server by all proxies are checked at the same moment.
    let dice = Dice::new(server.index as u64 ^ upstream.time(Instant::now()) ^ u64::from(std::process::id()) << 32);
    loop {
        let began = Instant::now();
        let generation = server.generation();
        if !server.resolved() {
            // Unresolved servers receive no requests anyway. A discovery slot may stay empty for long; a name is still
            // being resolved, mostly at start.
            let is_name = matches!(server.target, TargetAddress::Name(_));
            tokio::time::sleep(if is_name { interval.min(UNRESOLVED) } else { interval }).await;
            continue;
        }
        let found = match tokio::time::timeout(timeout, ask(upstream, check, server, dialler, timeout)).await {
            Ok(found) => found,
            Err(_) => Err(format!("no response within {timeout:?}")),
        };
        let now = upstream.time(Instant::now());
        if server.generation() == generation && server.health.checked(found.is_ok(), (check.rise, check.fall), now) {
            match found {
                Ok(()) => {
                    upstream.info(&format!("server {} is healthy again", server.name()));
                    upstream.wake();
                }
                Err(reason) => upstream.notice(&format!("server {} is unhealthy: {reason}", server.name())),
            }
        }
        let tenth = u64::try_from(interval.as_micros() / 10).unwrap_or(u64::MAX) as usize;
        let jitter = Duration::from_micros(dice.below(2 * tenth.min(1 << 40) + 1) as u64);
        tokio::time::sleep_until(began + interval.mul_f64(0.9) + jitter).await;
    }
}

/// Performs one check; the error says why the server is unhealthy.
async fn ask(
    upstream: &UpstreamState,
    check: &HealthCheck,
    server: &ServerState,
    dialler: Dialler,
    patience: Duration,
) -> Result<(), String> {
    let mut introduction = Vec::new();
    if let Some(version) = upstream.config.proxy_protocol {
        announce_own(version, &mut introduction);
    }
    let link = dialler.probe(upstream, server, check.port.map(|port| port as u16), &introduction, patience).await;
    let link = link.map_err(why)?;
    if upstream.config.tls.is_some() {
        introduction.clear();
    }
    if upstream.config.http2 {
        return http2::talk(upstream, check, server, link).await;
    }
    talk(check, server, link, introduction).await
}

/// Sends the request and evaluates the response; `head` is sent before the request.
async fn talk(
    check: &HealthCheck,
    server: &ServerState,
    mut stream: BufferedStream,
    mut head: Vec<u8>,
) -> Result<(), String> {
    let Some(path) = &check.path else { return Ok(()) };
    let host = check.host.as_deref().unwrap_or(server.host());
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: kiln-health-check\r\naccept: */*\r\nconnection: close\r\n\r\n"
    );
    head.extend_from_slice(request.as_bytes());
    stream.write_all(&head).await.map_err(|error| error.to_string())?;
    stream.flush().await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    loop {
        if let Some(verdict) = judge(check, &answer, false) {
            return verdict;
        }
        let read = (&mut stream).take(MAX_ANSWER - answer.len() as u64).read_buf(&mut answer).await;
        if read.map_err(|error| error.to_string())? == 0 {
            return judge(check, &answer, true).unwrap_or_else(|| Err("the response is incomplete".to_owned()));
        }
    }
}

/// Evaluates the received part of a response; `None` if more is needed. `ended`: the response has ended.
fn judge(check: &HealthCheck, answer: &[u8], ended: bool) -> Option<Result<(), String>> {
    let mut answer = answer;
    let head = loop {
        match HeadReader::default().answer(answer, &Method::GET) {
            // RFC 9110 section 15.2: others may come before the final one.
            Ok(Some(head)) if head.is_interim() => answer = answer.get(head.size..).unwrap_or_default(),
            Ok(Some(head)) => break head,
            Ok(None) => return None,
            Err(_) => return Some(Err("it is not a valid response".to_owned())),
        }
    };
    let found = verdict(check, head.start.as_u16(), answer.get(head.size..).unwrap_or_default());
    let text = check.body.as_deref().unwrap_or_default();
    found.or_else(|| ended.then(|| Err(format!("`{text}` is not in its response"))))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::site::Setting;

    #[track_caller]
    fn check(answer: &str, body: Option<&'static str>, expected: Option<Result<(), &str>>) {
        let duration = Setting::Fixed(Duration::from_secs(1));
        let check = HealthCheck {
            path: Some("/".into()),
            grpc: None,
            host: None,
            port: None,
            interval: duration,
            timeout: duration,
            rise: 1,
            fall: 1,
            statuses: Cow::Borrowed(&[(200, 299), (401, 401)]),
            body: body.map(Into::into),
        };
        let found = judge(&check, answer.as_bytes(), answer.contains("END"));
        assert_eq!(found, expected.map(|verdict| verdict.map_err(str::to_owned)), "{answer}");
    }

    #[test]
    fn verdicts() {
        check("HTTP/1.1 200 OK\r\n", None, None);
        check("HTTP/1.1 200 OK\r\n\r\n", None, Some(Ok(())));
        check("HTTP/1.1 103 Early Hints\r\n\r\n", None, None);
        check(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\na: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            None,
            Some(Ok(())),
        );
        check("HTTP/1.1 101 Switching Protocols\r\n\r\n", None, Some(Err("it answers 101")));
        check("HTTP/1.1 401 No\r\nx: y\r\n\r\n", None, Some(Ok(())));
        check("HTTP/1.1 503 No\r\n\r\n", None, Some(Err("it answers 503")));
        check("SSH-2.0\r\n", None, Some(Err("it is not a valid response")));
        check("HTTP/1.1 200 OK\r\n\r\nall is", Some("fine"), None);
        check("HTTP/1.1 200 OK\r\n\r\nall is fine", Some("fine"), Some(Ok(())));
        check("HTTP/1.1 200 OK\r\n\r\nEND", Some("fine"), Some(Err("`fine` is not in its response")));
    }
}
