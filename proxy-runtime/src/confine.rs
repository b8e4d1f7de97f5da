//! What the process gives up once it has all that it needs more rights for: its user ([`privileges`]), and whatever its site has no use
//! for ([`sandbox`]). Both happen while it has a single thread: the kernel keeps users, capabilities and rules by thread, and threads inherit
//! them.

pub(crate) mod allowed;
mod landlock;
pub(crate) mod privileges;
pub(crate) mod sandbox;
mod seccomp;
