//! Stands for `compress::encoder` where the runtime is built without the feature `compress`. No site that needs it gets this far:
//! its output asserts `COMPRESSES` when it is compiled.

use crate::site::Coding;

/// There is none.
pub(super) enum Encoder {}

impl Encoder {
    pub(super) fn new(_: Coding, _: u8, _: Option<u64>) -> Option<Encoder> {
        None
    }

    pub(super) fn encode(&mut self, _: &[u8], _: &mut Vec<u8>) -> bool {
        match *self {}
    }

    pub(super) fn flush(&mut self, _: &mut Vec<u8>) -> bool {
        match *self {}
    }

    pub(super) fn finish(self, _: &mut Vec<u8>) -> bool {
        match self {}
    }
}
