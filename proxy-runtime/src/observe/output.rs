//! Outputs of a queue: standard output and standard error ([`Standard`]), and, with the feature `logs`, files ([`file`]) and sockets
//! ([`socket`]).

#[cfg(feature = "logs")]
pub(super) mod file;
#[cfg(feature = "logs")]
pub(super) mod socket;

use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::queue::Output;

/// A descriptor that the process was started with. Its lines bypass the standard library's lock and buffer: no other
/// writer may wait for a write that hangs.
pub(super) struct Standard<T>(pub(super) T);

impl<T: AsFd + Send + 'static> Output for Standard<T> {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        write_all(&self.0, lines).map_err(|(error, _)| error)
    }
}

/// Writes all bytes to a descriptor, which may be non-blocking.
///
/// # Errors
/// Returns the reason for a failure, and how many bytes were written before it.
fn write_all(to: &impl AsFd, lines: &[u8]) -> Result<(), (io::Error, usize)> {
    let mut written = 0;
    while written < lines.len() {
        let outcome = match rustix::io::write(to, &lines[written..]) {
            Ok(0) => return Err((io::ErrorKind::WriteZero.into(), written)),
            Ok(some) => {
                written += some;
                Ok(())
            }
            // The descriptor is non-blocking from the start, or another process that shares it has made it so.
            Err(Errno::AGAIN) => poll(&mut [PollFd::new(to, PollFlags::OUT)], None).map(drop),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) | Err(Errno::INTR) => {}
            Err(error) => return Err((error.into(), written)),
        }
    }
    Ok(())
}
