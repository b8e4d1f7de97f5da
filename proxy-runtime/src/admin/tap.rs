//! The query of `GET /tap` ([`TapQuery`]). Pure.

use std::time::Duration;

use crate::observe::tap::{Wanted, WantedStatus};
use crate::protocol::canonical;

/// The filter of a tap, the number of exchanges, and the time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TapQuery {
    pub(super) wanted: Wanted,
    pub(super) most: u32,
    pub(super) patience: Duration,
}

impl TapQuery {
    /// Parses `route=/x/*&status=5xx&method=GET&host=example.com&n=10&seconds=30`; all parameters are optional.
    ///
    /// # Errors
    /// Fails with what is wrong with the query.
    pub(super) fn read(query: &str) -> Result<TapQuery, String> {
        let mut read = TapQuery { wanted: Wanted::default(), most: 10, patience: Duration::from_secs(30) };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = decoded(value)?;
            let number = |most: u32| {
                let number = value.parse().ok().filter(|number| (1..=most).contains(number));
                number.ok_or_else(|| format!("`{name}` is a number from 1 to {most}"))
            };
            match name {
                "route" => read.wanted.route = Some(value),
                "host" => read.wanted.host = Some(value.to_ascii_lowercase()),
                "method" => read.wanted.method = Some(value),
                "status" => read.wanted.status = Some(status(&value)?),
                "n" => read.most = number(1000)?,
                "seconds" => read.patience = Duration::from_secs(number(60)?.into()),
                _ => return Err("the query may have route, host, method, status, n and seconds".to_owned()),
            }
        }
        Ok(read)
    }
}

fn status(value: &str) -> Result<WantedStatus, String> {
    let class = value.strip_suffix("xx").and_then(|class| class.parse().ok()).filter(|class| (1..=5).contains(class));
    let status = value.parse().ok().filter(|status| (100..=599).contains(status));
    match (value, class, status) {
        ("none", ..) => Ok(WantedStatus::None),
        (_, Some(class), _) => Ok(WantedStatus::Class(class)),
        (.., Some(status)) => Ok(WantedStatus::Status(status)),
        _ => Err("`status` is as in 404, 5xx or none".to_owned()),
    }
}

fn decoded(value: &str) -> Result<String, String> {
    let mut out = Vec::new();
    canonical::decode(value, &mut out);
    String::from_utf8(out).map_err(|_| "the query is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let read = |query: &str| TapQuery::read(query);
        let usual = TapQuery { wanted: Wanted::default(), most: 10, patience: Duration::from_secs(30) };
        assert_eq!(read(""), Ok(usual));
        let all = read("route=/x/%7Bid%7D&host=A.test&method=GET&status=5xx&n=3&seconds=60").expect("a query");
        let expected = Wanted {
            route: Some("/x/{id}".to_owned()),
            host: Some("a.test".to_owned()),
            method: Some("GET".to_owned()),
            status: Some(WantedStatus::Class(5)),
        };
        assert_eq!((all.wanted, all.most, all.patience), (expected, 3, Duration::from_secs(60)));
        let status = |text: &str| read(&format!("status={text}")).map(|read| read.wanted.status);
        assert_eq!(status("404"), Ok(Some(WantedStatus::Status(404))));
        assert_eq!(status("none"), Ok(Some(WantedStatus::None)));
        for wrong in [
            "status=",
            "status=6xx",
            "status=99",
            "status=xx",
            "n=0",
            "n=1001",
            "n=-1",
            "seconds=61",
            "n",
            "x=1",
            "host=%FF",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
