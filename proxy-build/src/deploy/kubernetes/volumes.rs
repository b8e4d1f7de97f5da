//! The volumes of a pod ([`volumes`]): one for each folder that the site writes to, that it serves, or that it reads files of. None of them hides
//! what another has, or the files of the image.

use std::path::Path;

use super::image;
use crate::deploy::folders::{absolute, printable};
use crate::deploy::footprint::Footprint;

/// A folder that is mounted.
pub(super) struct Volume {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) kind: VolumeKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum VolumeKind {
    /// What may be lost with the pod: caches, logs, sockets.
    Scratch,
    /// What must survive: certificates.
    State,
    /// Files that the site reads, by their names.
    Files(Vec<String>),
    /// A folder that the site serves, with all that is in it.
    Content,
}

impl Volume {
    /// Returns the name of the object that has its content.
    pub(super) fn object(&self, name: &str) -> String {
        format!("{name}-{}", self.name)
    }

    /// Returns what has to be made for it.
    pub(super) fn note(&self, name: &str) -> Option<String> {
        let object = self.object(name);
        match &self.kind {
            VolumeKind::Files(files) => {
                let from: String = files.iter().map(|file| format!(" --from-file={file}=FILE")).collect();
                Some(format!("{}: kubectl create secret generic {object}{from}", self.path))
            }
            VolumeKind::Content => Some(format!(
                "{}: make a PersistentVolumeClaim {object} with these files, or write `files ... embed=#true`",
                self.path
            )),
            VolumeKind::Scratch | VolumeKind::State => None,
        }
    }
}

/// Returns the volumes of a site, each path once and each folder before those in it. In a Secret and in what the proxy writes to, the kubelet and the
/// container runtime make the mount points of others; a volume that is only read has none.
///
/// # Errors
/// Two of them can't be at their paths, or the image can't be without what one would hide.
pub(super) fn volumes(footprint: &Footprint<'_>, name: &str) -> Result<Vec<Volume>, String> {
    image::verify(footprint)?;
    let state = footprint.state.as_deref().and_then(absolute);
    let kind_of = |path: &String| if Some(path) == state.as_ref() { VolumeKind::State } else { VolumeKind::Scratch };
    let mut all: Vec<(String, VolumeKind)> =
        footprint.writable()?.into_iter().map(|path| (path.clone(), kind_of(&path))).collect();
    let content = content(footprint, &all)?;
    let is_content = |path: &str| content.iter().any(|served| Path::new(path).starts_with(served));
    // What is in a folder that is served is in its volume, which a Secret would hide.
    for file in image::mounted_files(footprint).filter(|file| !is_content(file)) {
        add_file(&mut all, &file, footprint.verifies)?;
    }
    all.extend(content.into_iter().map(|folder| (folder, VolumeKind::Content)));
    all.sort_by(|(path, _), (other, _)| Path::new(path).cmp(Path::new(other)));
    let mut volumes: Vec<Volume> = Vec::new();
    for (path, kind) in all {
        printable(&path)?;
        if path.contains(':') {
            return Err(format!("{path} can't be mounted: Kubernetes takes no `:` in the path of a volume"));
        }
        let mut slug = slug(&path, 60usize.saturating_sub(name.len()));
        if volumes.iter().any(|volume| volume.name == slug) {
            slug = format!("{slug}-{}", volumes.len());
        }
        volumes.push(Volume { name: slug, path, kind });
    }
    Ok(volumes)
}

/// Returns the folders that are served and that have volumes of their own: none is within another, whose volume has it, or one that is written to.
///
/// # Errors
/// The proxy writes to a folder within one of them.
fn content(footprint: &Footprint<'_>, written: &[(String, VolumeKind)]) -> Result<Vec<String>, String> {
    let mut folders: Vec<String> = footprint.folders.iter().filter_map(|folder| absolute(folder)).collect();
    folders.retain(|folder| written.iter().all(|(path, _)| path != folder));
    // Each comes after those that it is in.
    folders.sort();
    let mut content: Vec<String> = Vec::new();
    for folder in folders {
        if !content.iter().any(|outer| Path::new(&folder).starts_with(outer)) {
            content.push(folder);
        }
    }
    for (path, _) in written {
        // Its mount point would have to be made in a volume that is only read.
        if let Some(served) = content.iter().find(|served| Path::new(path).starts_with(served)) {
            return Err(format!(
                "the proxy can't write to {path}: it is in the volume of the served files, {served}, which is only read"
            ));
        }
    }
    Ok(content)
}

/// Adds a file to the Secret of its folder.
fn add_file(all: &mut Vec<(String, VolumeKind)>, file: &str, verifies: bool) -> Result<(), String> {
    let (folder, leaf) = file.rsplit_once('/').unwrap_or_default();
    let folder = if folder.is_empty() { "/" } else { folder };
    if let Some(why) = image::conflict(folder, verifies) {
        return Err(format!("{file} needs another folder, as in /etc/proxy/{leaf}: {why}"));
    }
    // The keys of a Secret.
    let is_key = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !leaf.bytes().all(is_key) || leaf.starts_with("..") {
        return Err(format!(
            "{} needs another name: files in a Secret are named by letters, digits, `-`, `_` and `.`",
            file.escape_debug()
        ));
    }
    match all.iter_mut().find(|(path, _)| path == folder) {
        Some((_, VolumeKind::Files(files))) => files.push(leaf.to_owned()),
        Some(_) => {
            return Err(format!(
                "{file} needs another folder: the proxy writes to `{folder}`, whose volume has no such file"
            ));
        }
        None => all.push((folder.to_owned(), VolumeKind::Files(vec![leaf.to_owned()]))),
    }
    Ok(())
}

/// Returns a path as a label of DNS (RFC 1123): lower case, digits and hyphens.
fn slug(path: &str, most: usize) -> String {
    let plain = |char: char| if char.is_ascii_alphanumeric() { char.to_ascii_lowercase() } else { '-' };
    let text: String = path.trim_start_matches('/').chars().map(plain).collect();
    let cut: String = text.chars().take(most.max(8)).collect();
    let trimmed = cut.trim_matches('-');
    if trimmed.is_empty() { "folder".to_owned() } else { trimmed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        let check = |path: &str, expected: &str| assert_eq!(slug(path, 20), expected);
        check("/var/cache/shop", "var-cache-shop");
        check("/A b/ü", "a-b");
        check("/a/very/long/path/to/files", "a-very-long-path-to");
        check("/ü", "folder");
    }

    #[test]
    fn volumes_by_path() {
        let check = |text: &str, expected: &[(&str, VolumeKind)]| {
            let compiled = crate::compile_text("site.kdl".as_ref(), "site.kdl", text);
            let site = compiled.model.as_ref().unwrap_or_else(|| panic!("{}", compiled.diagnostics(false)));
            let found = volumes(&Footprint::of(site), "shop").expect("volumes");
            let found: Vec<_> = found.iter().map(|volume| (volume.path.as_str(), volume.kind.clone())).collect();
            assert_eq!(found, expected, "{text}");
        };
        let files = |names: &[&str]| VolumeKind::Files(names.iter().map(|name| (*name).to_owned()).collect());
        let served = |more: &str| format!("site * {{\n {more}\n files \"/srv/www\"\n}}");
        let page = |path: &str| format!("error-page 404 (file)\"{path}\"");
        check(&served(""), &[("/srv/www", VolumeKind::Content)]);
        // What is among the served files comes with them.
        check(&served(&page("/srv/www/404.html")), &[("/srv/www", VolumeKind::Content)]);
        check(&served(&page("/srv/www/errors/404.html")), &[("/srv/www", VolumeKind::Content)]);
        check(
            &served(&page("/srv/www-errors/404.html")),
            &[("/srv/www", VolumeKind::Content), ("/srv/www-errors", files(&["404.html"]))],
        );
        // A folder is mounted before one in it, which it would hide.
        check(&served(&page("/srv/404.html")), &[("/srv", files(&["404.html"])), ("/srv/www", VolumeKind::Content)]);
        check(
            &served(&format!("{}\n {}", page("/srv/404.html"), page("/srv/errors/a/503.html").replace("404", "503"))),
            &[
                ("/srv", files(&["404.html"])),
                ("/srv/errors/a", files(&["503.html"])),
                ("/srv/www", VolumeKind::Content),
            ],
        );
        // A served folder has those that are in it.
        let nested = "site * {\n route \"/a/*\" {\n files \"/srv/www/a\"\n }\n route \"/b/*\" {\n files \"/srv/www-b\"\n }\n\
            route \"/*\" {\n error-page 404 (file)\"/srv/www/a/b/404.html\"\n files \"/srv/www\"\n }\n}";
        check(nested, &[("/srv/www", VolumeKind::Content), ("/srv/www-b", VolumeKind::Content)]);
        let log = "log access {\n to file \"/var/log/shop/a.log\"\n}\n";
        check(
            &format!("{log}{}", served(&page("/etc/shop/404.html"))),
            &[
                ("/etc/shop", files(&["404.html"])),
                ("/srv/www", VolumeKind::Content),
                ("/var/log/shop", VolumeKind::Scratch),
            ],
        );
        // Beside what is written: within it, around it, and the same.
        check(
            &format!("{log}{}", served(&page("/var/log/shop/pages/404.html"))),
            &[
                ("/srv/www", VolumeKind::Content),
                ("/var/log/shop", VolumeKind::Scratch),
                ("/var/log/shop/pages", files(&["404.html"])),
            ],
        );
        let around = format!("log access {{\n to file \"/data/log/a.log\"\n}}\n{}", served(&page("/data/404.html")));
        check(
            &around,
            &[("/data", files(&["404.html"])), ("/data/log", VolumeKind::Scratch), ("/srv/www", VolumeKind::Content)],
        );
        let same = format!("{log}site * {{\n files \"/var/log/shop\"\n}}");
        check(&same, &[("/var/log/shop", VolumeKind::Scratch)]);
        // Certificates that the image has.
        let by = |more: &str| {
            format!(
                "upstream app {{\n server \"10.0.0.1:443\"\n tls sni=\"a.test\" ca=\"/etc/ssl/certs/ca-certificates.crt\"\n}}\n{more}\
                 site a.test {{\n proxy app\n}}"
            )
        };
        check(&by(""), &[("/etc/ssl/certs", files(&["ca-certificates.crt"]))]);
        check(&by("site b.test {\n proxy \"https://b.test\"\n}\n"), &[]);
    }
}
