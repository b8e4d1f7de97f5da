//! Limits the process to what its site needs ([`enter`]): files and ports by Landlock, system calls by a filter.

use super::allowed::Allowed;
use super::{landlock, seccomp};
use crate::context::settings::{Settings, StartError};
use crate::observe::notice;
use crate::site::Site;

/// Applies the sandbox of a site. Sockets must be open, and this must be the only thread.
///
/// # Errors
/// Fails if the site requires a rule that this kernel lacks.
pub(crate) fn enter(site: &Site, settings: &Settings) -> Result<(), Vec<StartError>> {
    let Some(sandbox) = &site.process.sandbox else { return Ok(()) };
    for folder in sandbox.write.iter().map(|folder| folder.get(settings)) {
        // A rule needs a folder that exists. If the folder can't be created, the code that writes to it reports that.
        let _ = std::fs::create_dir_all(folder);
    }
    let allowed = Allowed::of(sandbox, site, settings);
    for path in &allowed.missing {
        notice(&format!("sandbox: nothing is found at `{}`, so it can't be used until the next start", path.display()));
    }
    for path in allowed.read.iter().filter(|path| path.is_file()) {
        let path = path.display();
        notice(&format!(
            "sandbox: `{path}` can't be read again once another file takes its place: give it a folder of its own"
        ));
    }
    let lacks = [landlock::restrict(&allowed), seccomp::restrict(&allowed)];
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
