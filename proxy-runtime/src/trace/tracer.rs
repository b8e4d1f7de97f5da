//! Decides about traces ([`Tracer`]): which are continued, which are exported, and what is sent to servers. Shared by workers; on the path of
//! requests if the site has `trace`.

use std::borrow::Cow;
use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::encode::{self, WallClock};
use super::exchange::ExchangeTrace;
use super::export::{Exporter, run};
use super::ids::SpanIds;
use super::queue::SpanQueue;
use crate::context::facts::Facts;
use crate::context::settings::{Settings, StartError};
use crate::failure::Failure;
use crate::observe::announce;
use crate::protocol::b3;
use crate::protocol::fields::Fields;
use crate::protocol::trace_context::{self, TRACEPARENT, TRACESTATE, TraceContext, TraceId};
use crate::site::{Site, Trace, TraceFormat, TraceTrust};

/// The tracing of a site: the decisions, and the queue of the exporter.
pub(crate) struct Tracer {
    config: &'static Trace,
    exporter: Exporter,
    pub(super) queue: SpanQueue,
}

/// The thread that exports.
pub(crate) struct TraceExport {
    tracer: &'static Tracer,
    /// The time at which exporting must end, once it is set.
    end: watch::Sender<Option<Instant>>,
    ended: Mutex<Receiver<()>>,
}

impl Tracer {
    /// Creates the tracer of a site that has `trace`.
    ///
    /// # Errors
    /// Fails if the collector's URL is not valid, or a header field can't be sent to it.
    pub(crate) fn new(site: &'static Site, settings: &'static Settings) -> Result<Option<&'static Tracer>, StartError> {
        let Some(config) = site.trace else { return Ok(None) };
        let refuse = |message: String| StartError { message, place: config.place.clone() };
        let exporter = Exporter::new(site, config, settings).map_err(refuse)?;
        Ok(Some(Box::leak(Box::new(Tracer { config, exporter, queue: SpanQueue::default() }))))
    }

    /// Starts the exporting thread.
    ///
    /// # Errors
    /// Fails if the system has no thread for it.
    pub(crate) fn start(&'static self) -> io::Result<TraceExport> {
        let ((end, closing), (ends, ended)) = (watch::channel(None), channel());
        let export = move || {
            run(&self.exporter, &self.queue, closing);
            // The receiver may be gone.
            let _ = ends.send(());
        };
        std::thread::Builder::new().name("trace".to_owned()).spawn(export)?;
        Ok(TraceExport { tracer: self, end, ended: Mutex::new(ended) })
    }

    /// Returns the trace of a request: the one in its header fields, if the client is trusted, or a new one. Fields of a trace that
    /// is not continued are removed. `trusted`: the peer is one of `trusted-proxies`.
    pub(crate) fn take_up(&self, fields: &mut Fields, trusted: bool, ids: &SpanIds) -> ExchangeTrace {
        let believed = match self.config.trust {
            TraceTrust::Proxies => trusted,
            TraceTrust::Any => true,
            TraceTrust::Nobody => false,
        };
        let said = if believed { self.said(fields) } else { None };
        let taken_up = said.filter(|said| said.trace.0 != 0);
        match taken_up {
            Some(_) => join_state(fields),
            None => self.forget(fields),
        }
        let (trace, random) = taken_up.map_or_else(|| (ids.trace(), true), |said| (said.trace, said.random));
        let decided = said.and_then(|said| said.sampled).filter(|_| self.config.follows);
        let sampled = decided.unwrap_or_else(|| is_among(trace, self.config.share));
        let context = TraceContext { trace, span: ids.span(), sampled: Some(sampled), random };
        ExchangeTrace::new(context, taken_up.map_or(0, |said| said.span))
    }

    /// Returns the context of the first format that the request has.
    fn said(&self, fields: &Fields) -> Option<TraceContext> {
        self.config.formats.iter().find_map(|format| match format {
            TraceFormat::W3c => trace_context::of_fields(fields),
            TraceFormat::B3 => b3::of_fields(fields),
            TraceFormat::B3Multi => b3::of_multiple(fields),
        })
    }

    /// Removes the header fields of all formats in use.
    fn forget(&self, fields: &mut Fields) {
        for format in self.config.formats.iter() {
            let names: &[&str] = match format {
                TraceFormat::W3c => &[TRACEPARENT, TRACESTATE],
                TraceFormat::B3 => &[b3::B3],
                TraceFormat::B3Multi => &b3::MULTIPLE,
            };
            names.iter().for_each(|name| fields.remove(name));
        }
    }

    /// Sets the header fields of a request to a server, for the span that sends it.
    pub(crate) fn tell(&self, fields: &mut Fields, trace: &ExchangeTrace, span: u64) {
        let told = trace.told(span);
        for format in self.config.formats.iter() {
            match format {
                TraceFormat::W3c => fields.set(TRACEPARENT, &trace_context::write(&told)),
                TraceFormat::B3 => fields.set(b3::B3, &b3::write(&told)),
                TraceFormat::B3Multi => b3::set_multiple(fields, &told, trace.within()),
            }
        }
    }

    /// Returns whether a completed exchange is exported: its trace is sampled, or it has failed.
    pub(crate) fn wants(&self, trace: &ExchangeTrace, status: u16, failure: Option<Failure>) -> bool {
        trace.is_sampled() || encode::has_failed(status, failure) || trace.beside && trace.ends_badly()
    }

    /// Exports a completed exchange, or counts its spans as dropped.
    pub(crate) fn over(
        &self,
        trace: &ExchangeTrace,
        facts: &Facts<'_>,
        (failure, began): (Option<Failure>, tokio::time::Instant),
    ) {
        let count = trace.attempts().len() + trace.phases.len() + usize::from(!trace.beside);
        if count == 0 {
            return;
        }
        if !self.queue.has_room() {
            return self.queue.drop(count);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let clock = WallClock { now: tokio::time::Instant::now(), nanos };
        self.queue.add(encode::exchange(trace, facts, (failure, began), clock));
    }

    /// Returns how many spans were dropped, and how many exported.
    #[cfg(feature = "admin")]
    pub(crate) fn counts(&self) -> (u64, u64) {
        self.queue.counts()
    }
}

/// Joins the lines of `tracestate` to one, or removes them if they are not valid.
fn join_state(fields: &mut Fields) {
    if !fields.contains(TRACESTATE) {
        return;
    }
    let joined = match trace_context::state(fields) {
        Some(Cow::Borrowed(_)) => return,
        Some(Cow::Owned(joined)) => Some(joined),
        None => None,
    };
    match joined {
        Some(joined) => fields.set(TRACESTATE, &joined),
        None => fields.remove(TRACESTATE),
    }
}

/// Returns whether a trace belongs to the exported share: by its ID, so that all proxies with the same share decide
/// alike.
fn is_among(trace: TraceId, share: u64) -> bool {
    (trace.0 as u64 & (Trace::ALL - 1)) < share
}

impl TraceExport {
    /// Closes the queue; waiting spans are exported until a point in time.
    pub(crate) fn close(&self, until: Instant) {
        self.end.send_replace(Some(until));
        self.tracer.queue.close();
    }

    /// Waits until all spans are exported, but no longer than `until`; the rest is lost and reported. Blocks.
    pub(crate) fn finish(&self, until: Instant) {
        let ended = self.ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let patience = until.saturating_duration_since(Instant::now());
        if let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(patience) {
            let left: usize = std::iter::from_fn(|| Some(self.tracer.queue.take()).filter(|left| !left.is_empty()))
                .flatten()
                .map(|spans| spans.count)
                .sum();
            announce(&format!("at least {left} spans were not exported: the collector is too slow"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::param::Setting;
    use crate::value::Place;

    fn tracer(trust: TraceTrust, (share, follows): (u64, bool), formats: &[TraceFormat]) -> Tracer {
        let config = Trace {
            url: Setting::Fixed("http://127.0.0.1/".into()),
            headers: Vec::new().into(),
            service: "a".into(),
            share,
            follows,
            trust,
            formats: formats.to_vec().into(),
            place: Place { file: "".into(), line: 1 },
        };
        Tracer { config: Box::leak(Box::new(config)), exporter: Exporter::nowhere(), queue: SpanQueue::default() }
    }

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const B3: &str = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-0";

    /// Returns the trace of a request with these header fields, and the fields that remain.
    fn taken_up(tracer: &Tracer, trusted: bool, before: &[(&str, &str)]) -> (ExchangeTrace, Vec<(String, String)>) {
        let mut fields: Fields = before.iter().copied().collect();
        let trace = tracer.take_up(&mut fields, trusted, &SpanIds::new());
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).expect("text");
        (trace, fields.iter().map(|(name, value)| (name.to_owned(), text(value))).collect())
    }

    #[test]
    fn whose_traces_are_continued() {
        let w3c = [TraceFormat::W3c];
        let check = |trust, trusted, expected| {
            let tracer = tracer(trust, (Trace::ALL, false), &w3c);
            let (trace, left) =
                taken_up(&tracer, trusted, &[("traceparent", PARENT), ("tracestate", "a=1"), ("b3", B3)]);
            assert_eq!(trace.parent != 0, expected);
            assert_eq!(trace.id().0 == 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, expected);
            // Fields of a format that is not in use are left alone.
            assert_eq!(left.len(), if expected { 3 } else { 1 });
            assert_ne!(trace.context.span, 0x00f0_67aa_0ba9_02b7);
        };
        check(TraceTrust::Proxies, true, true);
        check(TraceTrust::Proxies, false, false);
        check(TraceTrust::Any, false, true);
        check(TraceTrust::Nobody, true, false);
    }

    #[test]
    fn sampling_decisions() {
        let both = [TraceFormat::W3c, TraceFormat::B3];
        let check = |share, follows, fields: &[(&str, &str)], expected| {
            let tracer = tracer(TraceTrust::Any, (share, follows), &both);
            assert_eq!(taken_up(&tracer, false, fields).0.is_sampled(), expected, "{share} {follows} {fields:?}");
        };
        let not_sampled = PARENT.replace("-01", "-00");
        let (said, denied) = ([("traceparent", PARENT)], [("traceparent", not_sampled.as_str())]);
        check(Trace::ALL, false, &[], true);
        check(0, false, &[], false);
        check(0, false, &said, false);
        check(Trace::ALL, false, &denied, true);
        check(0, true, &said, true);
        check(Trace::ALL, true, &denied, false);
        check(Trace::ALL, true, &[("b3", B3)], false);
        check(0, true, &[("b3", "1")], true);
        check(0, true, &[("b3", B3.trim_end_matches("-0"))], false);
        check(Trace::ALL, true, &[("b3", B3.trim_end_matches("-0"))], true);
        // The first format that the request has decides.
        check(0, true, &[("b3", B3), said[0]], true);
        // A share of the IDs is sampled.
        let ids = SpanIds::new();
        let count = (0..10_000).filter(|_| is_among(ids.trace(), Trace::ALL / 10)).count();
        assert!((800..1200).contains(&count), "{count} of 10000");
    }

    #[test]
    fn states_are_joined_or_removed() {
        let tracer = tracer(TraceTrust::Any, (0, false), &[TraceFormat::W3c]);
        let check = |fields: &[(&str, &str)], expected: Option<&str>| {
            let (_, left) = taken_up(&tracer, false, fields);
            let states: Vec<_> = left.iter().filter(|(name, _)| name == "tracestate").map(|(_, value)| value).collect();
            assert_eq!(states, expected.iter().collect::<Vec<_>>(), "{fields:?}");
        };
        let parent = ("traceparent", PARENT);
        check(&[parent, ("tracestate", "a=1")], Some("a=1"));
        check(&[parent, ("tracestate", "a=1"), ("tracestate", "b=2")], Some("a=1,b=2"));
        check(&[parent, ("tracestate", "a=1"), ("tracestate", "a=1")], None);
        check(&[parent, ("tracestate", "what")], None);
        check(&[("traceparent", "what"), ("tracestate", "a=1")], None);
        check(&[("tracestate", "a=1")], None);
    }

    #[test]
    fn fields_of_requests_to_servers() {
        let formats = [TraceFormat::W3c, TraceFormat::B3, TraceFormat::B3Multi];
        let tracer = tracer(TraceTrust::Any, (Trace::ALL, false), &formats);
        let (trace, _) = taken_up(&tracer, false, &[("traceparent", PARENT)]);
        let mut fields: Fields = [("TraceParent", "x"), ("traceparent", "y"), ("a", "b")].into_iter().collect();
        tracer.tell(&mut fields, &trace, 0x12);
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let above = format!("{:016x}", trace.context.span);
        let expected = [
            ("traceparent", format!("00-{id}-0000000000000012-01")),
            ("a", "b".to_owned()),
            ("b3", format!("{id}-0000000000000012-1")),
            ("x-b3-traceid", id.to_owned()),
            ("x-b3-spanid", "0000000000000012".to_owned()),
            ("x-b3-parentspanid", above),
            ("x-b3-sampled", "1".to_owned()),
        ];
        assert_eq!(fields, expected.into_iter().collect());
    }
}
