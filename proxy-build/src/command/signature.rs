//! Signatures of artefacts, in minisign's format: made with a secret key, and verified with its public key.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use minisign::{PublicKey, PublicKeyBox, SecretKey, SecretKeyBox, SignatureBox};

use super::{failed, suffixed};

/// A key to sign with.
pub(crate) struct Signer(SecretKey);

impl Signer {
    /// Reads a secret key. The password of an encrypted one is asked for at the terminal.
    ///
    /// # Errors
    /// Fails if the file can't be read, or has no key.
    pub(crate) fn open(path: &Path) -> Result<Signer, String> {
        let wrong = || failed(format!("can't sign with {}", path.display()));
        let text = std::fs::read_to_string(path).map_err(failed(format!("can't read {}", path.display())))?;
        let key = |text: &str| SecretKeyBox::from_string(text).map_err(wrong());
        let secret = match key(&text)?.into_unencrypted_secret_key() {
            Ok(secret) => secret,
            Err(_) => key(&text)?.into_secret_key(None).map_err(wrong())?,
        };
        Ok(Signer(secret))
    }

    /// Signs the content of a file, and writes the signature beside it. `comment` is signed, too.
    ///
    /// # Errors
    /// The signature can't be made or written.
    pub(crate) fn sign(&self, path: &Path, content: &[u8], comment: &str) -> Result<(), String> {
        let wrong = || failed(format!("can't sign {}", path.display()));
        let public = PublicKey::from_secret_key(&self.0).map_err(wrong())?;
        let signature = minisign::sign(Some(&public), &self.0, Cursor::new(content), Some(comment), Some("kiln build"));
        let beside = beside(path);
        std::fs::write(&beside, signature.map_err(wrong())?.into_string())
            .map_err(failed(format!("can't write {}", beside.display())))
    }
}

/// Whether the signature beside a file was made with the secret key of a public one.
///
/// # Errors
/// There is no signature or no key.
pub(crate) fn verifies(path: &Path, content: &[u8], key: &Path) -> Result<bool, String> {
    let public = public(key)?;
    let beside = beside(path);
    let text = std::fs::read_to_string(&beside).map_err(failed(format!("can't read {}", beside.display())))?;
    let signature =
        SignatureBox::from_string(&text).map_err(failed(format!("{} is no signature", beside.display())))?;
    Ok(minisign::verify(&public, &signature, Cursor::new(content), true, false, false).is_ok())
}

/// Returns a public key from its text alone, as minisign prints it, or from its file. The text comes first: who can write a file of that name here
/// must not replace the key. A file of such a name is reached by `./`.
fn public(key: &Path) -> Result<PublicKey, String> {
    if let Some(written) = key.to_str().and_then(|text| PublicKey::from_base64(text).ok()) {
        return Ok(written);
    }
    let text = std::fs::read_to_string(key).map_err(failed(format!("can't read {}", key.display())))?;
    let wrong = failed(format!("{} is no public key of minisign", key.display()));
    PublicKeyBox::from_string(&text).and_then(PublicKeyBox::into_public_key).map_err(wrong)
}

/// Returns the path of the signature of a file.
pub(crate) fn beside(path: &Path) -> PathBuf {
    suffixed(path, ".minisig")
}
