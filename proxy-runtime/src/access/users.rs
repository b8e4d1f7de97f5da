//! Credentials: lists of users with the hashes of their passwords, and of API keys.
//!
//! A list is a file that is read at start and on SIGHUP: one `name:secret` per line, `#` begins a comment line. Hashing a password
//! takes milliseconds, on purpose, so separate threads do it, a few at a time. A correct
//! password is remembered by a fingerprint that is keyed at random, never the password itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier as _;
use quick_cache::sync::Cache;
use sha_crypt::ShaCrypt;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::fair_queue::FairQueue;
use super::fingerprint::Fingerprints;
use crate::failure::Failure;

/// A list of credentials.
pub(crate) enum CredentialList {
    /// Names with their password hashes; and all hashes, in the order of the file.
    Users(HashMap<String, Arc<str>>, Vec<Arc<str>>),
    /// Names with the SHA-256 of their keys. The hash of an unguessable key reveals nothing.
    Keys(Vec<(String, [u8; 32])>),
}

/// The length of the shortest plain key, in bytes: shorter ones can be guessed.
const SHORTEST_KEY: usize = 16;

impl CredentialList {
    /// Parses a list.
    ///
    /// # Errors
    /// The number of the line and the reason, without the line itself.
    pub(crate) fn parse(text: &[u8], keys: bool) -> Result<CredentialList, String> {
        let mut entries = Vec::new();
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let number = index + 1;
            let line = str::from_utf8(line).map_err(|_| format!("line {number} is not UTF-8"))?.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, secret) = line.split_once(':').ok_or_else(|| format!("line {number} is not `name:secret`"))?;
            if name.is_empty() || name.contains(char::is_control) {
                return Err(format!("line {number} has no name"));
            }
            entries.push((number, name.to_owned(), secret));
        }
        if keys {
            let key =
                |(number, name, secret)| Ok((name, key_digest(secret).map_err(|why| format!("line {number}: {why}"))?));
            return entries.into_iter().map(key).collect::<Result<_, String>>().map(CredentialList::Keys);
        }
        let (mut users, mut hashes) = (HashMap::new(), Vec::new());
        for (number, name, hash) in entries {
            if HashScheme::of(hash).is_none() {
                return Err(format!(
                    "line {number} has no hash of argon2, bcrypt or sha-crypt (as made by `htpasswd -B`)"
                ));
            }
            let hash: Arc<str> = Arc::from(hash);
            if users.insert(name, Arc::clone(&hash)).is_some() {
                return Err(format!("line {number} repeats the name of a user"));
            }
            hashes.push(hash);
        }
        Ok(CredentialList::Users(users, hashes))
    }
}

/// Parses `sha256:` and 64 hexadecimal digits, or hashes the key itself.
fn key_digest(secret: &str) -> Result<[u8; 32], &'static str> {
    match secret.strip_prefix("sha256:") {
        Some(digits) => {
            let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).unwrap_or_default();
            bytes.try_into().map_err(|_| "`sha256:` is followed by 64 hexadecimal digits")
        }
        None if secret.len() < SHORTEST_KEY => Err("a key has at least 16 characters"),
        None => Ok(Sha256::digest(secret).into()),
    }
}

/// The algorithm of a password hash.
#[derive(Clone, Copy)]
enum HashScheme {
    Argon2,
    Bcrypt,
    ShaCrypt,
}

impl HashScheme {
    fn of(hash: &str) -> Option<HashScheme> {
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| hash.starts_with(prefix));
        if begins(&["$argon2id$", "$argon2i$", "$argon2d$"]) {
            return Some(HashScheme::Argon2);
        }
        if begins(&["$2a$", "$2b$", "$2x$", "$2y$"]) {
            return Some(HashScheme::Bcrypt);
        }
        begins(&["$5$", "$6$"]).then_some(HashScheme::ShaCrypt)
    }
}

/// Returns whether a password matches a hash; takes milliseconds.
fn is_right(password: &str, hash: &str) -> bool {
    match HashScheme::of(hash) {
        Some(HashScheme::Argon2) => Argon2::default().verify_password(password.as_bytes(), hash).is_ok(),
        // bcrypt ignores all but the first 72 bytes, so longer passwords are refused.
        Some(HashScheme::Bcrypt) => password.len() <= 72 && bcrypt::verify(password, hash).unwrap_or(false),
        Some(HashScheme::ShaCrypt) => ShaCrypt::default().verify_password(password.as_bytes(), hash).is_ok(),
        None => false,
    }
}

/// Verifies passwords.
pub(crate) struct Verifier {
    /// Recently verified ones: the fingerprint of a name, a password and the hash.
    known: Cache<u128, ()>,
    fingerprints: Fingerprints,
    /// The queue for hashing.
    turns: Arc<FairQueue>,
}

/// The number of verified passwords that are remembered.
const REMEMBERED: usize = 10_000;

impl Verifier {
    pub(crate) fn new() -> Verifier {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Verifier { known: Cache::new(REMEMBERED), fingerprints: Fingerprints::new(), turns: FairQueue::new(threads) }
    }

    /// Returns whether a user's password is correct. The time that it takes does not reveal whether the user exists.
    ///
    /// # Errors
    /// Too many passwords are being verified.
    pub(crate) async fn verify(
        &self,
        list: &CredentialList,
        name: &str,
        password: String,
        client: IpAddr,
    ) -> Result<bool, Failure> {
        let CredentialList::Users(users, hashes) = list else { return Ok(false) };
        let found = users.get(name).cloned();
        let substitute = self.substitute(hashes, name);
        let Some(hash) = found.clone().or(substitute) else { return Ok(false) };
        let fingerprint = self.fingerprints.of([name.as_bytes(), password.as_bytes(), hash.as_bytes()]);
        if found.is_some() && self.known.get(&fingerprint).is_some() {
            return Ok(true);
        }
        let turn = self.turns.turn(client).await.ok_or(Failure::AuthBusy)?;
        // The task holds the turn: hashing completes even if the client disconnects.
        let hashing = move || {
            let _turn = turn;
            is_right(&password, &hash)
        };
        let right = tokio::task::spawn_blocking(hashing).await.unwrap_or(false);
        let right = right && found.is_some();
        if right {
            self.known.insert(fingerprint, ());
        }
        Ok(right)
    }

    /// Returns the hash that the password of an unknown user is compared with: always the same for a name, and any of the list, as hashes
    /// take different times.
    fn substitute(&self, hashes: &[Arc<str>], name: &str) -> Option<Arc<str>> {
        let place = self.fingerprints.of([name.as_bytes()]).checked_rem(hashes.len() as u128)?;
        hashes.get(usize::try_from(place).ok()?).cloned()
    }
}

/// Returns the name of a key's owner. All keys are compared, each in constant time.
pub(crate) fn key_of<'l>(list: &'l CredentialList, key: &[u8]) -> Option<&'l str> {
    let CredentialList::Keys(keys) = list else { return None };
    let digest: [u8; 32] = Sha256::digest(key).into();
    let mut found = None;
    for (name, known) in keys {
        if bool::from(known.ct_eq(&digest)) {
            found = Some(name.as_str());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Created by independent programs: Python's bcrypt and argon2-cffi, `openssl passwd -5` and `-6`; the password is "secret".
    const HASHES: &[(&str, &str)] = &[
        ("bcrypt", "$2b$05$RLN9Enp6Q1ijWwatbgkNiO5.0SX2IkdtP9xqYf3oGCsy0sct.QHZa"),
        (
            "sha512",
            "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.",
        ),
        ("sha256", "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM."),
        ("argon2", "$argon2id$v=19$m=1024,t=1,p=1$/OYJqJJxPYVvAS+bFPW7Ig$IHTfWmJiVAkj7gysNvHlwdbx6qRLNMjnNS5JmrolYu4"),
    ];

    #[test]
    fn lists() {
        let check = |text: &str, keys: bool, expected: Option<&str>| {
            let found = CredentialList::parse(text.as_bytes(), keys).err();
            assert_eq!(found.as_deref().map(|found| found.split(':').next().unwrap_or_default()), expected, "{text}");
        };
        let bcrypt = HASHES[0].1;
        check(&format!("# users\n\na:{bcrypt}\nb:{bcrypt}\r\n"), false, None);
        check(&format!("a:{bcrypt}\na:{bcrypt}\n"), false, Some("line 2 repeats the name of a user"));
        check(&format!(":{bcrypt}\n"), false, Some("line 1 has no name"));
        check("a\n", false, Some("line 1 is not `name"));
        check(
            "a:secret\n",
            false,
            Some("line 1 has no hash of argon2, bcrypt or sha-crypt (as made by `htpasswd -B`)"),
        );
        check(
            "a:$apr1$x$y\n",
            false,
            Some("line 1 has no hash of argon2, bcrypt or sha-crypt (as made by `htpasswd -B`)"),
        );
        check("a:0123456789abcdef\n", true, None);
        check("a:short\n", true, Some("line 1"));
        check("a:sha256:zz\n", true, Some("line 1"));
    }

    #[test]
    fn keys() {
        let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let text = format!("ci:0123456789abcdef\nops:sha256:{digest}\n");
        let list = CredentialList::parse(text.as_bytes(), true).expect("a list");
        let check = |key: &str, expected: Option<&str>| assert_eq!(key_of(&list, key.as_bytes()), expected, "{key}");
        check("0123456789abcdef", Some("ci"));
        check("test", Some("ops"));
        check(digest, None);
        check("", None);
    }

    /// Unknown users take as long as those of the list do, each always as long.
    #[test]
    fn unknown_users() {
        let text: String = HASHES.iter().map(|(name, hash)| format!("{name}:{hash}\n")).collect();
        let list = || match CredentialList::parse(text.as_bytes(), false).expect("a list") {
            CredentialList::Users(_, hashes) => hashes,
            CredentialList::Keys(_) => Vec::new(),
        };
        let (verifier, before, after) = (Verifier::new(), list(), list());
        let mut seen = std::collections::HashSet::new();
        for number in 0..1000 {
            let name = format!("user{number}");
            let hash = verifier.substitute(&before, &name).expect("a hash");
            assert_eq!(verifier.substitute(&after, &name), Some(Arc::clone(&hash)), "after a reload");
            seen.insert(hash);
        }
        assert_eq!(seen.len(), HASHES.len());
        assert_eq!(verifier.substitute(&[], "ann"), None);
    }

    #[test]
    fn passwords() {
        for (kind, hash) in HASHES {
            assert!(is_right("secret", hash), "{kind}");
            assert!(!is_right("Secret", hash), "{kind}");
            assert!(!is_right("", hash), "{kind}");
        }
        assert!(!is_right(&"a".repeat(73), &bcrypt_of(&"a".repeat(72))));
    }

    fn bcrypt_of(password: &str) -> String {
        bcrypt::hash(password, 4).expect("a hash")
    }
}
