//! The descriptions of policies for `kiln explain`, `kiln report` and `kiln diff`.

use proxy_runtime::context::addresses::Addresses;
use proxy_runtime::rehearse::RehearsalOutcome;

use crate::model::{Route, Site};

/// A phase of a request, for `explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExplainStep {
    /// Request fields.
    Intake,
    /// Access control.
    Access,
    /// Changes before forwarding.
    Change,
    /// Forwarding.
    Forward,
    /// The response.
    Response,
    /// The log.
    Finish,
}

/// A line of `explain`.
pub(crate) struct ExplainLine {
    pub(crate) step: ExplainStep,
    pub(crate) name: &'static str,
    pub(crate) text: String,
}

impl ExplainLine {
    /// Creates a line with a fixed text.
    pub(super) fn new(step: ExplainStep, name: &'static str, text: impl Into<String>) -> ExplainLine {
        ExplainLine { step, name, text: text.into() }
    }
}

/// The request to explain, up to its route.
pub(crate) struct ExplainedRequest<'a> {
    pub(crate) site: &'a Site,
    pub(crate) route: &'a Route,
    pub(crate) outcome: &'a RehearsalOutcome,
}

impl ExplainedRequest<'_> {
    /// Lines about a directive, with the locations that it is written at.
    pub(super) fn lines(
        &self,
        step: ExplainStep,
        name: &'static str,
        texts: impl IntoIterator<Item = impl Into<String>>,
    ) -> Vec<ExplainLine> {
        let line = |text: String| ExplainLine::new(step, name, format!("{text} [{}]", self.from(name)).trim_start());
        texts.into_iter().map(Into::into).map(line).collect()
    }

    /// Returns the locations of a directive.
    pub(super) fn from(&self, name: &str) -> String {
        let written = self.route.origins.iter().filter(|(found, _)| *found == name);
        let places: Vec<_> = written.map(|(_, place)| format!("{}:{}", place.file, place.line)).collect();
        if places.is_empty() { "defaults".to_owned() } else { places.join(", ") }
    }
}

/// Settings for comparison by `diff`.
#[derive(Default)]
pub(crate) struct PolicyDescription {
    /// The member of the runtime's policy or upstream; empty for a route's filters.
    pub(crate) member: &'static str,
    /// The subject of the member's values, if they are compared directly.
    pub(crate) values: Option<&'static str>,
    /// Subjects with their descriptions.
    pub(crate) words: Vec<(String, String)>,
    /// The allowed clients, if they are known during the build.
    pub(crate) allowed: Option<Addresses>,
}

impl PolicyDescription {
    /// Compares the values of a member, under a subject.
    pub(crate) fn values(member: &'static str, subject: &'static str) -> PolicyDescription {
        PolicyDescription { member, values: Some(subject), ..PolicyDescription::default() }
    }

    /// Compares descriptions in place of the values of a member.
    pub(super) fn words(member: &'static str, words: Vec<(String, String)>) -> PolicyDescription {
        PolicyDescription { member, words, ..PolicyDescription::default() }
    }

    /// Compares descriptions, all under one subject.
    pub(crate) fn lines(member: &'static str, subject: &str, texts: Vec<String>) -> PolicyDescription {
        PolicyDescription::words(member, texts.into_iter().map(|text| (subject.to_owned(), text)).collect())
    }
}
