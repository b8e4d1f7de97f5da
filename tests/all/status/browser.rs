//! Chromium, driven over a pair of pipes (`--remote-debugging-pipe`): opens a page and evaluates expressions in it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use kiln_tests::kiln::scratch;
use kiln_tests::proxy::PATIENCE;
use serde_json::{Value, json};

/// A browser with one page.
pub(super) struct Browser {
    child: Child,
    to: File,
    from: Receiver<Value>,
    number: u64,
    session: Option<String>,
}

impl Browser {
    /// Starts a browser. Returns `None` with a message if none is installed.
    pub(super) fn start(name: &str) -> Option<Browser> {
        let program = ["chromium", "chromium-browser", "google-chrome"]
            .into_iter()
            .find(|name| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success()));
        let Some(program) = program else {
            eprintln!("SKIPPED: no browser is installed (Debian: chromium), so the status page is not looked at");
            return None;
        };
        let dir = scratch(name);
        let (to, from) = (dir.join("to"), dir.join("from"));
        assert!(Command::new("mkfifo").args([&to, &from]).status().expect("mkfifo runs").success());
        // The browser reads commands from descriptor 3, and writes responses to descriptor 4.
        let run = format!(
            "exec {program} --headless --no-sandbox --disable-gpu --remote-debugging-pipe --user-data-dir=\"$0\" about:blank 3<\"$1\" 4>\"$2\""
        );
        let child = Command::new("sh")
            .args(["-c", &run])
            .args([&dir.join("profile"), &to, &from])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the browser runs");
        let to = File::options().write(true).open(to).expect("a pipe");
        let mut messages = BufReader::new(File::open(from).expect("a pipe"));
        let (heard, from) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while messages.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                let said = serde_json::from_slice(message.strip_suffix(&[0]).unwrap_or(&message));
                if heard.send(said.expect("JSON")).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let mut browser = Browser { child, to, from, number: 0, session: None };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached =
            browser.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        Some(browser)
    }

    /// Opens a page in a window of this width.
    pub(super) fn open(&mut self, url: &str, width: u32) {
        let window = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", window);
        self.call("Page.navigate", json!({ "url": url }));
    }

    /// Returns the value of an expression, as text.
    pub(super) fn evaluate(&mut self, expression: &str) -> String {
        let outcome = self.call("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }));
        match &outcome["result"]["value"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// Presses `Tab` or `Enter`.
    pub(super) fn press(&mut self, key: &str) {
        let (number, text) = if key == "Tab" { (9, "") } else { (13, "\r") };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": number, "text": text });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Waits until the page's text, with a blank for all white space, contains all of the texts.
    pub(super) fn wait_for(&mut self, wanted: &[&str]) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let text = self.evaluate("document.body ? document.body.innerText.replace(/\\s+/g, ' ') : ''");
            let missing: Vec<_> = wanted.iter().filter(|wanted| !text.contains(**wanted)).collect();
            if missing.is_empty() {
                return text;
            }
            assert!(Instant::now() < until, "{missing:?} is not in: {text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut command = json!({ "id": self.number, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = session.clone().into();
        }
        self.to.write_all(format!("{command}\0").as_bytes()).expect("sent");
        loop {
            let message = self.from.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{method}: {error}"));
            if message["id"] == self.number {
                assert!(message["error"].is_null(), "{message}");
                return message["result"].clone();
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
