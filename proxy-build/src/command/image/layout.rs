//! The archive of an image ([`Layout`]): OCI's image layout (v1), with the index that `docker load` has always read beside it.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use proxy_build::source::sha256;
use serde_json::{Value, json};
use tar::Builder;

use super::layer::header;
use super::platform::Platform;

/// The media types of the image specification.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A time for programs that expect one: images have none, so that they can be the same.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// An image: for each platform, a manifest with one layer.
pub(super) struct Layout {
    images: Vec<PlatformImage>,
    /// The manifests of several platforms; one needs none.
    index: Option<Blob>,
    tag: String,
}

/// The image of one platform.
struct PlatformImage {
    platform: Platform,
    layer: Blob,
    config: Blob,
    manifest: Blob,
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

impl PlatformImage {
    fn new((platform, layer): &(Platform, Vec<u8>), started_with: &Value) -> io::Result<PlatformImage> {
        let uncompressed = sha256(layer);
        // Neither a time nor a system: the default of the header.
        let mut compressed = GzEncoder::new(Vec::new(), Compression::best());
        compressed.write_all(layer)?;
        let layer = Blob::new(compressed.finish()?);
        let mut config = json!({
            "created": EPOCH,
            "config": started_with,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{uncompressed}")]},
            "history": [{"created": EPOCH, "created_by": "kiln image"}],
        });
        platform.write(&mut config);
        let config = Blob::json(&config);
        let manifest = Blob::json(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
            "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar+gzip")],
        }));
        Ok(PlatformImage { platform: *platform, layer, config, manifest })
    }

    fn descriptor(&self) -> Value {
        let mut descriptor = self.manifest.descriptor(MANIFEST);
        descriptor["platform"] = self.platform.object();
        descriptor
    }

    fn blobs(&self) -> [&Blob; 3] {
        [&self.layer, &self.config, &self.manifest]
    }
}

impl Layout {
    /// Makes an image of the layers of its platforms, with what containers are started with.
    ///
    /// # Errors
    /// A layer can't be compressed.
    pub(super) fn new(layers: &[(Platform, Vec<u8>)], started_with: &Value, tag: &str) -> io::Result<Layout> {
        let images =
            layers.iter().map(|layer| PlatformImage::new(layer, started_with)).collect::<Result<Vec<_>, _>>()?;
        let several = images.len() > 1;
        let index = several.then(|| Blob::json(&index(images.iter().map(PlatformImage::descriptor).collect())));
        Ok(Layout { images, index, tag: tag.to_owned() })
    }

    /// Returns the digest by which registries know the image.
    pub(super) fn digest(&self) -> String {
        let named = self.index.as_ref().or(self.images.first().map(|image| &image.manifest));
        named.map_or_else(String::new, |blob| format!("sha256:{}", blob.hash))
    }

    /// Returns the number of bytes that are transferred.
    pub(super) fn size(&self) -> usize {
        self.blobs().map(|blob| blob.content.len()).sum()
    }

    fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.images.iter().flat_map(PlatformImage::blobs).chain(&self.index)
    }

    /// Returns the archive.
    ///
    /// # Errors
    /// Writes to memory don't fail.
    pub(super) fn archive(&self) -> io::Result<Vec<u8>> {
        // The tag names one entry: the manifest, or the index of several.
        let mut entry = match (&self.index, self.images.first()) {
            (Some(index), _) => index.descriptor(INDEX),
            (None, Some(image)) => image.descriptor(),
            (None, None) => json!({}),
        };
        entry["annotations"] = json!({
            // The tag alone is how tools choose among images of one layout; containerd takes the whole name.
            "org.opencontainers.image.ref.name": tag_alone(&self.tag),
            "io.containerd.image.name": self.tag,
        });
        // It has no form for several platforms, so it names the first.
        let for_docker = self.images.first().map(
            |image| json!({"Config": image.config.path(), "RepoTags": [self.tag], "Layers": [image.layer.path()]}),
        );
        let blobs: BTreeMap<String, &[u8]> = self.blobs().map(|blob| (blob.path(), &*blob.content)).collect();
        let (index, for_docker) = (index(vec![entry]).to_string(), json!([for_docker]).to_string());
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

fn index(manifests: Vec<Value>) -> Value {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
}

/// Returns the tag in the name of an image.
fn tag_alone(name: &str) -> &str {
    match name.rsplit_once(':') {
        // A colon before a slash is that of a registry's port.
        Some((_, tag)) if !tag.contains('/') => tag,
        _ => "latest",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::Read as _;

    use super::*;
    use crate::command::image::platform::platforms;

    fn files(archive: &[u8]) -> HashMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let read = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
            let (mut entry, mut content) = (entry.expect("an entry"), Vec::new());
            entry.read_to_end(&mut content).expect("read");
            (entry.path().expect("a path").display().to_string(), content)
        };
        archive.entries().expect("entries").map(read).collect()
    }

    #[test]
    fn several_platforms() {
        let targets = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl", "riscv64gc-unknown-linux-gnu"];
        let expected = [("amd64", "one"), ("arm64", "two"), ("riscv64", "two")];
        let found = platforms(&targets.map(str::to_owned)).expect("platforms");
        // The last two have the same content, which is in the archive once.
        let layers = found.iter().zip(expected).map(|((platform, _), (_, text))| (*platform, text.as_bytes().to_vec()));
        let layers: Vec<_> = layers.collect();
        let layout = Layout::new(&layers, &json!({"User": "7:8"}), "registry.test:5000/shop:v1").expect("an image");
        let archive = layout.archive().expect("an archive");
        assert!(archive == layout.archive().expect("an archive"), "the same bytes");
        let files = files(&archive);
        let json = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).expect("JSON") };
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
            let content = &files[&format!("blobs/sha256/{}", digest.expect("a digest"))];
            assert_eq!((Some(&*sha256(content)), Some(content.len() as u64)), (digest, descriptor["size"].as_u64()));
            content.clone()
        };
        let entries = json(&files["index.json"])["manifests"].clone();
        assert_eq!(entries.as_array().map(Vec::len), Some(1), "the tag names all of them");
        assert_eq!(entries[0]["annotations"]["org.opencontainers.image.ref.name"], "v1");
        assert_eq!(entries[0]["mediaType"], INDEX);
        assert_eq!(entries[0]["digest"], layout.digest());
        let manifests = json(&blob(&entries[0]))["manifests"].clone();
        assert_eq!(manifests.as_array().map(Vec::len), Some(3));
        for (at, (architecture, content)) in expected.into_iter().enumerate() {
            assert_eq!(manifests[at]["platform"], json!({"architecture": architecture, "os": "linux"}));
            let manifest = json(&blob(&manifests[at]));
            let config = json(&blob(&manifest["config"]));
            assert_eq!((&config["architecture"], &config["os"]), (&architecture.into(), &"linux".into()));
            assert_eq!(config["config"]["User"], "7:8");
            let (compressed, mut layer) = (blob(&manifest["layers"][0]), String::new());
            flate2::read::GzDecoder::new(&*compressed).read_to_string(&mut layer).expect("gzip");
            assert_eq!(layer, content);
        }
        assert_eq!(files.keys().filter(|path| path.starts_with("blobs/")).count(), 1 + 3 + 3 + 2);
        let for_docker = json(&files["manifest.json"]);
        assert!(files.contains_key(for_docker[0]["Config"].as_str().expect("a path")));
    }
}
