//! The `Content-Type` of a file by its name. Pure.
//!
//! The common types, by the IANA registry (RFC 6838) and browsers' expectations ("MIME Sniffing" standard); text types have
//! a charset. An unknown type is `application/octet-stream`, which no browser runs.

use crate::protocol::fields::split_once;

/// The type of unknown files.
pub const BYTES: &str = "application/octet-stream";

/// Returns the type of a file by its extension, ignoring case.
pub fn of(name: &str) -> &'static str {
    let Some((_, extension)) = name.rsplit_once('.') else { return BYTES };
    TYPES.get(extension.to_ascii_lowercase().as_str()).copied().unwrap_or(BYTES)
}

/// Types by extension.
static TYPES: phf::Map<&str, &str> = phf::phf_map! {
    "3g2" => "video/3gpp2",
    "3gp" => "video/3gpp",
    "3gpp" => "video/3gpp",
    "7z" => "application/x-7z-compressed",
    "aac" => "audio/aac",
    "abw" => "application/x-abiword",
    "ai" => "application/postscript",
    "aif" => "audio/aiff",
    "aiff" => "audio/aiff",
    "amr" => "audio/amr",
    "apk" => "application/vnd.android.package-archive",
    "apng" => "image/apng",
    "arc" => "application/x-freearc",
    "asc" => "application/pgp-keys",
    "asf" => "video/x-ms-asf",
    "atom" => "application/atom+xml",
    "atomcat" => "application/atomcat+xml",
    "avi" => "video/x-msvideo",
    "avif" => "image/avif",
    "azw" => "application/vnd.amazon.ebook",
    "bin" => "application/octet-stream",
    "bmp" => "image/bmp",
    "br" => "application/octet-stream",
    "bz" => "application/x-bzip",
    "bz2" => "application/x-bzip2",
    "cda" => "application/x-cdf",
    "cer" => "application/pkix-cert",
    "cfg" => "text/plain; charset=utf-8",
    "cjs" => "text/javascript; charset=utf-8",
    "conf" => "text/plain; charset=utf-8",
    "crl" => "application/pkix-crl",
    "crt" => "application/x-x509-ca-cert",
    "crx" => "application/x-chrome-extension",
    "csh" => "application/x-csh",
    "css" => "text/css; charset=utf-8",
    "csv" => "text/csv; charset=utf-8",
    "cur" => "image/x-icon",
    "deb" => "application/vnd.debian.binary-package",
    "der" => "application/x-x509-ca-cert",
    "diff" => "text/plain; charset=utf-8",
    "dmg" => "application/x-apple-diskimage",
    "doc" => "application/msword",
    "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "dtd" => "application/xml-dtd",
    "ear" => "application/java-archive",
    "eml" => "message/rfc822",
    "eot" => "application/vnd.ms-fontobject",
    "eps" => "application/postscript",
    "epub" => "application/epub+zip",
    "f4v" => "video/mp4",
    "flac" => "audio/flac",
    "flv" => "video/x-flv",
    "geojson" => "application/geo+json",
    "gif" => "image/gif",
    "glb" => "model/gltf-binary",
    "gltf" => "model/gltf+json",
    "gpx" => "application/gpx+xml",
    "graphql" => "application/graphql",
    "gz" => "application/gzip",
    "heic" => "image/heic",
    "heif" => "image/heif",
    "htm" => "text/html; charset=utf-8",
    "html" => "text/html; charset=utf-8",
    "ico" => "image/x-icon",
    "ics" => "text/calendar; charset=utf-8",
    "importmap" => "application/importmap+json",
    "ini" => "text/plain; charset=utf-8",
    "ipynb" => "application/x-ipynb+json",
    "iso" => "application/x-iso9660-image",
    "jar" => "application/java-archive",
    "jfif" => "image/jpeg",
    "jng" => "image/x-jng",
    "jnlp" => "application/x-java-jnlp-file",
    "jp2" => "image/jp2",
    "jpe" => "image/jpeg",
    "jpeg" => "image/jpeg",
    "jpg" => "image/jpeg",
    "js" => "text/javascript; charset=utf-8",
    "json" => "application/json",
    "json5" => "application/json5",
    "jsonl" => "application/jsonl",
    "jsonld" => "application/ld+json",
    "jxl" => "image/jxl",
    "kml" => "application/vnd.google-earth.kml+xml",
    "kmz" => "application/vnd.google-earth.kmz",
    "log" => "text/plain; charset=utf-8",
    "m2ts" => "video/mp2t",
    "m3u" => "audio/mpegurl",
    "m3u8" => "application/vnd.apple.mpegurl",
    "m4a" => "audio/mp4",
    "m4b" => "audio/mp4",
    "m4s" => "video/iso.segment",
    "m4v" => "video/mp4",
    "map" => "application/json",
    "markdown" => "text/markdown; charset=utf-8",
    "mathml" => "application/mathml+xml",
    "md" => "text/markdown; charset=utf-8",
    "mid" => "audio/midi",
    "midi" => "audio/midi",
    "mjs" => "text/javascript; charset=utf-8",
    "mka" => "audio/x-matroska",
    "mkv" => "video/x-matroska",
    "mml" => "application/mathml+xml",
    "mng" => "video/x-mng",
    "mobi" => "application/x-mobipocket-ebook",
    "mov" => "video/quicktime",
    "mp3" => "audio/mpeg",
    "mp4" => "video/mp4",
    "mpd" => "application/dash+xml",
    "mpe" => "video/mpeg",
    "mpeg" => "video/mpeg",
    "mpg" => "video/mpeg",
    "mpkg" => "application/vnd.apple.installer+xml",
    "mts" => "video/mp2t",
    "ndjson" => "application/x-ndjson",
    "obj" => "model/obj",
    "odg" => "application/vnd.oasis.opendocument.graphics",
    "odp" => "application/vnd.oasis.opendocument.presentation",
    "ods" => "application/vnd.oasis.opendocument.spreadsheet",
    "odt" => "application/vnd.oasis.opendocument.text",
    "oga" => "audio/ogg",
    "ogg" => "audio/ogg",
    "ogm" => "video/ogg",
    "ogv" => "video/ogg",
    "ogx" => "application/ogg",
    "opus" => "audio/ogg",
    "otf" => "font/otf",
    "p12" => "application/x-pkcs12",
    "p7b" => "application/x-pkcs7-certificates",
    "patch" => "text/plain; charset=utf-8",
    "pdf" => "application/pdf",
    "pem" => "application/x-pem-file",
    "pfx" => "application/x-pkcs12",
    "png" => "image/png",
    "ppt" => "application/vnd.ms-powerpoint",
    "pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "properties" => "text/plain; charset=utf-8",
    "ps" => "application/postscript",
    "psd" => "image/vnd.adobe.photoshop",
    "qt" => "video/quicktime",
    "rar" => "application/vnd.rar",
    "rdf" => "application/rdf+xml",
    "rpm" => "application/x-rpm",
    "rss" => "application/rss+xml",
    "rtf" => "application/rtf",
    "sgml" => "text/sgml; charset=utf-8",
    "sh" => "application/x-sh",
    "shtml" => "text/html; charset=utf-8",
    "sig" => "application/pgp-signature",
    "spx" => "audio/ogg",
    "sql" => "application/sql",
    "sqlite" => "application/vnd.sqlite3",
    "srt" => "application/x-subrip",
    "stl" => "model/stl",
    "svg" => "image/svg+xml",
    "swf" => "application/x-shockwave-flash",
    "tar" => "application/x-tar",
    "tcl" => "application/x-tcl",
    "tex" => "application/x-tex",
    "tgz" => "application/gzip",
    "tif" => "image/tiff",
    "tiff" => "image/tiff",
    "toml" => "application/toml",
    "topojson" => "application/json",
    "torrent" => "application/x-bittorrent",
    "ts" => "video/mp2t",
    "tsv" => "text/tab-separated-values; charset=utf-8",
    "ttc" => "font/collection",
    "ttf" => "font/ttf",
    "ttl" => "text/turtle; charset=utf-8",
    "ttml" => "application/ttml+xml",
    "txt" => "text/plain; charset=utf-8",
    "usdz" => "model/vnd.usdz+zip",
    "vcf" => "text/vcard; charset=utf-8",
    "vsd" => "application/vnd.visio",
    "vtt" => "text/vtt; charset=utf-8",
    "war" => "application/java-archive",
    "wasm" => "application/wasm",
    "wat" => "text/plain; charset=utf-8",
    "wav" => "audio/wav",
    "wbmp" => "image/vnd.wap.wbmp",
    "weba" => "audio/webm",
    "webm" => "video/webm",
    "webmanifest" => "application/manifest+json",
    "webp" => "image/webp",
    "wma" => "audio/x-ms-wma",
    "wmv" => "video/x-ms-wmv",
    "woff" => "font/woff",
    "woff2" => "font/woff2",
    "wsdl" => "application/wsdl+xml",
    "xht" => "application/xhtml+xml",
    "xhtml" => "application/xhtml+xml",
    "xls" => "application/vnd.ms-excel",
    "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "xml" => "application/xml",
    "xpi" => "application/x-xpinstall",
    "xsd" => "application/xml",
    "xsl" => "application/xslt+xml",
    "xslt" => "application/xslt+xml",
    "xspf" => "application/xspf+xml",
    "xul" => "application/vnd.mozilla.xul+xml",
    "xz" => "application/x-xz",
    "yaml" => "application/yaml",
    "yml" => "application/yaml",
    "zip" => "application/zip",
    "zst" => "application/zstd",
};

/// Returns whether a `Content-Type` is one of these: a complete type, a prefix such as `text/`, or a suffix such as
/// `+json`.
pub fn is_among(types: &[impl AsRef<str>], content_type: &[u8]) -> bool {
    let media = split_once(content_type, b';').map_or(content_type, |(media, _)| media).trim_ascii();
    types.iter().any(|known| {
        let known = known.as_ref().as_bytes();
        let part = match known {
            [b'+', ..] => media.len().checked_sub(known.len()).and_then(|start| media.get(start..)),
            [.., b'/'] => media.get(..known.len()),
            _ => Some(media),
        };
        part.is_some_and(|part| part.eq_ignore_ascii_case(known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_extension() {
        let check = |name: &str, expected: &str| assert_eq!(of(name), expected, "{name}");
        check("a.html", "text/html; charset=utf-8");
        check("a.tar.GZ", "application/gzip");
        check("A.JPG", "image/jpeg");
        check("subtitles.vtt", "text/vtt; charset=utf-8");
        check("app.MJS", "text/javascript; charset=utf-8");
        check("a.3gp", "video/3gpp");
        check("Makefile", BYTES);
        check("a.", BYTES);
        check("a.exe", BYTES);
        // Exactly the text types have a charset.
        for (extension, media) in &TYPES {
            assert_eq!(media.starts_with("text/"), media.ends_with("; charset=utf-8"), "{extension}");
        }
    }
}
