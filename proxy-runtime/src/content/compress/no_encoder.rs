//! Replaces `compress::encoder` if the runtime is built without the feature `compress`. A site that needs it does not compile:
//! its output asserts `COMPRESSES`.

use crate::site::Coding;

/// There is no encoder.
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
