//! Which changes of the list are not in the files yet, and when they are rendered.

use std::time::Duration;

use crate::liveness::Moment;
use crate::schedule::Quiet;

/// The digests of what the stores hold, in order.
pub(super) type Digests = Vec<String>;

/// The changes of the list.
#[derive(Debug)]
pub(super) struct Changes {
    /// The stores' digests at the last rendering.
    rendered: Option<Digests>,
    /// The stores' digests when they were last judged.
    seen: Digests,
    quiet: Quiet,
}

impl Changes {
    pub(super) fn new(quiet_min: Duration, quiet_max: Duration) -> Changes {
        Changes { rendered: None, seen: Vec::new(), quiet: Quiet::new(quiet_min, quiet_max) }
    }

    /// A store answered, and the stores have these digests now. True if they are news.
    pub(super) fn see(&mut self, digests: Digests, now: Moment) -> bool {
        let news = digests != self.seen;
        let differs = self.rendered.as_ref() != Some(&digests);
        // Also digests that were seen but not rendered, because the store went away in between.
        if differs && (news || self.quiet.due().is_none()) {
            self.quiet.changed(now);
        }
        if news {
            self.seen = digests;
        }
        news
    }

    /// Something else has changed that files depend on.
    pub(super) fn other(&mut self, now: Moment) {
        self.quiet.changed(now);
    }

    /// When to render the changes that wait.
    pub(super) fn due(&self) -> Option<Moment> {
        self.quiet.due()
    }

    /// Whether something changed, and the quiet time after it has passed.
    pub(super) fn is_quiet(&self, now: Moment) -> bool {
        self.due().is_some_and(|due| due <= now)
    }

    /// The files are about to be rendered, with these digests if a store answers. Otherwise the changes wait
    /// for the next look that gets an answer.
    pub(super) fn render(&mut self, current: Option<Digests>) {
        self.quiet.done();
        if current.is_some() {
            self.rendered = current;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Moment {
        Duration::from_secs(second)
    }

    fn digests(of: &str) -> Digests {
        vec![of.to_owned()]
    }

    #[test]
    fn a_change_waits_for_quiet_and_is_rendered_once() {
        let mut changes = Changes::new(at(2), at(10));
        assert!(changes.see(digests("a"), at(0)));
        assert!(!changes.see(digests("a"), at(1)));
        assert_eq!((changes.is_quiet(at(1)), changes.due()), (false, Some(at(2))));
        assert!(changes.is_quiet(at(2)));
        changes.render(Some(digests("a")));
        assert!(!changes.see(digests("a"), at(3)));
        assert_eq!(changes.due(), None);
        // There and back again: nothing is left to render, but it is news.
        assert!(changes.see(digests("b"), at(4)));
        assert!(changes.see(digests("a"), at(5)));
    }

    #[test]
    fn a_change_that_was_not_rendered_for_lack_of_a_store_is_not_forgotten() {
        let mut changes = Changes::new(at(2), at(10));
        changes.see(digests("a"), at(0));
        changes.render(None);
        assert_eq!(changes.due(), None);
        assert!(!changes.see(digests("a"), at(5)));
        assert_eq!(changes.due(), Some(at(7)));
    }
}
