//! Helpers for HAProxy's config: stable ids of servers and backends. They do not change when other nodes come
//! and go, so a hash over them does not move other servers' keys.

use std::sync::Arc;

use handlebars::{Context, Handlebars, Helper, HelperDef, RenderContext, RenderError, ScopedJson};

use super::block::key;
use super::choice::{argument, is_given, other, service};
use super::frontend::FrontendPort;
use super::{Shared, add};
use crate::escape::haproxy::{besides, server_id, unique_but_kept};
use crate::haproxy::Version;
use crate::record::text;
use crate::sanitize::excerpt;
use crate::template::HAPROXY_VERSION;

/// The helper that tests the version of HAProxy.
pub(in crate::template) const AT_LEAST: &str = "haproxy_at_least";

pub(super) fn register<'a>(engine: &mut Handlebars<'a>, shared: &Shared<'a>) {
    add(engine, "haproxy_id", Id(shared.clone()));
    add(engine, "haproxy_backend_id", BackendId(shared.clone()));
    add(engine, AT_LEAST, AtLeast);
    add(engine, "frontend_port", FrontendPort(shared.clone()));
}

/// `{{haproxy_id instance-id}}`: the server id of a node, unique among all nodes.
struct Id<'a>(Shared<'a>);

impl HelperDef for Id<'_> {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let name = argument(h, 0)?;
        let id = self.0.server_id(&name).unwrap_or_else(|| server_id(&name));
        Ok(ScopedJson::Derived(id.into()))
    }
}

/// `{{haproxy_backend_id part}}`: the backend id of a part, unique among the parts of the `#parts` block.
/// `{{haproxy_backend_id part service}}`: the same for a service, in a `#services` block after that one.
struct BackendId<'a>(Shared<'a>);

impl HelperDef for BackendId<'_> {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let service = service(h)?;
        let part = key(&argument(h, 0)?, service.as_deref());
        let block = Arc::clone(&self.0.notes().parts);
        let previous = self.0.previous();
        let ids = || {
            let name = |place: usize| block.parts[place].part.as_str();
            let ids = unique_but_kept(
                block.parts.iter().map(|played| server_id(&played.part)).collect(),
                |place| previous.in_use.backends.get(name(place)).copied(),
                |place| block.parts[place].old,
            );
            let mut notes = self.0.notes();
            // Nobody may choose the name of a service so that its backend takes the id of another part.
            if service.is_some() {
                return besides(ids, &notes.part_ids);
            }
            notes.part_ids.extend(&ids);
            ids
        };
        let id = match block.place(&part) {
            Some(place) => block.backend_ids.get_or_init(ids)[place],
            None => server_id(&part),
        };
        if id != server_id(&part) {
            self.0.uses(|in_use| in_use.backends.extend([(part, id)]));
        }
        Ok(ScopedJson::Derived(id.into()))
    }
}

/// `{{#if (haproxy_at_least "2.6")}}`: whether the config is for this version or a later one, by the variable
/// `haproxy_version`. Without that variable, the answer is no.
struct AtLeast;

impl HelperDef for AtLeast {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        ctx: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let version = |text: &str, whose: &str| {
            let wrong = || format!("{whose} is not a version of HAProxy such as 2.6: `{}`", excerpt(text));
            Version::parse(text).ok_or_else(|| other(wrong()))
        };
        let least = version(&argument(h, 0)?, "the argument of {{haproxy_at_least}}")?;
        let given = ctx.data().pointer("/vars").and_then(|vars| vars.get(HAPROXY_VERSION));
        let is = match given.filter(|given| is_given(given, false)) {
            None => None,
            // As a number, 2.10 is 2.1.
            Some(given) if given.is_number() => {
                let reason = format!(
                    "the variable `{HAPROXY_VERSION}` is a number; write it as text, such as \"3.10\""
                );
                return Err(other(reason));
            }
            Some(given) => {
                let whose = format!("the variable `{HAPROXY_VERSION}`");
                Some(version(&text(given).unwrap_or_default(), &whose)?)
            }
        };
        Ok(ScopedJson::Derived(is.is_some_and(|is| is >= least).into()))
    }
}
