//! Limits the process before it serves: its user and capabilities ([`privileges`]), and the files, ports and system calls that its site does
//! not need ([`sandbox`]). Both happen while it has a single thread: the kernel keeps users, capabilities and rules by thread, and threads
//! inherit them.

pub(crate) mod allowed;
mod landlock;
pub(crate) mod privileges;
pub(crate) mod sandbox;
mod seccomp;
