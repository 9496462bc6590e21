//! The configurations of hostile worlds.

use mcp_session_filter::config::Config;
use mcp_session_filter::exchange::Site;

use super::super::world::worker::Configured;
use super::Choices;

/// The caps and rules of a world's endpoints.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) vm_cap: u32,
    pub(super) endpoints: Vec<Endpoint>,
}

/// One endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    name: &'static str,
    pub(super) cap: u32,
    pub(super) quota: Option<u32>,
    pub(super) bound: bool,
    pub(super) asks_who: bool,
    pub(super) adopts: bool,
    pub(super) evicts: bool,
    pub(super) holds: bool,
    pub(super) terminates: bool,
    /// `sessionless: reject`.
    pub(super) needs_ids: bool,
    /// `modern: reject`.
    pub(super) is_legacy: bool,
    idle: &'static str,
    lifetime: &'static str,
}

impl Setting {
    /// Three endpoints with different rules.
    pub(super) fn any(choices: &mut Choices) -> Self {
        Self {
            vm_cap: choices.one_of(&[4, 5, 6]),
            endpoints: ["a", "b", "c"].map(|name| Endpoint::any(name, choices)).into(),
        }
    }

    /// The configuration.
    pub(super) fn text(&self) -> String {
        let endpoints: Vec<_> = self.endpoints.iter().map(Endpoint::text).collect();
        format!(
            r#"{{"max_sessions":{},"log_session_id":"hash","endpoints":[{}]}}"#,
            self.vm_cap,
            endpoints.join(",")
        )
    }

    pub(super) fn configured(&self) -> Configured {
        let config = Config::parse(self.text().as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        let sites = Site::all(&config);
        Configured { config, sites }
    }
}

impl Endpoint {
    fn any(name: &'static str, choices: &mut Choices) -> Self {
        let asks_who = choices.below(2) == 0;
        let spans = [
            ("5s", "0s"),
            ("5s", "20m"),
            ("10m", "0s"),
            ("10m", "20m"),
            ("0s", "20m"),
        ];
        let (idle, lifetime) = choices.one_of(&spans);
        Self {
            name,
            cap: choices.one_of(&[1, 2, 3]),
            quota: choices.one_of(&[None, Some(1), Some(1)]).filter(|_| asks_who),
            bound: asks_who && choices.below(2) == 0,
            asks_who,
            adopts: choices.below(2) == 0,
            evicts: choices.below(2) == 0,
            holds: choices.below(2) == 0,
            terminates: choices.below(2) == 0,
            needs_ids: choices.once_in(4),
            is_legacy: choices.once_in(4),
            idle,
            lifetime,
        }
    }

    fn text(&self) -> String {
        let choose = |condition, yes: &'static str, no: &'static str| if condition { yes } else { no };
        let principal = format!(
            r#","principal":[{{"header":"x-user"}}],"bind_sessions":{}"#,
            self.bound
        );
        let quota = self
            .quota
            .map(|quota| format!(r#","max_sessions_per_principal":{quota}"#));
        format!(
            r#"{{"name":"{name}","path":"/{name}","max_sessions":{cap},"idle_timeout":"{idle}","max_lifetime":"{lifetime}",
            "initialize_timeout":"16s","unknown_session":"{unknown}","on_full":"{on_full}","admission":"{admission}","sessionless":"{sessionless}","modern":"{modern}"
            {principal}{quota}{terminate}}}"#,
            name = self.name,
            cap = self.cap,
            idle = self.idle,
            lifetime = self.lifetime,
            unknown = choose(self.adopts, "adopt", "reject"),
            on_full = choose(self.evicts, "evict_idle", "reject"),
            admission = choose(self.holds, "body", "headers"),
            sessionless = choose(self.needs_ids, "reject", "pass"),
            modern = choose(self.is_legacy, "reject", "pass"),
            principal = if self.asks_who { principal.as_str() } else { "" },
            quota = quota.unwrap_or_default(),
            terminate = choose(
                self.terminates,
                r#","terminate_upstream":{"cluster":"c","authority":"a"}"#,
                ""
            ),
        )
    }
}
