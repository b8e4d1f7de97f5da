//! Standard output and standard error as outputs of a queue ([`Standard`]).

use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::queue::Output;

/// A descriptor that the process was started with. It is used without the standard library's lock and buffer: whoever else
/// writes to it must not wait for a write that hangs.
pub(super) struct Standard<T>(pub(super) T);

impl<T: AsFd + Send + 'static> Output for Standard<T> {
    fn write(&mut self, mut lines: &[u8]) -> io::Result<()> {
        while !lines.is_empty() {
            let outcome = match rustix::io::write(&self.0, lines) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    lines = &lines[written..];
                    Ok(())
                }
                // Another process that shares it has made it non-blocking.
                Err(Errno::AGAIN) => poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None).map(drop),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
