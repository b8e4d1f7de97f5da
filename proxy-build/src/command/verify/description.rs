//! What a binary says of itself ([`Description`]): its SBOM, read from its section.

use std::collections::BTreeMap;

use object::{File, Object as _, ObjectSection as _};
use serde_json::Value;

use crate::command::artefact::recipe::{Settings, words};
use crate::command::artefact::sbom;

/// The SBOM of a binary.
pub(super) struct Description(Value);

impl Description {
    /// Reads the description of a binary.
    ///
    /// # Errors
    /// The reason why it has none, after its name.
    pub(super) fn of(binary: &[u8]) -> Result<Description, String> {
        let file = elf_file(binary).ok_or("is no binary of Linux, or a damaged one")?;
        let section = file.section_by_name(sbom::SECTION).ok_or("was not made by `kiln build`, or by an older one")?;
        let content = section.data().ok().and_then(|data| serde_json::from_slice(data).ok());
        content.map(Description).ok_or_else(|| "has a damaged description".to_owned())
    }

    /// Returns how the binary was built.
    pub(super) fn settings(&self) -> Option<Settings> {
        let properties = self.properties();
        Settings::of(|name| properties.get(name).copied())
    }

    /// Returns what another description has differently, in words.
    pub(super) fn differences(&self, here: &Description) -> Vec<String> {
        let kiln = |description: &Description| {
            Some(description.0["metadata"]["tools"]["components"][0]["version"].as_str()?.to_owned())
        };
        let mut out = Vec::new();
        let mut compare = |what: &str, theirs: Option<&str>, ours: Option<&str>| {
            if theirs != ours {
                let shown = |value: Option<&str>| match value {
                    None => "nothing".to_owned(),
                    Some("") => "none".to_owned(),
                    Some(value) => format!("`{value}`"),
                };
                out.push(format!("{what}: {} in the binary, {} here", shown(theirs), shown(ours)));
            }
        };
        compare("kiln", kiln(self).as_deref(), kiln(here).as_deref());
        let (theirs, ours) = (self.properties(), here.properties());
        for name in ours.keys().chain(theirs.keys().filter(|name| !ours.contains_key(*name))) {
            compare(words(name), theirs.get(name).copied(), ours.get(name).copied());
        }
        let (theirs, ours) = (self.components(), here.components());
        for id in ours.keys().chain(theirs.keys().filter(|id| !ours.contains_key(*id))) {
            match (theirs.get(id), ours.get(id)) {
                (Some(theirs), Some(ours)) if theirs != ours => out.push(format!("{id}: another content")),
                (Some(_), None) => out.push(format!("{id}: only in the binary")),
                (None, Some(_)) => out.push(format!("{id}: only here")),
                _ => {}
            }
        }
        out
    }

    fn properties(&self) -> BTreeMap<&str, &str> {
        let properties = self.0["metadata"]["properties"].as_array().into_iter().flatten();
        properties.filter_map(|property| Some((property["name"].as_str()?, property["value"].as_str()?))).collect()
    }

    /// Returns the files and packages, each with its hash.
    fn components(&self) -> BTreeMap<String, Option<&str>> {
        let components = self.0["components"].as_array().into_iter().flatten();
        let component = |component: &'_ Value| -> Option<String> {
            let (kind, name) = (component["type"].as_str()?, component["name"].as_str()?);
            let version = component["version"].as_str().map_or(String::new(), |version| format!(" {version}"));
            Some(format!("{} {name}{version}", if kind == "file" { "file" } else { "package" }))
        };
        components.filter_map(|of| Some((component(of)?, of["hashes"][0]["content"].as_str()))).collect()
    }
}

/// Returns the name of the section that contains a byte of a binary.
pub(super) fn section_at(binary: &[u8], at: u64) -> Option<String> {
    let file = elf_file(binary)?;
    let mut sections = file.sections();
    let found =
        sections.find(|section| section.file_range().is_some_and(|(start, size)| at >= start && at - start < size));
    Some(found?.name().ok()?.to_owned())
}

/// Reads a binary of 32 or 64 bits, of either byte order.
fn elf_file(binary: &[u8]) -> Option<File<'_>> {
    File::parse(binary).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::artefact::recipe::DIST;

    /// The forms of ELF files: the size of an address, and the order of bytes.
    const FORMS: [(usize, bool); 4] = [(8, false), (8, true), (4, false), (4, true)];

    /// Writes a number into so many bytes.
    fn number(out: &mut Vec<u8>, value: usize, bytes: usize, big_endian: bool) {
        let all = (value as u64).to_le_bytes();
        let mut bytes = all[..bytes].to_vec();
        if big_endian {
            bytes.reverse();
        }
        out.extend(bytes);
    }

    /// Returns an ELF file with one section and that of the names, as the System V ABI has it: the header, the contents, the section headers.
    fn elf((address, big_endian): (usize, bool), name: &str, content: &[u8]) -> Vec<u8> {
        let names = format!("\0{name}\0.shstrtab\0");
        let (header, section) = if address == 8 { (64, 64) } else { (52, 40) };
        let at_names = header + content.len();
        let at_sections = (at_names + names.len()).next_multiple_of(8);
        let mut out = vec![0x7f, b'E', b'L', b'F', if address == 8 { 2 } else { 1 }, 1 + u8::from(big_endian), 1];
        out.resize(16, 0);
        // Type, machine and version; the entry and both tables; flags, and the sizes and numbers of headers.
        for (value, bytes) in [(2, 2), (0, 2), (1, 4), (0, address), (0, address), (at_sections, address), (0, 4)]
            .into_iter()
            .chain([header, 0, 0, section, 3, 2].map(|value| (value, 2)))
        {
            number(&mut out, value, bytes, big_endian);
        }
        assert_eq!(out.len(), header);
        out.extend(content);
        out.extend(names.bytes());
        out.resize(at_sections, 0);
        let of_names = (name.len() + 2, 3, at_names, names.len());
        for (name, kind, at, size) in [(0, 0, 0, 0), (1, 1, header, content.len()), of_names] {
            for (value, bytes) in [
                (name, 4),
                (kind, 4),
                (0, address),
                (0, address),
                (at, address),
                (size, address),
                (0, 4),
                (0, 4),
                (1, address),
                (0, address),
            ] {
                number(&mut out, value, bytes, big_endian);
            }
        }
        out
    }

    fn sbom_of(target: &str) -> String {
        let property = |name: &str, value: &str| serde_json::json!({"name": name, "value": value});
        let properties =
            [property("kiln:profile", DIST), property("kiln:linking", "static"), property("kiln:target", target)];
        serde_json::json!({"metadata": {"properties": properties}}).to_string()
    }

    #[test]
    fn binaries_of_all_machines() {
        let check = |form: (usize, bool), section: &str, content: &str, expected: Result<Option<Settings>, &str>| {
            let binary = elf(form, section, content.as_bytes());
            let found = Description::of(&binary).map(|description| description.settings());
            assert_eq!(found, expected.map_err(str::to_owned), "{form:?} {section} {content}");
        };
        for form in FORMS {
            for target in ["x86_64-unknown-linux-gnu", "armv7-unknown-linux-musleabihf", "i686-unknown-linux-gnu"] {
                let settings = Settings::new(false, true, Some(target.to_owned()));
                check(form, sbom::SECTION, &sbom_of(target), Ok(Some(settings)));
            }
            check(form, sbom::SECTION, "{}", Ok(None));
            check(form, sbom::SECTION, "{", Err("has a damaged description"));
            check(form, ".text", "{}", Err("was not made by `kiln build`, or by an older one"));
        }
    }

    #[test]
    fn damaged_binaries() {
        let check = |binary: &[u8]| Description::of(binary).map(|description| description.settings()).err();
        let no_binary = Some("is no binary of Linux, or a damaged one".to_owned());
        assert_eq!(check(b""), no_binary);
        assert_eq!(check(b"#!/bin/sh\nexit 0\n"), no_binary);
        for form in FORMS {
            let whole = elf(form, sbom::SECTION, sbom_of("armv7-unknown-linux-musleabihf").as_bytes());
            assert_eq!(check(&whole), None);
            // The table of sections is at the end.
            for length in 0..whole.len() {
                assert!(check(&whole[..length]).is_some(), "{form:?}: {length} bytes");
                let _ = section_at(&whole[..length], 100);
            }
            for at in 0..whole.len() {
                for byte in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut changed = whole.clone();
                    changed[at] = byte;
                    let _ = (check(&changed), section_at(&changed, 100));
                }
            }
        }
    }

    #[test]
    fn sections_by_place() {
        for form in FORMS {
            let binary = elf(form, ".data", b"0123456789");
            let header = if form.0 == 8 { 64 } else { 52 };
            let check =
                |at: u64, expected: Option<&str>| assert_eq!(section_at(&binary, at).as_deref(), expected, "{at}");
            check(0, None);
            check(header - 1, None);
            check(header, Some(".data"));
            check(header + 9, Some(".data"));
            check(header + 10, Some(".shstrtab"));
            check(binary.len() as u64 + 1, None);
        }
    }
}
