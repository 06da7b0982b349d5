//! Why a command did not do what was asked, and how the process ends.

use std::fmt;
use std::process::ExitCode;

use ks_client::graph::excerpt::Excerpt;
use ks_client::graph::grammar::GrammarError;

use crate::output;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All was done.
    Done,
    /// The job failed.
    Failed,
    /// The request was wrong.
    Usage,
    /// A signal stopped the job, which left everything in order.
    Signalled(u8),
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Signalled(signal) => 128_u8.saturating_add(signal),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// What was being done, why it failed, and what to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// [`Exit::Failed`] or [`Exit::Usage`].
    pub(crate) exit: Exit,
    /// What could not be done and to which object, such as "open the filter `x`".
    pub(crate) doing: String,
    /// The cause.
    pub(crate) why: String,
    /// Where in the text of the graph.
    pub(crate) place: Option<Excerpt>,
    /// What to try.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// The job failed.
    pub(crate) fn job(doing: impl Into<String>, why: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, doing: doing.into(), why: why.into(), place: None, hint: None }
    }

    /// The request was wrong.
    pub(crate) fn usage(doing: impl Into<String>, why: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, ..Self::job(doing, why) }
    }

    /// The text of a graph is wrong.
    pub(crate) fn grammar(error: &GrammarError, text: &str) -> Self {
        let failure = Self::usage("read the graph", error.why()).with_hint(&*error.hint);
        if text.is_empty() { failure } else { failure.at(error.excerpt().clone()) }
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Says why and ends the process, because the thread that would is stuck for good.
    pub(crate) fn end_process(&self) {
        output::complain(self);
        std::process::exit(i32::from(self.exit.code()));
    }

    pub(crate) fn at(self, place: Excerpt) -> Self {
        Self { place: Some(place), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: cannot {}: {}", self.doing, self.why)?;
        if let Some(place) = &self.place {
            for line in place.to_string().lines() {
                write!(f, "\n  {line}")?;
            }
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_deed_the_cause_the_place_and_the_remedy() {
        let text = "camra ! x.";
        let error = ks_client::graph::grammar::parse(text).expect_err("dangling");
        assert_eq!(
            Failure::grammar(&error, text).to_string(),
            "error: cannot read the graph: no element has the label `x`\n  camra ! x.\n          ^^\nhint: label an element \
             with name=x"
        );
    }

    #[test]
    fn the_exit_codes_are_those_of_the_help() {
        let codes = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Signalled(2), Exit::Signalled(15)].map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 130, 143]);
    }
}
