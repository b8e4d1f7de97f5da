//! Limits files and ports by Landlock (landlock(7)): [`restrict`].

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, RulesetStatus,
};

use super::allowed::Allowed;

/// The version of the interface whose rules are applied, of Linux 6.10. Earlier kernels enforce the rules that they
/// know.
const KNOWN: ABI = ABI::V5;

/// Restricts this thread and those that it starts.
///
/// # Errors
/// Fails with what the kernel does not enforce. The rules that it knows are in force even then.
pub(super) fn restrict(allowed: &Allowed) -> Result<(), String> {
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

fn rules(allowed: &Allowed) -> Result<RulesetCreated, RulesetError> {
    let mut ports = BitFlags::from(AccessNet::BindTcp);
    if allowed.connect.is_some() {
        ports |= AccessNet::ConnectTcp;
    }
    let rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    let mut rules = rules.handle_access(AccessFs::from_all(KNOWN))?.handle_access(ports)?.create()?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    for folder in &allowed.read {
        rules = beneath(rules, folder, read)?;
    }
    for folder in &allowed.write {
        rules = beneath(rules, folder, AccessFs::from_all(KNOWN) & !BitFlags::from(AccessFs::Execute))?;
    }
    for &port in allowed.connect.iter().flatten() {
        rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    Ok(rules)
}

/// Allows access below a folder, if the folder exists.
fn beneath(rules: RulesetCreated, folder: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(folder) {
        Ok(open) => rules.add_rule(PathBeneath::new(open, access)),
        Err(_) => Ok(rules),
    }
}
