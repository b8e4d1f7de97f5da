//! Limits files and ports by Landlock (landlock(7)): [`restrict`].

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, RulesetStatus,
};

use rustix::fs::{Mode, OFlags};

use super::allowed::Allowed;

/// The version of the interface whose rules are applied, of Linux 6.10. Earlier kernels enforce the rules that they
/// know.
const KNOWN: ABI = ABI::V5;

/// Restricts this thread and those that it starts.
///
/// # Errors
/// Fails with what the kernel does not enforce. The rules that it knows are in force even then.
pub(super) fn restrict(allowed: &Allowed) -> Result<(), String> {
    if allowed.moves && !knows_moves() {
        return Err(
            "this kernel has the first version of Landlock, with which a cache on disk can't move its files, so files and ports are not limited"
                .to_owned(),
        );
    }
    let status = rules(allowed).and_then(RulesetCreated::restrict_self);
    match status.map(|status| status.ruleset) {
        Ok(RulesetStatus::FullyEnforced) => Ok(()),
        Ok(RulesetStatus::PartiallyEnforced) => {
            Err("this kernel has an earlier version of Landlock than 5, and holds only a part of the rules".to_owned())
        }
        Ok(RulesetStatus::NotEnforced) => {
            Err("this kernel has no Landlock, so files and ports are not limited".to_owned())
        }
        Err(error) => Err(format!("Landlock: {error}")),
    }
}

/// Returns whether a rule can allow to move files from one folder to another: the first version forbids it to all who have rules.
fn knows_moves() -> bool {
    Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::Refer).is_ok()
}

fn rules(allowed: &Allowed) -> Result<RulesetCreated, RulesetError> {
    let mut ports = BitFlags::from(AccessNet::BindTcp);
    if allowed.connect.is_some() {
        ports |= AccessNet::ConnectTcp;
    }
    let rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    let mut rules = rules.handle_access(AccessFs::from_all(KNOWN))?.handle_access(ports)?.create()?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    for path in &allowed.read {
        rules = beneath(rules, path, read)?;
    }
    for path in &allowed.write {
        rules = beneath(rules, path, AccessFs::from_all(KNOWN) & !BitFlags::from(AccessFs::Execute))?;
    }
    for &port in allowed.connect.iter().flatten() {
        rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    Ok(rules)
}

/// Allows access to a file, or below a folder, if it exists.
fn beneath(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    let Ok(open) = PathFd::new(path) else { return Ok(rules) };
    // The kernel refuses rules with the rights of folders for files.
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(KNOWN) };
    if path.starts_with("/proc") {
        // Rules are for what a path leads to when they are made. In this filesystem that is forgotten and made again unless it is open.
        std::mem::forget(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()));
    }
    rules.add_rule(PathBeneath::new(open, access))
}
