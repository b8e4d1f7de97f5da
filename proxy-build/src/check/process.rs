//! Checks `process` and `http2`: settings of the whole process.

use proxy_runtime::site::{ParamKind, Process, Setting};

use super::Check;
use crate::ast::{Item, What};
use crate::model;

impl Check<'_> {
    pub(crate) fn process(&mut self, items: &[Item]) -> Process {
        let (drain, max_streams) = (Setting::Fixed(model::DRAIN), Setting::Fixed(model::MAX_STREAMS));
        let mut process = Process { workers: None, drain, max_streams };
        for item in items {
            match &item.what {
                What::Workers(Some(workers)) => process.workers = self.setting(workers, ParamKind::Number),
                What::Workers(None) | What::Unread => {}
                What::Drain(timeout) => {
                    process.drain = self.setting(timeout, ParamKind::Duration).unwrap_or(process.drain);
                }
                What::MaxStreams(streams) => {
                    if !self.http2_spoken {
                        self.error("no-effect", "`max-streams` has no effect: no listener speaks HTTP/2", item.span);
                    }
                    process.max_streams = self.setting(streams, ParamKind::Number).unwrap_or(process.max_streams);
                }
                _ => unreachable!("the reader allows nothing else in `process` or `http2`"),
            }
        }
        process
    }
}
