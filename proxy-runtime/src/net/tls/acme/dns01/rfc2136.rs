//! Sets records on the zone's own name server: by a dynamic update (RFC 2136) that is signed with a shared key (TSIG, RFC 8945), over TCP,
//! which every name server supports (RFC 7766 section 5) and which cannot be spoofed off-path. The response has to be signed with the same
//! key.

use std::net::{IpAddr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use hickory_proto::op::{Message, ResponseCode, update_message};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm as Algorithm;
use hickory_proto::rr::{Name, RData, RecordSet, RecordType, TSigner};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::txt_record::{Action, TxtRecord};
use crate::site::TsigAlgorithm;

/// The TTL of records, in seconds.
const TTL: u32 = 60;

/// The allowed clock difference, in seconds: as RFC 8945 section 10 recommends.
const FUDGE: u16 = 300;

/// A key that is shared with a name server.
pub(super) struct TransactionKey(TSigner);

impl TransactionKey {
    /// Parses a key in base64, as `tsig-keygen` writes it.
    ///
    /// # Errors
    /// The key or its name is invalid.
    pub(super) fn new(name: &str, content: &[u8], algorithm: TsigAlgorithm) -> Result<TransactionKey, String> {
        let key = data_encoding::BASE64.decode(content.trim_ascii()).map_err(|_| "the key is not base64")?;
        if key.is_empty() {
            return Err("the key is empty".to_owned());
        }
        let algorithm = match algorithm {
            TsigAlgorithm::HmacSha256 => Algorithm::HmacSha256,
            TsigAlgorithm::HmacSha384 => Algorithm::HmacSha384,
            TsigAlgorithm::HmacSha512 => Algorithm::HmacSha512,
        };
        TSigner::new(key, algorithm, absolute(name)?, FUDGE).map(TransactionKey).map_err(|error| error.to_string())
    }
}

/// Parses the address of a name server.
///
/// # Errors
/// Fails if the address is invalid.
pub(super) fn address(server: &str) -> Result<SocketAddr, String> {
    let plain = server.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    plain.or_else(|_| server.parse()).map_err(|_| format!("`{server}` is not an IP address"))
}

/// Adds a value to a name, or removes it.
///
/// # Errors
/// The name server can't be reached, refuses, or its signature is invalid.
pub(super) async fn update(
    action: Action,
    server: &str,
    zone: &str,
    key: TransactionKey,
    record: &TxtRecord,
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the name server `{server}` can't be asked: {error}");
    let (mut request, zone) = (RecordSet::with_ttl(absolute(&record.name)?, RecordType::TXT, TTL), absolute(zone)?);
    if !zone.zone_of(request.name()) {
        return Err(format!("it is not in the zone `{zone}`"));
    }
    request.add_rdata(RData::TXT(TXT::new(vec![record.value.clone()])));
    let mut request = match action {
        Action::Present => update_message::append(request, zone, false, false),
        Action::Cleanup => update_message::delete_by_rdata(request, zone, false),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let unsaid = |error: hickory_proto::ProtoError| error.to_string();
    let mut verifier = request.finalize(&key.0, now).map_err(unsaid)?.ok_or("it can't be signed")?;
    let id = request.id;
    let request = request.to_vec().map_err(unsaid)?;
    let length = u16::try_from(request.len()).map_err(|_| "the names are too long")?;

    // RFC 1035 section 4.2.2: a message is preceded by its length.
    let mut stream = TcpStream::connect(address(server)?).await.map_err(failed)?;
    stream.write_all(&[&length.to_be_bytes()[..], &request].concat()).await.map_err(failed)?;
    let mut response = vec![0; usize::from(stream.read_u16().await.map_err(failed)?)];
    stream.read_exact(&mut response).await.map_err(failed)?;

    match verifier.verify(&response) {
        Ok(verified) if verified.id == id => match verified.response_code {
            ResponseCode::NoError => Ok(()),
            code => Err(format!("the name server `{server}` refuses: {code}")),
        },
        Ok(_) => Err(format!("the name server `{server}` responds to something else")),
        // A server that does not know the key can't sign: its response is reported, but not trusted.
        Err(_) => Err(match Message::from_vec(&response).map(|message| message.response_code) {
            Ok(code) if code != ResponseCode::NoError => {
                format!("the name server `{server}` refuses, unsigned: {code}")
            }
            _ => format!("the response of the name server `{server}` is not signed with the key"),
        }),
    }
}

fn absolute(name: &str) -> Result<Name, String> {
    let mut found = Name::from_ascii(name).map_err(|error| format!("`{name}` is no name: {error}"))?;
    found.set_fqdn(true);
    Ok(found)
}
