//! A name server with configurable records.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};

/// A record in a response.
#[derive(Debug, Clone)]
pub enum Record {
    /// An address.
    A(Ipv4Addr),
    /// A server of a service: priority, weight, port, target.
    Srv(u16, u16, u16, String),
}

/// The records of each name; with an empty list, the name does not exist.
type Zone = Vec<(String, Vec<Record>)>;

/// A running name server.
pub struct NameServer {
    /// The address that it listens on.
    pub address: String,
    zone: Arc<Mutex<Zone>>,
}

impl NameServer {
    /// Starts a server whose responses have a TTL of a second.
    pub fn new() -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("an address");
        let address = socket.local_addr().expect("an address").to_string();
        let zone: Arc<Mutex<Zone>> = Arc::default();
        let known = Arc::clone(&zone);
        std::thread::spawn(move || {
            let mut query = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                if let Some(answer) = answer(&query[..length], &known.lock().expect("the zone")) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        NameServer { address, zone }
    }

    /// Sets the records of a name.
    pub fn set(&self, name: &str, records: Vec<Record>) {
        let mut zone = self.zone.lock().expect("the zone");
        zone.retain(|(known, _)| known != name);
        zone.push((name.to_owned(), records));
    }
}

impl Default for NameServer {
    fn default() -> NameServer {
        NameServer::new()
    }
}

/// RFC 1035 section 4.1: a header, the question, and answers.
fn answer(query: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let (mut name, mut at) = (String::new(), 12);
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        name.push_str(std::str::from_utf8(query.get(at..at + length)?).ok()?);
        name.push('.');
        at += length;
    }
    let question = query.get(12..at + 4)?;
    let kind = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
    let name = name.to_ascii_lowercase();
    let records = zone.iter().find(|(known, _)| format!("{known}.") == name).map_or(&[][..], |(_, records)| records);
    let fitting: Vec<Vec<u8>> = records
        .iter()
        .filter_map(|record| match record {
            Record::A(address) if kind == 1 => Some(address.octets().to_vec()),
            Record::Srv(priority, weight, port, target) if kind == 33 => {
                let mut data: Vec<u8> =
                    [priority, weight, port].into_iter().flat_map(|number| number.to_be_bytes()).collect();
                for label in target.split('.') {
                    data.push(label.len() as u8);
                    data.extend_from_slice(label.as_bytes());
                }
                data.push(0);
                Some(data)
            }
            _ => None,
        })
        .collect();
    let mut out = query[..2].to_vec();
    // A response; without any records, the name does not exist.
    out.extend_from_slice(&[
        0x81,
        if records.is_empty() { 0x83 } else { 0x80 },
        0,
        1,
        0,
        fitting.len() as u8,
        0,
        0,
        0,
        0,
    ]);
    out.extend_from_slice(question);
    for data in fitting {
        // A pointer to the name in the question, the type, class IN, TTL of a second.
        out.extend_from_slice(&[0xC0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, 1]);
        out.extend_from_slice(&(data.len() as u16).to_be_bytes());
        out.extend_from_slice(&data);
    }
    Some(out)
}
