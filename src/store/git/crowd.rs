//! How fast a server usually answers: if it is many times slower now, many others are there.
//!
//! Only a hint, by which the members of a crowd decide how many of them do what one must do. Wrong, it costs a connection
//! or leaves an update to the next one who comes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The memory of one store.
pub(super) struct Crowd {
    path: PathBuf,
}

impl Crowd {
    pub(super) fn new(place: &Path) -> Crowd {
        Crowd { path: place.join("usual-pace") }
    }

    /// How many there are, ourselves included: as many as the server was slower than usual; 1 if nothing is known of it.
    /// Remembers the usual: the fastest answer, which is forgotten slowly.
    pub(super) fn guess(&self, now: Duration) -> f64 {
        let now = now.as_micros().max(1) as f64;
        let usual = fs::read_to_string(&self.path).ok().and_then(|text| text.trim().parse::<f64>().ok());
        let usual = usual.filter(|usual| usual.is_finite() && *usual >= 1.0).unwrap_or(now);
        // A hint that cannot be kept is asked for again.
        let _ = fs::write(&self.path, format!("{:.0}\n", now.min(usual * 1.1)));
        (now / usual).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_is_the_fastest_and_is_forgotten_slowly() {
        let dir = tempfile::tempdir().unwrap();
        let crowd = Crowd::new(dir.path());
        let guess = |millis| crowd.guess(Duration::from_millis(millis));
        assert_eq!(guess(20), 1.0);
        assert_eq!(guess(400), 20.0);
        assert!(guess(400) < 20.0);
        assert_eq!(guess(10), 1.0);
        assert_eq!(guess(30), 3.0);
        fs::write(dir.path().join("usual-pace"), "garbage").unwrap();
        assert_eq!(guess(30), 1.0);
    }
}
