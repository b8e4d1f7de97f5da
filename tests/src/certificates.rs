//! Certificates for tests: an authority that signs certificates, created for each test.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize,
};

/// An authority, and the folder of its certificates.
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Creates an authority; its own certificate is `ca.pem` in the folder.
    pub fn new(folder: &Path) -> Authority {
        Authority::named(folder, "Test authority")
    }

    /// The same with a name.
    pub fn named(folder: &Path, name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(folder.join("ca.pem"), certificate.pem()).expect("written");
        Authority { folder: folder.to_owned(), issuer: Issuer::new(params, key) }
    }

    /// Returns the path of its own certificate.
    pub fn ca(&self) -> String {
        self.path("ca.pem")
    }

    /// Signs a certificate for hosts, with this common name: `NAME.pem` and `NAME.key`.
    pub fn sign(&self, name: &str, common_name: &str, hosts: &[&str]) {
        self.sign_with(name, common_name, hosts, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key"));
    }

    /// The same for client authentication.
    pub fn sign_for_client(&self, name: &str, common_name: &str, hosts: &[&str]) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        self.sign_for(&[ExtendedKeyUsagePurpose::ClientAuth], name, common_name, hosts, key);
    }

    /// The same for client authentication, valid from the first day of one year to that of another.
    pub fn sign_for_years(&self, name: &str, common_name: &str, (from, to): (i32, i32)) {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(to, 1, 1));
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.write(name, params, &KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key"));
    }

    /// The same, valid for so long from now.
    ///
    /// # Panics
    /// The clock is before 1970.
    pub fn sign_until(&self, name: &str, hosts: &[&str], left: Duration) {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).expect("names");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + left;
        self.write(name, params, &KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key"));
    }

    /// The same with an RSA key.
    pub fn sign_rsa(&self, name: &str, common_name: &str, hosts: &[&str]) {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
        self.sign_with(name, common_name, hosts, key);
    }

    fn sign_with(&self, name: &str, common_name: &str, hosts: &[&str], key: KeyPair) {
        self.sign_for(&[], name, common_name, hosts, key);
    }

    fn sign_for(
        &self,
        purposes: &[ExtendedKeyUsagePurpose],
        name: &str,
        common_name: &str,
        hosts: &[&str],
        key: KeyPair,
    ) {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).expect("names");
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = purposes.to_vec();
        self.write(name, params, &key);
    }

    fn write(&self, name: &str, params: CertificateParams, key: &KeyPair) {
        let certificate = params.signed_by(key, &self.issuer).expect("a certificate");
        std::fs::write(self.folder.join(format!("{name}.key")), key.serialize_pem()).expect("written");
        std::fs::write(self.folder.join(format!("{name}.pem")), certificate.pem()).expect("written");
    }

    /// Returns the path of a file in the folder.
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().expect("text").to_owned()
    }
}
