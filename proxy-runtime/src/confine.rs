//! What the process gives up once it has all that it needs more rights for. Both happen while it has a single thread: the kernel
//! keeps users, capabilities and rules by thread, and threads inherit them.

pub(crate) mod privileges;
