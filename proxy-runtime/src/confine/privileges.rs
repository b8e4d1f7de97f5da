//! Drops privileges ([`give_up`]): the user that started the process, its groups and its capabilities (capabilities(7)).

use std::io;

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{self, CapabilitySet, CapabilitySets};

use crate::context::settings::{Settings, StartError};
use crate::net::accounts;
use crate::observe::notice;
use crate::site::{Privileges, Site};

/// Switches to the user of the site, and drops all capabilities. Sockets must be open, and this must be the only
/// thread.
///
/// # Errors
/// Fails if the user is unknown or the switch is refused, or if the user can't read a file that the site reads again on
/// SIGHUP.
pub(crate) fn give_up(site: &Site, settings: &Settings) -> Result<(), Vec<StartError>> {
    let Some(privileges) = &site.process.privileges else {
        if geteuid().is_root() {
            notice(
                "running as root: with `process { user NAME; }` the process gives that up once its sockets are open",
            );
        }
        return Ok(());
    };
    let refused = |error: io::Error| {
        let message = format!("privileges can't be given up: {error}");
        vec![StartError { message, place: privileges.place.clone() }]
    };
    if let Some(account) = Account::of(privileges).map_err(refused)? {
        account.become_it().map_err(refused)?;
    }
    no_capabilities().map_err(refused)?;
    let unreadable = |file| {
        let error = std::fs::File::open(settings.path(file)).err()?;
        Some(settings.refuse(file, &format!("it can't be read again as this user: {error}")))
    };
    let unreadable: Vec<_> = site.files.iter().filter_map(unreadable).collect();
    if unreadable.is_empty() { Ok(()) } else { Err(unreadable) }
}

/// A user with all of its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    user: u32,
    group: u32,
    others: Vec<u32>,
}

impl Account {
    /// Looks up the site's user; `None` if the site names no user.
    pub(crate) fn of(privileges: &Privileges) -> io::Result<Option<Account>> {
        let Some(name) = &privileges.user else { return Ok(None) };
        let user = accounts::user(name)?;
        let group = match &privileges.group {
            Some(group) => accounts::group(group)?,
            None => accounts::own_group(user)?.ok_or_else(|| {
                io::Error::other(format!("the user `{name}` has no group in /etc/passwd: write `group`"))
            })?,
        };
        Ok(Some(Account { user, group, others: accounts::memberships(user)? }))
    }

    /// Switches to the user for good.
    fn become_it(&self) -> io::Result<()> {
        let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(self.group));
        let failed = |error| io::Error::other(format!("{self} can't be become: {}", io::Error::from(error)));
        // A service manager may have switched the user already, and given it other groups; but what went before can be left in the real and saved IDs.
        if geteuid() != user || rustix::process::getegid() != group {
            let others: Vec<_> = self.others.iter().map(|&group| Gid::from_raw(group)).collect();
            thread::set_thread_groups(&others).map_err(failed)?;
        }
        thread::set_thread_res_gid(group, group, group).map_err(failed)?;
        thread::set_thread_res_uid(user, user, user).map_err(failed)?;
        if !user.is_root() && thread::set_thread_uid(Uid::ROOT).is_ok() {
            return Err(io::Error::other("root could be become again"));
        }
        Ok(())
    }
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "user {} with group {}", self.user, self.group)?;
        self.others.iter().try_for_each(|group| write!(f, " and {group}"))
    }
}

/// Drops all capabilities, and prevents programs from getting them back.
fn no_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    thread::clear_ambient_capability_set()?;
    thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    thread::set_no_new_privs(true)?;
    Ok(())
}
