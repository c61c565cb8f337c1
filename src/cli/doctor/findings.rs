//! The findings, one line each.

use std::fmt::Display;

use serde_json::{Value, json};

/// The verdict on a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    /// It works, but is probably not intended.
    Doubtful,
    Bad,
    /// It could not be tried: an earlier step failed, or only the real operation would show it.
    Untried,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Good => "ok",
            Verdict::Doubtful => "warning",
            Verdict::Bad => "FAILED",
            Verdict::Untried => "untried",
        }
    }
}

struct Finding {
    verdict: Verdict,
    /// The subject: "store", "file", "socket".
    subject: &'static str,
    text: String,
    advice: Option<String>,
}

/// All findings, in the order of the checks.
#[derive(Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, verdict: Verdict, subject: &'static str, text: impl Display, advice: Option<String>) {
        self.0.push(Finding { verdict, subject, text: text.to_string(), advice });
    }

    pub(super) fn good(&mut self, subject: &'static str, text: impl Display) {
        self.add(Verdict::Good, subject, text, None);
    }

    pub(super) fn doubtful(
        &mut self,
        subject: &'static str,
        text: impl Display,
        advice: impl Into<Option<String>>,
    ) {
        self.add(Verdict::Doubtful, subject, text, advice.into());
    }

    pub(super) fn bad(
        &mut self,
        subject: &'static str,
        text: impl Display,
        advice: impl Into<Option<String>>,
    ) {
        self.add(Verdict::Bad, subject, text, advice.into());
    }

    pub(super) fn untried(&mut self, subject: &'static str, text: impl Display) {
        self.add(Verdict::Untried, subject, text, None);
    }

    pub(super) fn count(&self, verdict: Verdict) -> usize {
        self.0.iter().filter(|finding| finding.verdict == verdict).count()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The findings as lines for people: all, or those with the verdict `only`.
    pub(super) fn text(&self, only: Option<Verdict>) -> String {
        let meant = self.0.iter().filter(|finding| only.is_none_or(|only| finding.verdict == only));
        meant
            .map(|Finding { verdict, text, advice, .. }| {
                let advice = advice.as_ref().map(|advice| format!("\n        {advice}")).unwrap_or_default();
                format!("{:7} {text}{advice}\n", verdict.word())
            })
            .collect()
    }

    /// One JSON object: the findings, and the number of each verdict.
    pub(super) fn json(&self) -> Value {
        let findings: Vec<Value> = self
            .0
            .iter()
            .map(|Finding { verdict, subject, text, advice }| {
                let verdict = verdict.word().to_lowercase();
                json!({ "verdict": verdict, "subject": subject, "text": text, "advice": advice })
            })
            .collect();
        json!({
            "findings": findings,
            "ok": self.count(Verdict::Good),
            "warnings": self.count(Verdict::Doubtful),
            "failed": self.count(Verdict::Bad),
            "untried": self.count(Verdict::Untried),
        })
    }
}
