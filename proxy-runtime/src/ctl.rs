//! `ctl`: the command line for operators, in the binary itself. A client of `admin`, whose address comes from the site ([`run`]).

mod arguments;
mod client;

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::runtime::{Builder, LocalOptions};

pub(crate) use self::arguments::{Ctl, parse};
use self::arguments::{CtlCommand, HELP};
use self::client::{AdminClient, AdminRequest};
use crate::body::own::OwnResponse;
use crate::site::Site;

/// The largest response that is shown, in bytes, apart from streamed ones.
const LARGEST: usize = 256 << 20;

/// The host of requests that are about none: whatever the endpoint's address is, it accepts it.
const HOST: &str = "localhost";

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
    // `admin` writes tables for people, and JSON for everything else.
    let accept = [("accept", if ctl.json { "*/*" } else { "text/plain" })];
    let get = |path| get(path, &accept);
    let post = |path, form| AdminRequest { method: &Method::POST, form, ..get(path) };
    match &ctl.action {
        CtlCommand::Help => Ok(true),
        CtlCommand::Status => status(client, &accept, ctl.json).await,
        CtlCommand::Ready => {
            let (status, says) = whole(client, &get("/readyz")).await?;
            let ready = status.is_success();
            print(&if ctl.json { format!("{{{}}}\n", readiness(ready, &says)) } else { says }).map(|()| ready)
        }
        CtlCommand::Servers => shown(client, &get("/servers")).await,
        CtlCommand::Server { path, change } => shown(client, &post(path, change)).await,
        CtlCommand::Drain => shown(client, &post("/drain", "")).await,
        CtlCommand::Purge { host, path, soft } => {
            let method = Method::from_bytes(b"PURGE").map_err(|error| error.to_string())?;
            let softly = [accept[0], ("purge-mode", "soft")];
            let fields = if *soft { &softly[..] } else { &accept };
            shown(client, &AdminRequest { method: &method, host, fields, ..get(path) }).await
        }
        CtlCommand::Metrics => streamed(client, &get("/metrics")).await,
        CtlCommand::Tap(path) => streamed(client, &get(path)).await,
        CtlCommand::LogLevel(path) => shown(client, &post(path, "")).await,
    }
}

/// Shows whether the proxy is ready, and the parts of `admin` that the site has.
async fn status(client: &AdminClient, fields: &[(&'static str, &str)], json: bool) -> Result<bool, String> {
    let (ready, says) = whole(client, &get("/readyz", fields)).await?;
    let ready = ready.is_success();
    let mut all = if json { format!("{{{}", readiness(ready, &says)) } else { says };
    for (part, path) in [("servers", "/servers"), ("stores", "/stores")] {
        match whole(client, &get(path, fields)).await? {
            (StatusCode::OK, body) if json => all.extend([",\"", part, "\":", body.trim_end()]),
            // A table has a line of heads.
            (StatusCode::OK, body) if body.lines().nth(1).is_some() => all.extend(["\n", &body]),
            // The site has none of these, or not this part.
            (StatusCode::OK | StatusCode::FORBIDDEN, _) => {}
            (_, body) => return Err(body.trim_end().to_owned()),
        }
    }
    print(&if json { all + "}\n" } else { all }).map(|()| ready)
}

fn get<'r>(path: &'r str, fields: &'r [(&'static str, &'r str)]) -> AdminRequest<'r> {
    AdminRequest { method: &Method::GET, path, host: HOST, fields, form: "" }
}

/// Returns whether the proxy is ready and what it says about it, as members of a JSON object.
fn readiness(ready: bool, says: &str) -> String {
    format!("\"ready\":{ready},\"says\":{}", serde_json::to_string(says.trim_end()).unwrap_or_default())
}

/// Shows the response to a request.
async fn shown(client: &AdminClient, request: &AdminRequest<'_>) -> Result<bool, String> {
    let (status, body) = whole(client, request).await?;
    if status.is_success() { print(&body).map(|()| true) } else { Err(body.trim_end().to_owned()) }
}

/// Shows a response as it arrives, until it ends.
async fn streamed(client: &AdminClient, request: &AdminRequest<'_>) -> Result<bool, String> {
    let mut response = client.send(request).await?;
    if !response.head.start.is_success() {
        return Err(rest(&mut response).await?.trim_end().to_owned());
    }
    // The reader of standard output may go away.
    let mut printed = Ok(());
    while printed.is_ok() && response.piece(|data| printed = print(&text(data))).await? {}
    Ok(true)
}

async fn whole(client: &AdminClient, request: &AdminRequest<'_>) -> Result<(StatusCode, String), String> {
    let mut response = client.send(request).await?;
    Ok((response.head.start, rest(&mut response).await?))
}

/// Returns the body of a response.
async fn rest(response: &mut OwnResponse) -> Result<String, String> {
    match tokio::time::timeout(PATIENCE, response.whole(LARGEST)).await {
        Ok(body) => Ok(text(&body?)),
        Err(_) => Err(format!("the response does not end within {PATIENCE:?}")),
    }
}

fn text(body: &[u8]) -> String {
    body.utf8_chunks().flat_map(|chunk| [chunk.valid(), if chunk.invalid().is_empty() { "" } else { "?" }]).collect()
}

/// Writes to standard output; a terminal gets no control characters, which clients may have sent to the proxy.
fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    let text = match out.is_terminal() {
        true => text.replace(|char: char| char.is_control() && char != '\n' && char != '\t', "?").into(),
        false => Cow::Borrowed(text),
    };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| format!("standard output: {error}"))
}
