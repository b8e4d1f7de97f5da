//! Whether a socket has an address of the site ([`is_local`]).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{SockRef, Type};

use super::bind_socket;
use crate::context::settings::Address;

/// Returns whether the address of a TCP or UDP socket is this one. A socket for all IPv4 addresses is one for all addresses where there is no IPv6, as
/// binding falls back to it.
pub(super) fn is_local(socket: &SockRef<'_>, address: &Address<'_>) -> bool {
    let Address::Tcp(host, port) = address else { return false };
    let Some(local) = socket.local_addr().ok().and_then(|local| local.as_socket()) else { return false };
    let same = match *host {
        "" | "::" => match local.ip() {
            IpAddr::V6(ip) => ip.is_unspecified() && !socket.only_v6().unwrap_or(false),
            IpAddr::V4(ip) => ip.is_unspecified() && !has_ipv6(),
        },
        "localhost" => local.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().is_ok_and(|ip: IpAddr| ip == local.ip()),
    };
    same && local.port() == *port
}

/// Returns whether this machine has IPv6.
fn has_ipv6() -> bool {
    bind_socket(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0), Type::DGRAM, false).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_have_the_very_address() {
        let check = |only_ipv6: bool, local: &str, wanted: &str, expected: bool| {
            let local: IpAddr = local.parse().expect("an address");
            let socket = socket2::Socket::new(socket2::Domain::for_address((local, 0).into()), Type::STREAM, None);
            let socket = socket.expect("a socket");
            if local.is_ipv6() {
                socket.set_only_v6(only_ipv6).expect("set");
            }
            socket.bind(&SocketAddr::new(local, 0).into()).expect("bound");
            let port = socket.local_addr().expect("bound").as_socket().expect("an address").port();
            let socket = SockRef::from(&socket);
            assert_eq!(is_local(&socket, &Address::Tcp(wanted, port)), expected, "{local} for `{wanted}`");
            assert!(!is_local(&socket, &Address::Tcp(wanted, port ^ 1)) && !is_local(&socket, &Address::Unix("/a")));
        };
        for wanted in ["127.0.0.1", "localhost"] {
            check(false, "127.0.0.1", wanted, true);
            check(false, "0.0.0.0", wanted, false);
        }
        check(false, "127.0.0.1", "0.0.0.0", false);
        check(false, "0.0.0.0", "0.0.0.0", true);
        if !has_ipv6() {
            return check(false, "0.0.0.0", "", true);
        }
        for all in ["", "::"] {
            check(false, "::", all, true);
            check(true, "::", all, false);
            check(false, "0.0.0.0", all, false);
            check(false, "::1", all, false);
        }
        check(false, "::1", "::1", true);
        check(false, "::", "0.0.0.0", false);
        check(false, "::", "127.0.0.1", false);
    }
}
