//! `ctl`: the command line for operators, in the binary itself. A client of `admin`, whose address comes from the site ([`run`]).

mod arguments;
mod client;
mod show;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use serde_json::Value;
use tokio::runtime::{Builder, LocalOptions};

pub(crate) use self::arguments::{Ctl, parse};
use self::arguments::{CtlCommand, HELP};
use self::client::AdminClient;
use crate::site::Site;

/// The largest response that is shown, in bytes, apart from streamed ones.
const LARGEST: usize = 256 << 20;

/// The time-out of a response's head, and of its body unless that is streamed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Carries out the command. Exit codes: 0 success, 1 it failed or is not ready, 2 wrong usage.
pub(crate) fn run(site: &'static Site, ctl: &Ctl) -> ExitCode {
    if ctl.action == CtlCommand::Help {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let client = match AdminClient::new(site, ctl) {
        Ok(client) => client,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::from(2);
        }
    };
    let done = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    match done.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(act(&client, ctl))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Sends the request of the command, and shows the response. Returns whether that is a success.
async fn act(client: &AdminClient, ctl: &Ctl) -> Result<bool, String> {
    match &ctl.action {
        CtlCommand::Help => Ok(true),
        CtlCommand::Status => status(client, ctl.json).await,
        CtlCommand::Ready => {
            let (status, body) = whole(client, get("/readyz")).await?;
            if ctl.json {
                let (ready, why) = (status.is_success(), text(&body));
                return print(format!("{}\n", serde_json::json!({ "ready": ready, "says": why.trim_end() })))
                    .map(|()| ready);
            }
            print(text(&body)).map(|()| status.is_success())
        }
        CtlCommand::Servers => shown(client, get("/servers"), ctl.json, show::servers).await,
        CtlCommand::Server { path, change } => shown(client, post(path, change.clone()), ctl.json, show::servers).await,
        CtlCommand::Drain => shown(client, post("/drain", String::new()), ctl.json, Value::to_string).await,
        CtlCommand::Purge { host, path, soft } => {
            let mut request = get(path);
            *request.method_mut() = Method::from_bytes(b"PURGE").map_err(|error| error.to_string())?;
            let host = HeaderValue::from_str(host).map_err(|error| error.to_string())?;
            request.headers_mut().insert(header::HOST, host);
            if *soft {
                request.headers_mut().insert("purge-mode", HeaderValue::from_static("soft"));
            }
            shown(client, request, ctl.json, show::purged).await
        }
        CtlCommand::Metrics => streamed(client, get("/metrics")).await,
        CtlCommand::Tap(path) => streamed(client, get(path)).await,
        CtlCommand::LogLevel(path) => shown(client, post(path, String::new()), ctl.json, Value::to_string).await,
    }
}

/// Shows whether the proxy is ready, and the parts of `admin` that the site has.
async fn status(client: &AdminClient, json: bool) -> Result<bool, String> {
    let (ready, says) = whole(client, get("/readyz")).await?;
    let mut all = serde_json::Map::new();
    all.insert("ready".to_owned(), ready.is_success().into());
    all.insert("says".to_owned(), text(&says).trim_end().into());
    for part in ["servers", "stores"] {
        match whole(client, get(&format!("/{part}"))).await? {
            (StatusCode::OK, body) => drop(all.insert(part.to_owned(), parsed(&body)?)),
            // The site does not have this part.
            (StatusCode::FORBIDDEN, _) => {}
            (_, body) => return Err(text(&body).trim_end().to_owned()),
        }
    }
    let all = Value::Object(all);
    print(if json { format!("{all}\n") } else { show::status(&all) }).map(|()| ready.is_success())
}

/// Shows the response to a request: unchanged, or its JSON for people.
async fn shown(
    client: &AdminClient,
    request: Request<Full<Bytes>>,
    json: bool,
    show: fn(&Value) -> String,
) -> Result<bool, String> {
    let (status, body) = whole(client, request).await?;
    if !status.is_success() {
        return Err(text(&body).trim_end().to_owned());
    }
    let parsed = if json { None } else { parsed(&body).ok() };
    print(parsed.map_or_else(|| text(&body), |value| show(&value))).map(|()| true)
}

/// Shows a response as it arrives, until it ends.
async fn streamed(client: &AdminClient, request: Request<Full<Bytes>>) -> Result<bool, String> {
    let response = client.send(request).await?;
    if !response.status().is_success() {
        let body = collected(response.into_body()).await?;
        return Err(text(&body).trim_end().to_owned());
    }
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("the response ends before its end: {error}"))?;
        if let Some(data) = frame.data_ref()
            && print(text(data)).is_err()
        {
            // The reader of standard output is gone.
            break;
        }
    }
    Ok(true)
}

async fn whole(client: &AdminClient, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String> {
    let response = client.send(request).await?;
    Ok((response.status(), collected(response.into_body()).await?))
}

async fn collected(body: Incoming) -> Result<Bytes, String> {
    let collected = tokio::time::timeout(PATIENCE, Limited::new(body, LARGEST).collect()).await;
    let collected = collected.map_err(|_| format!("the response does not end within {PATIENCE:?}"))?;
    Ok(collected.map_err(|error| format!("the response is not complete: {error}"))?.to_bytes())
}

fn get(path: &str) -> Request<Full<Bytes>> {
    request(Method::GET, path, String::new())
}

fn post(path: &str, form: String) -> Request<Full<Bytes>> {
    request(Method::POST, path, form)
}

fn request(method: Method, path: &str, body: String) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method;
    // An invalid path was refused with the arguments.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request
}

fn parsed(body: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(body).map_err(|error| format!("the response is not JSON: {error}"))
}

fn text(body: &[u8]) -> String {
    body.utf8_chunks().flat_map(|chunk| [chunk.valid(), if chunk.invalid().is_empty() { "" } else { "?" }]).collect()
}

/// Writes to standard output; a terminal gets no control characters, which clients may have sent to the proxy.
fn print(text: String) -> Result<(), String> {
    let mut out = io::stdout().lock();
    let text = match out.is_terminal() {
        true => text.replace(|char: char| char.is_control() && char != '\n' && char != '\t', "?"),
        false => text,
    };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| format!("standard output: {error}"))
}
