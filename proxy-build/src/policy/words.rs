//! The texts of policies for `kiln explain`, for the page of `kiln report`, and for changes that `kiln diff` finds.

use proxy_runtime::context::addresses::Addresses;
use proxy_runtime::rehearse::RehearsalOutcome;

use crate::model::{Route, Site};

/// A part of the way of a request, as `explain` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExplainStep {
    /// What is taken in.
    Intake,
    /// Whether it may pass.
    Access,
    /// What is changed before it is forwarded.
    Change,
    /// How it is forwarded.
    Forward,
    /// What becomes of the response.
    Response,
    /// What comes last.
    Finish,
}

/// A line of `explain`.
pub(crate) struct ExplainLine {
    pub(crate) step: ExplainStep,
    pub(crate) name: &'static str,
    pub(crate) text: String,
}

impl ExplainLine {
    /// A line that is as it is, wherever that is said.
    pub(super) fn new(step: ExplainStep, name: &'static str, text: impl Into<String>) -> ExplainLine {
        ExplainLine { step, name, text: text.into() }
    }
}

/// A request that is explained, as far as its route.
pub(crate) struct ExplainedRequest<'a> {
    pub(crate) site: &'a Site,
    pub(crate) route: &'a Route,
    pub(crate) outcome: &'a RehearsalOutcome,
}

impl ExplainedRequest<'_> {
    /// Lines about a directive, each with the places where it is written.
    pub(super) fn lines(
        &self,
        step: ExplainStep,
        name: &'static str,
        texts: impl IntoIterator<Item = impl Into<String>>,
    ) -> Vec<ExplainLine> {
        let line = |text: String| ExplainLine::new(step, name, format!("{text} [{}]", self.from(name)).trim_start());
        texts.into_iter().map(Into::into).map(line).collect()
    }

    /// The places where a directive is written.
    pub(super) fn from(&self, name: &str) -> String {
        let written = self.route.origins.iter().filter(|(found, _)| *found == name);
        let places: Vec<_> = written.map(|(_, place)| format!("{}:{}", place.file, place.line)).collect();
        if places.is_empty() { "defaults".to_owned() } else { places.join(", ") }
    }
}

/// The settings that `diff` compares.
#[derive(Default)]
pub(crate) struct PolicyDescription {
    /// The member of the runtime's policy, or upstream, that this is about; none, where the filters of a route are.
    pub(crate) member: &'static str,
    /// The subject of the values in that member, where they tell it.
    pub(crate) values: Option<&'static str>,
    /// Subjects, and what is said about each, in words.
    pub(crate) words: Vec<(String, String)>,
    /// Who may come in, where that is known at build.
    pub(crate) allowed: Option<Addresses>,
}

impl PolicyDescription {
    /// By the values in a member, about a subject.
    pub(crate) fn values(member: &'static str, subject: &'static str) -> PolicyDescription {
        PolicyDescription { member, values: Some(subject), ..PolicyDescription::default() }
    }

    /// In words, in place of the values in a member.
    pub(super) fn words(member: &'static str, words: Vec<(String, String)>) -> PolicyDescription {
        PolicyDescription { member, words, ..PolicyDescription::default() }
    }

    /// The same, all about one subject.
    pub(crate) fn lines(member: &'static str, subject: &str, texts: Vec<String>) -> PolicyDescription {
        PolicyDescription::words(member, texts.into_iter().map(|text| (subject.to_owned(), text)).collect())
    }
}
