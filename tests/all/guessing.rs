//! Many clients that guess passwords: users with the right password still get in.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kiln_tests::client::Client;
use kiln_tests::kiln::scratch;
use kiln_tests::proxy::Proxy;

const SITE: &str = "\
param listen type=addr
param users type=secret
lint allow password-on-plain
process {
    workers 1
}
log access {
    fields client reason
}
listen (param)listen
site * {
    auth basic (param)users
    respond 200 \"{user}\"
}
";

/// The hash of "secret" by crypt(3), which takes some milliseconds.
const HASH: &str =
    "$6$rounds=10000$abcdefgh$dtkgtX8ow6kub/Iulo6m6YRiWBlfmJEeDmTXbQPwlPu6qBjkZV2Ix8CeH0sE3NMp3Sq63bHshmKLBUGe7mWYy/";

/// `NAME:secret` and `NAME:wrong` in base64, for names of three letters.
fn credentials(name: &str, right: bool) -> String {
    data_encoding::BASE64.encode(format!("{name}:{}", if right { "secret" } else { "wrong" }).as_bytes())
}

fn request(name: &str, right: bool) -> String {
    format!("GET / HTTP/1.1\r\nHost: a.test\r\nAuthorization: Basic {}\r\n\r\n", credentials(name, right))
}

fn proxy(name: &str) -> Proxy {
    let users = scratch(name).join("users");
    let lines: String = (0..9).map(|number| format!("an{number}:{HASH}\n")).collect();
    std::fs::write(&users, lines).expect("written");
    Proxy::of_text(name, SITE, &[("users", users.to_str().expect("a path"))])
}

/// 300 connections guess without a pause, either from one address or each from its own; meanwhile users log in from other addresses
/// for the
/// first time.
#[test]
fn users_get_in_during_attacks() {
    const GUESSERS: usize = 300;
    let proxy = proxy("guessing");
    let address = proxy.address("listen");
    for (case, first_user) in [(false, 0), (true, 3)] {
        let own_address = |number: usize| match case {
            true => format!("127.200.{}.{}", number / 250, 1 + number % 250),
            false => "127.199.0.1".to_owned(),
        };
        let (over, guesses) = (AtomicBool::new(false), AtomicU64::new(0));
        let guess = |number: usize| {
            let mut client = Client::from(&own_address(number), address);
            while !over.load(Ordering::Relaxed) {
                client.send(request("an0", false));
                // Clients that try too many passwords at once get a 503.
                let status = client.answer().status;
                assert!(status == 401 || status == 503, "{status}");
                guesses.fetch_add(1, Ordering::Relaxed);
            }
        };
        std::thread::scope(|scope| {
            for number in 0..GUESSERS {
                scope.spawn(move || guess(number));
            }
            // The attack is under way once each connection has a response; a response waits for those before it.
            while guesses.load(Ordering::Relaxed) < GUESSERS as u64 {
                std::thread::yield_now();
            }
            for user in first_user..first_user + 3 {
                let mut client = Client::from("127.198.0.1", address);
                client.send(request(&format!("an{user}"), true));
                let first = client.answer();
                // The password is cached by now and needs no hashing.
                client.send(request(&format!("an{user}"), true));
                let second = client.answer();
                if (first.status, second.status) != (200, 200) {
                    over.store(true, Ordering::Relaxed);
                }
                assert_eq!((first.status, second.status), (200, 200), "{case}");
            }
            over.store(true, Ordering::Relaxed);
        });
    }
}

/// Clients that disconnect without waiting do not increase the number of concurrent password checks.
#[test]
fn guessers_that_leave() {
    let proxy = proxy("leaving");
    let address = proxy.address("listen");
    let threads = || std::fs::read_dir(format!("/proc/{}/task", proxy.pid())).expect("a process").count();
    let before = threads();
    // The maximum number of concurrent hashes, plus the threads that are about to end.
    let most = 20 + std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    for _ in 0..200 {
        Client::to(address).send(request("an0", false));
        let now = threads();
        assert!(now <= before + most, "{now} threads after {before}");
    }
    let mut client = Client::from("127.198.0.1", address);
    client.send(request("an1", true));
    assert_eq!(client.answer().status, 200);
}
