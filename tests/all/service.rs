//! What a service manager is told by `NOTIFY_SOCKET` (sd_notify(3)).

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use kiln_tests::kiln::scratch;
use kiln_tests::proxy::{PATIENCE, Proxy, address, build_text};

/// A service manager, as a process sees it.
pub(crate) struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    pub(crate) fn new(name: &str) -> Manager {
        let path = scratch(name).join("notify.sock");
        let _ = std::fs::remove_file(&path);
        Manager { socket: UnixDatagram::bind(&path).expect("bound"), path }
    }

    /// Lets a command talk to it; it expects to hear from the process at least once in this time.
    pub(crate) fn manages(&self, command: &mut Command, patience: Duration) {
        command.env("NOTIFY_SOCKET", &self.path).env("WATCHDOG_USEC", patience.as_micros().to_string());
    }

    /// Returns the next message; `None` if there is none for this time.
    pub(crate) fn next(&self, patience: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(patience)).expect("a time-out");
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).ok()?;
        Some(String::from_utf8_lossy(&message[..length]).into_owned())
    }

    /// Waits for a message that begins so, and returns it.
    #[track_caller]
    pub(crate) fn expect(&self, begins: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.next(until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))) {
                Some(message) if message.starts_with(begins) => return message,
                Some(_) => {}
                None => panic!("it does not say {begins}"),
            }
        }
    }
}

#[test]
fn what_the_manager_is_told() {
    let site =
        "param listen type=addr\nprocess {\n workers 2\n}\nsite a.test {\n listen (param)listen\n respond 200\n}\n";
    let (manager, listen) = (Manager::new("service"), address());
    let mut command = Command::new(build_text("service", site));
    manager.manages(command.arg(format!("--listen={listen}")), Duration::from_secs(1));
    let mut proxy = Proxy::spawn(command, [("listen".to_owned(), listen)].into());
    assert_eq!(manager.next(PATIENCE).as_deref(), Some("READY=1\n"));
    for _ in 0..3 {
        assert_eq!(manager.next(PATIENCE).as_deref(), Some("WATCHDOG=1\n"));
    }
    proxy.signal("HUP");
    let reloading = manager.expect("RELOADING=1\n");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.expect("READY=1\n");
    manager.expect("WATCHDOG=1\n");
    proxy.signal("TERM");
    manager.expect("STOPPING=1\n");
    assert!(proxy.wait().success());
}

/// A manager that is gone changes nothing.
#[test]
fn a_manager_that_is_gone() {
    let site = "param listen type=addr\nsite a.test {\n listen (param)listen\n respond 200 \"fine\"\n}\n";
    let (manager, listen) = (Manager::new("service-gone"), address());
    let mut command = Command::new(build_text("service-gone", site));
    manager.manages(command.arg(format!("--listen={listen}")), Duration::from_secs(3600));
    drop(manager);
    let mut proxy = Proxy::spawn(command, [("listen".to_owned(), listen.clone())].into());
    proxy.notice("the service manager can't be told: ");
    assert_eq!(kiln_tests::client::get(&listen, "a.test", "/").text(), "fine");
    proxy.signal("TERM");
    assert!(proxy.wait().success());
}
