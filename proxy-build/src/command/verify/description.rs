//! What a binary says of itself ([`Description`]): its SBOM, read from its section.

use std::collections::BTreeMap;

use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSection as _};
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

fn elf_file(binary: &[u8]) -> Option<ElfFile64<'_, Endianness>> {
    ElfFile64::parse(binary).ok()
}
