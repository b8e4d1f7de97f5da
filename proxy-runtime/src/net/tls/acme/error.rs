//! The failure of an order: [`AcmeError`], an authority's problem document (RFC 8555 section 6.7) or an error in reaching it.

use std::fmt;
use std::time::{Duration, Instant};

use instant_acme::Problem;

/// The prefix of problem names.
const NAMESPACE: &str = "urn:ietf:params:acme:error:";

/// The longest logged reason, in characters.
const LONGEST_REASON: usize = 1000;

/// Why an order has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AcmeError {
    /// The reason, as text.
    reason: String,
    /// The pause that the authority asks for.
    pub(crate) retry_after: Option<Duration>,
    /// The name of the authority's problem, such as `rateLimited`.
    problem: Option<String>,
}

impl AcmeError {
    /// Returns the error for a refusal with a problem document.
    pub(crate) fn refused(problem: &Problem, retry_after: Option<Duration>) -> AcmeError {
        let name = problem.r#type.as_deref().and_then(|kind| kind.strip_prefix(NAMESPACE));
        AcmeError { retry_after, problem: name.map(str::to_owned), ..AcmeError::from(said(problem)) }
    }

    /// Returns the error for a refusal without a problem document.
    pub(crate) fn status(status: http::StatusCode, retry_after: Option<Duration>) -> AcmeError {
        AcmeError { retry_after, ..AcmeError::from(format!("the authority responds {}", status.as_u16())) }
    }

    /// Adds a context to the reason.
    pub(crate) fn about(self, what: &str) -> AcmeError {
        AcmeError { reason: shortened(format!("{what}: {}", self.reason)), ..self }
    }

    /// Sets the pause before the next attempt.
    pub(crate) fn after(self, wait: Duration) -> AcmeError {
        AcmeError { retry_after: Some(wait), ..self }
    }

    /// Returns whether it is this problem of the authority.
    pub(crate) fn is(&self, problem: &str) -> bool {
        self.problem.as_deref() == Some(problem)
    }

    /// Returns whether the authority has refused with a named problem.
    pub(crate) fn is_refusal(&self) -> bool {
        self.problem.is_some()
    }
}

impl fmt::Display for AcmeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for AcmeError {}

impl From<String> for AcmeError {
    fn from(reason: String) -> AcmeError {
        AcmeError { reason: shortened(reason), retry_after: None, problem: None }
    }
}

impl From<&str> for AcmeError {
    fn from(reason: &str) -> AcmeError {
        AcmeError::from(reason.to_owned())
    }
}

impl From<instant_acme::Error> for AcmeError {
    fn from(error: instant_acme::Error) -> AcmeError {
        match error {
            instant_acme::Error::Api(problem) => AcmeError::refused(&problem, None),
            instant_acme::Error::Other(error) => match error.downcast::<AcmeError>() {
                Ok(error) => *error,
                Err(error) => AcmeError::from(error.to_string()),
            },
            instant_acme::Error::Timeout(next) => AcmeError {
                retry_after: next.map(|next| next.saturating_duration_since(Instant::now())),
                ..AcmeError::from("the authority takes too long for the order")
            },
            error => AcmeError::from(error.to_string()),
        }
    }
}

impl From<AcmeError> for instant_acme::Error {
    fn from(error: AcmeError) -> instant_acme::Error {
        instant_acme::Error::Other(Box::new(error))
    }
}

/// Returns the text of a problem document, including its subproblems (RFC 8555 section 6.7.1).
fn said(problem: &Problem) -> String {
    let of = |kind: &Option<String>, detail: &Option<String>| {
        let kind = kind.as_deref().map(|kind| kind.strip_prefix(NAMESPACE).unwrap_or(kind));
        match (detail, kind) {
            (Some(detail), Some(kind)) => format!("{detail} ({kind})"),
            (Some(detail), None) => detail.clone(),
            (None, Some(kind)) => kind.to_owned(),
            (None, None) => "no reason is given".to_owned(),
        }
    };
    let mut said = of(&problem.r#type, &problem.detail);
    for part in &problem.subproblems {
        let host = part.identifier.as_ref().map(|identifier| format!("{}: ", identifier.authorized(false)));
        said.push_str(&format!("; {}{}", host.unwrap_or_default(), of(&part.r#type, &part.detail)));
    }
    said
}

fn shortened(reason: String) -> String {
    match reason.char_indices().nth(LONGEST_REASON) {
        Some((end, _)) => format!("{}...", &reason[..end]),
        None => reason,
    }
}

/// How often a request is repeated because of its nonce; instant-acme itself makes three attempts each time.
const NONCES: u32 = 6;

/// Repeats a request as long as the authority only rejects the nonce, of which it sends a new one each time (RFC 8555 section 6.5).
pub(crate) async fn again<T>(mut ask: impl AsyncFnMut() -> Result<T, instant_acme::Error>) -> Result<T, AcmeError> {
    let mut left = NONCES;
    loop {
        match ask().await.map_err(AcmeError::from) {
            Err(error) if error.is("badNonce") && left > 1 => left -= 1,
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_problems() {
        let check = |document: &str, reason: &str, problem: Option<&str>| {
            let document: Problem = serde_json::from_str(document).expect("a problem");
            let error = AcmeError::from(instant_acme::Error::Api(document));
            assert_eq!((error.to_string().as_str(), error.problem.as_deref()), (reason, problem));
        };
        check(
            r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates","status":429}"#,
            "too many certificates (rateLimited)",
            Some("rateLimited"),
        );
        check(r#"{"type":"about:blank"}"#, "about:blank", None);
        check("{}", "no reason is given", None);
        check(
            r#"{"type":"urn:ietf:params:acme:error:malformed","detail":"some","subproblems":[
                {"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"on a list","identifier":{"type":"dns","value":"a.test"}}]}"#,
            "some (malformed); a.test: on a list (rejectedIdentifier)",
            Some("malformed"),
        );
        let long = AcmeError::from("ä".repeat(5000));
        assert_eq!(long.to_string().chars().count(), LONGEST_REASON + 3);
    }
}
