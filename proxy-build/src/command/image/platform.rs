//! The machines that an image is for ([`Platform`]), by the names of OCI.

use serde_json::{Value, json};

/// An architecture, and its variant if it has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Platform {
    architecture: &'static str,
    variant: Option<&'static str>,
}

impl Platform {
    /// Returns the platform of a target. The names are those of Go's GOARCH, as OCI's image specification has it.
    fn of(target: &str) -> Option<Platform> {
        let (architecture, variant) = match target.split('-').next()? {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", None),
            "armv7" => ("arm", Some("v7")),
            "arm" => ("arm", Some("v6")),
            "i686" => ("386", None),
            "riscv64gc" => ("riscv64", None),
            "powerpc64le" => ("ppc64le", None),
            "s390x" => ("s390x", None),
            "loongarch64" => ("loong64", None),
            _ => return None,
        };
        Some(Platform { architecture, variant })
    }

    /// Adds it to a configuration or descriptor.
    pub(super) fn write(self, value: &mut Value) {
        value["architecture"] = self.architecture.into();
        value["os"] = "linux".into();
        if let Some(variant) = self.variant {
            value["variant"] = variant.into();
        }
    }

    /// Returns it as an object.
    pub(super) fn object(self) -> Value {
        let mut object = json!({});
        self.write(&mut object);
        object
    }
}

/// Returns the platforms of targets, with these; without targets, that of this machine.
///
/// # Errors
/// A target has no name in OCI, or two are for one platform.
pub(super) fn platforms(targets: &[String]) -> Result<Vec<(Platform, Option<String>)>, String> {
    let of =
        |target: &str| Platform::of(target).ok_or_else(|| format!("images can't be made for the target `{target}`"));
    if targets.is_empty() {
        return Ok(vec![(of(&format!("{}-", std::env::consts::ARCH))?, None)]);
    }
    let mut found: Vec<(Platform, Option<String>)> = Vec::new();
    for target in targets {
        let platform = of(target)?;
        if let Some((_, Some(other))) = found.iter().find(|(other, _)| *other == platform) {
            return Err(match other == target {
                true => format!("--target {target} is given twice"),
                false => format!(
                    "`{other}` and `{target}` are both for {}: an image has one binary for each",
                    platform.architecture
                ),
            });
        }
        found.push((platform, Some(target.clone())));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_of_targets() {
        let check = |targets: &[&str], expected: Result<Value, &str>| {
            let targets: Vec<String> = targets.iter().map(|&target| target.to_owned()).collect();
            let found = platforms(&targets);
            let found = found.map(|found| found.iter().map(|(platform, _)| platform.object()).collect::<Value>());
            assert_eq!(found.as_ref().map_err(String::as_str), expected.as_ref().map_err(|text| *text), "{targets:?}");
        };
        let (amd64, arm64) =
            (json!({"architecture": "amd64", "os": "linux"}), json!({"architecture": "arm64", "os": "linux"}));
        check(&["x86_64-unknown-linux-gnu"], Ok(json!([amd64])));
        check(&["aarch64-unknown-linux-musl", "x86_64-unknown-linux-gnu"], Ok(json!([arm64, amd64])));
        let arm = json!([{"architecture": "arm", "os": "linux", "variant": "v7"}, {"architecture": "arm", "os": "linux", "variant": "v6"}]);
        check(&["armv7-unknown-linux-musleabihf", "arm-unknown-linux-musleabihf"], Ok(arm));
        let twice = ["x86_64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"];
        check(&twice, Err("--target x86_64-unknown-linux-gnu is given twice"));
        let both = "`x86_64-unknown-linux-gnu` and `x86_64-unknown-linux-musl` are both for amd64: an image has one binary for each";
        check(&["x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl"], Err(both));
        check(&["mips-unknown-linux-gnu"], Err("images can't be made for the target `mips-unknown-linux-gnu`"));
        assert!(platforms(&[]).is_ok_and(|found| matches!(found[..], [(_, None)])));
    }
}
