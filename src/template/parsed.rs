//! Templates that were read and parsed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use handlebars::Template;

/// The origin of a template, and its text.
#[derive(Debug, Clone)]
pub(super) struct TemplateSource {
    pub(super) path: String,
    pub(super) text: String,
}

/// A template and its partials.
#[derive(Debug, Clone)]
pub(super) struct Parsed {
    /// By name.
    pub(super) sources: BTreeMap<String, TemplateSource>,
    pub(super) templates: Vec<Template>,
}

/// Templates by name, which are parsed once.
#[derive(Debug, Default)]
pub(super) struct ParsedOnce(Mutex<BTreeMap<String, Arc<Parsed>>>);

impl ParsedOnce {
    pub(super) fn get(&self, name: &str) -> Option<Arc<Parsed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(super) fn keep(&self, name: &str, parsed: &Arc<Parsed>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), Arc::clone(parsed));
    }
}
