//! A digest of everything that an output is made from. Equal digests mean an equal output and equal messages.

use xxhash_rust::xxh3::Xxh3Default;

use crate::config::Config;
use crate::facts::own_addresses;
use crate::haproxy::Installed;
use crate::program;
use crate::record::Facts;
use crate::store::Version;
use crate::template::Lookup;

/// The inputs of an output, besides the stores.
pub struct Inputs(Xxh3Default);

impl Inputs {
    /// All arguments and the whole configuration go in, whether or not they matter, so that none is forgotten
    /// when they grow. `None` if an input has no digest.
    pub fn new(
        args: &impl std::fmt::Debug,
        config: &Config,
        facts: &Facts,
        lookup: &Lookup,
    ) -> Option<Inputs> {
        let mut inputs = Inputs(Xxh3Default::new());
        inputs.add(&program::build()?);
        inputs.add(&lookup.digest()?);
        inputs.add(&format!("{args:?}"));
        inputs.add(&format!("{config:?}"));
        inputs.add(&format!("{facts:?}"));
        // Records of other nodes may not state this machine's addresses.
        inputs.add(&format!("{:?}", own_addresses()));
        inputs.add(&Installed::find().map_or(String::new(), |installed| installed.stamp().to_owned()));
        Some(inputs)
    }

    fn add(&mut self, text: &str) {
        self.0.update(&(text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
    }

    /// The digest of all inputs, with the URL and version of each store in order. `None` if a store has no
    /// version.
    pub fn name<'a>(&self, stores: impl Iterator<Item = (&'a str, Option<&'a Version>)>) -> Option<String> {
        let mut all = Inputs(self.0.clone());
        for (url, version) in stores {
            all.add(url);
            all.add(version?.as_str());
        }
        Some(format!("{:032x}", all.0.digest128()))
    }
}
