//! Limits the process to what its site needs ([`enter`]): files and ports by Landlock, system calls by a filter.

use super::allowed::Allowed;
use super::{landlock, seccomp};
use crate::context::settings::{Settings, StartError};
use crate::observe::notice;
use crate::site::Site;

/// Gives up all that the site has no use for. Sockets must be open, and this must be the only thread.
///
/// # Errors
/// The site requires what this kernel doesn't have, or a port is not one.
pub(crate) fn enter(site: &Site, settings: &Settings) -> Result<(), Vec<StartError>> {
    let Some(sandbox) = &site.process.sandbox else { return Ok(()) };
    let allowed = Allowed::of(sandbox, site, settings);
    for folder in &allowed.write {
        // Rules are about what is there. Whoever uses it says what is wrong with it.
        let _ = std::fs::create_dir_all(folder);
    }
    let lacks = [landlock::restrict(&allowed), if allowed.programs { Ok(()) } else { seccomp::restrict() }];
    let lacks: Vec<_> = lacks.into_iter().filter_map(Result::err).collect();
    if lacks.is_empty() {
        return Ok(());
    }
    let message = format!("the sandbox is incomplete: {}", lacks.join("; "));
    if sandbox.required {
        return Err(vec![StartError { message, place: sandbox.place.clone() }]);
    }
    notice(&message);
    Ok(())
}
