//! The archive of an image ([`Layout`]): OCI's image layout (v1), with the index that `docker load` has always read beside it.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use proxy_build::source::sha256;
use serde_json::{Value, json};
use tar::Builder;

use super::layer::header;

/// A time for programs that expect one: images have none, so that they can be the same.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// An image of one layer.
pub(super) struct Layout {
    layer: Blob,
    config: Blob,
    manifest: Blob,
    tag: String,
}

/// Content that is named by its hash.
struct Blob {
    content: Vec<u8>,
    hash: String,
}

impl Blob {
    fn new(content: Vec<u8>) -> Blob {
        Blob { hash: sha256(&content), content }
    }

    fn json(value: &Value) -> Blob {
        Blob::new(value.to_string().into_bytes())
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.hash)
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", self.hash), "size": self.content.len()})
    }
}

impl Layout {
    /// Makes an image of a layer, with what containers are started with.
    ///
    /// # Errors
    /// The layer can't be compressed.
    pub(super) fn new(layer: &[u8], started_with: Value, tag: &str) -> io::Result<Layout> {
        let uncompressed = sha256(layer);
        // Neither a time nor a system: the default of the header.
        let mut compressed = GzEncoder::new(Vec::new(), Compression::best());
        compressed.write_all(layer)?;
        let layer = Blob::new(compressed.finish()?);
        let config = Blob::json(&json!({
            "created": EPOCH,
            "architecture": architecture(),
            "os": "linux",
            "config": started_with,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{uncompressed}")]},
            "history": [{"created": EPOCH, "created_by": "kiln image"}],
        }));
        let manifest = Blob::json(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
            "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar+gzip")],
        }));
        Ok(Layout { layer, config, manifest, tag: tag.to_owned() })
    }

    /// Returns the digest by which registries know the image.
    pub(super) fn digest(&self) -> String {
        format!("sha256:{}", self.manifest.hash)
    }

    /// Returns the number of bytes that are transferred.
    pub(super) fn size(&self) -> usize {
        self.layer.content.len() + self.config.content.len() + self.manifest.content.len()
    }

    /// Returns the archive.
    ///
    /// # Errors
    /// Writes to memory don't fail.
    pub(super) fn archive(&self) -> io::Result<Vec<u8>> {
        let mut manifest = self.manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
        manifest["platform"] = json!({"architecture": architecture(), "os": "linux"});
        manifest["annotations"] = json!({
            // The tag alone is how tools choose among images of one layout; containerd takes the whole name.
            "org.opencontainers.image.ref.name": tag_alone(&self.tag),
            "io.containerd.image.name": self.tag,
        });
        let index = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [manifest],
        });
        let for_docker = json!([{
            "Config": self.config.path(), "RepoTags": [self.tag], "Layers": [self.layer.path()],
        }]);
        let mut blobs = [&self.layer, &self.config, &self.manifest].map(|blob| (blob.path(), blob.content.as_slice()));
        blobs.sort();
        let (index, for_docker) = (index.to_string(), for_docker.to_string());
        let others = [
            ("index.json".to_owned(), index.as_bytes()),
            ("manifest.json".to_owned(), for_docker.as_bytes()),
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#),
        ];
        let mut archive = Builder::new(Vec::new());
        for (path, content) in blobs.into_iter().chain(others) {
            archive.append_data(&mut header(0o644, content.len()), path, content)?;
        }
        archive.into_inner()
    }
}

/// Returns the tag in the name of an image.
fn tag_alone(name: &str) -> &str {
    match name.rsplit_once(':') {
        // A colon before a slash is that of a registry's port.
        Some((_, tag)) if !tag.contains('/') => tag,
        _ => "latest",
    }
}

/// Returns the architecture of the binary, by the names of Go.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
