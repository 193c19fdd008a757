//! `[[service.policy]]`: what is to be found in the connections of a service, and what is done then.

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{
    service::{PrefixLength, ServiceName},
    values::{choose, time},
};
use crate::{
    query::{Network, Quoted},
    registry::policies::{Action, Adaptive, Bounds, Leak, Limit, Policy, Rule, Signal, Watchlist},
    services::Choice,
};

/// Records say seconds, and the state of a socket is looked at four times in one.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_hours(365 * 24);
/// More than any table takes.
const MOST: u32 = 10_000_000;
/// Each opening within the limit is remembered for a second.
const MOST_PER_SECOND: u32 = 100_000;

/// What the file says of a policy.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicySection {
    name: Option<ServiceName>,
    kind: Kind,
    action: ActionName,
    #[serde(default = "yes")]
    dry_run: bool,
    #[serde(default)]
    force: bool,
    idle: Option<LeakTime>,
    close_wait: Option<LeakTime>,
    connections: Option<Count<MOST>>,
    connections_per_client: Option<Count<MOST>>,
    new_per_second: Option<Count<MOST_PER_SECOND>>,
    client_prefix_v4: Option<PrefixLength<32>>,
    client_prefix_v6: Option<PrefixLength<128>>,
    adaptive: Option<AdaptiveSection>,
    deny: Option<Choice<Prefix>>,
    allow: Option<Choice<Prefix>>,
    url: Option<Url>,
}

/// What does something holds only if the file says so.
fn yes() -> bool {
    true
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdaptiveSection {
    signal: SignalName,
    high: Count<MOST>,
    low: Count<MOST>,
    connections: Option<Count<MOST>>,
    connections_per_client: Option<Count<MOST>>,
    new_per_second: Option<Count<MOST_PER_SECOND>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Leak,
    Limit,
    Watchlist,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Leak, Self::Limit, Self::Watchlist];

    fn name(self) -> &'static str {
        Rule::KINDS[self as usize]
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        choose(deserializer, "kind", &Self::ALL, Self::name)
    }
}

/// The word for an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ActionName(&'static str);

const CLOSE: ActionName = ActionName(Action::NAMES[3]);
const WEBHOOK: ActionName = ActionName(Action::NAMES[2]);

impl<'de> Deserialize<'de> for ActionName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        choose(deserializer, "action", &Action::NAMES, |name| name).map(Self)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SignalName(Signal);

impl<'de> Deserialize<'de> for SignalName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        choose(deserializer, "signal", &Signal::ALL, Signal::name).map(Self)
    }
}

/// For how long something may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LeakTime(Duration);

impl<'de> Deserialize<'de> for LeakTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        time(&text)
            .filter(|time| (SHORTEST..=LONGEST).contains(time))
            .map(Self)
            .ok_or_else(|| {
                D::Error::custom(format!(
                    "expected a time from 1s to 8760h such as 90s or 15m, got {}",
                    Quoted::new(&text)
                ))
            })
    }
}

/// A number of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count<const MOST: u32>(u32);

impl<'de, const MOST: u32> Deserialize<'de> for Count<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let count = i64::deserialize(deserializer)?;
        u32::try_from(count)
            .ok()
            .filter(|count| *count <= MOST)
            .map(Self)
            .ok_or_else(|| {
                D::Error::custom(format!("expected an integer from 1 to {MOST}, got {count}"))
            })
    }
}

/// A network of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prefix(IpNet);

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let network = Network::deserialize(deserializer)?;
        network.prefix().map(Self).ok_or_else(|| {
            D::Error::custom(format!(
                "expected an address without interface, got {network}"
            ))
        })
    }
}

/// Where records are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Url(Arc<str>);

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed = http::Uri::try_from(&*text).ok();
        let is_plain = |uri: &http::Uri| uri.scheme_str() == Some("http") && uri.host().is_some();
        match parsed.filter(is_plain) {
            Some(_) => Ok(Self(text.into())),
            None => Err(D::Error::custom(format!(
                "expected a URL that begins with http://, got {}",
                Quoted::new(&text)
            ))),
        }
    }
}

impl PolicySection {
    /// Its name: where none is given, its kind.
    pub(super) fn name(&self) -> Arc<str> {
        self.name
            .as_ref()
            .map_or_else(|| self.kind.name().into(), |name| Arc::clone(name))
    }

    /// What it says. `client_prefix` is that of its service.
    pub(super) fn policy(&self, client_prefix: (u8, u8)) -> Policy {
        Policy {
            name: self.name(),
            rule: self.rule(client_prefix),
            action: match (self.action, &self.url) {
                (CLOSE, _) => Action::Close,
                (WEBHOOK, Some(url)) => Action::Webhook(Arc::clone(&url.0)),
                (ActionName("log"), _) => Action::Log,
                _ => Action::Event,
            },
            dry_run: self.dry_run,
        }
    }

    fn rule(&self, (v4, v6): (u8, u8)) -> Rule {
        let networks = |choice: &Option<Choice<Prefix>>| -> Vec<IpNet> {
            let choice = choice.iter();
            choice
                .flat_map(Choice::iter)
                .map(|prefix| prefix.0)
                .collect()
        };
        match self.kind {
            Kind::Leak => Rule::Leak(Leak {
                idle: self.idle.map(|time| time.0),
                close_wait: self.close_wait.map(|time| time.0),
            }),
            Kind::Limit => Rule::Limit(Limit {
                bounds: bounds(
                    self.connections,
                    self.connections_per_client,
                    self.new_per_second,
                ),
                client_prefix: (
                    self.client_prefix_v4.map_or(v4, |length| length.0),
                    self.client_prefix_v6.map_or(v6, |length| length.0),
                ),
                adaptive: self.adaptive.as_ref().map(|section| Adaptive {
                    signal: section.signal.0,
                    high: section.high.0.into(),
                    low: section.low.0.into(),
                    bounds: section.bounds(),
                }),
            }),
            Kind::Watchlist => Rule::Watchlist(Watchlist {
                deny: networks(&self.deny),
                allow: networks(&self.allow),
            }),
        }
    }

    /// What is wrong with it as a whole. `peers` are those of the service, empty if it selects any.
    pub(super) fn fault(&self, peers: &[IpNet], selects_everything: bool) -> Option<String> {
        self.misplaced()
            .or_else(|| self.missing())
            .or_else(|| self.adaptive.as_ref()?.fault(self))
            .or_else(|| self.sweeping(peers, selects_everything))
            .map(|fault| format!("policy \"{}\": {fault}", self.name()))
    }

    /// A key that its kind or action does not have.
    fn misplaced(&self) -> Option<String> {
        let keys = [
            ("idle", self.idle.is_some(), Kind::Leak),
            ("close_wait", self.close_wait.is_some(), Kind::Leak),
            ("connections", self.connections.is_some(), Kind::Limit),
            (
                "connections_per_client",
                self.connections_per_client.is_some(),
                Kind::Limit,
            ),
            ("new_per_second", self.new_per_second.is_some(), Kind::Limit),
            (
                "client_prefix_v4",
                self.client_prefix_v4.is_some(),
                Kind::Limit,
            ),
            (
                "client_prefix_v6",
                self.client_prefix_v6.is_some(),
                Kind::Limit,
            ),
            ("adaptive", self.adaptive.is_some(), Kind::Limit),
            ("deny", self.deny.is_some(), Kind::Watchlist),
            ("allow", self.allow.is_some(), Kind::Watchlist),
        ];
        let (key, _, kind) = keys
            .into_iter()
            .find(|(_, is_given, kind)| *is_given && *kind != self.kind)?;
        let (kind, own) = (kind.name(), self.kind.name());
        Some(format!("{key}: a key of kind {kind}, and this is a {own}"))
    }

    fn missing(&self) -> Option<String> {
        let has_bounds = self.connections.is_some()
            || self.connections_per_client.is_some()
            || self.new_per_second.is_some();
        let (has_some, wanted) = match self.kind {
            Kind::Leak => (
                self.idle.is_some() || self.close_wait.is_some(),
                "idle or close_wait",
            ),
            Kind::Limit => (
                has_bounds,
                "connections, connections_per_client or new_per_second",
            ),
            Kind::Watchlist => (self.deny.is_some() || self.allow.is_some(), "deny or allow"),
        };
        if !has_some {
            return Some(format!("missing {wanted}"));
        }
        match (self.action == WEBHOOK, &self.url) {
            (true, None) => Some("url: missing, action is webhook".to_owned()),
            (false, Some(_)) => Some("url: a key of action webhook".to_owned()),
            _ => None,
        }
    }

    /// What would let nothing live, and nobody has said that this is meant.
    fn sweeping(&self, peers: &[IpNet], selects_everything: bool) -> Option<String> {
        if self.force {
            return None;
        }
        const WHOLE: &str = "force = true if that is meant";
        let bounds = [
            ("connections", self.connections.map(|count| count.0)),
            (
                "connections_per_client",
                self.connections_per_client.map(|count| count.0),
            ),
            ("new_per_second", self.new_per_second.map(|count| count.0)),
        ];
        if let Some((key, _)) = bounds.iter().find(|(_, bound)| *bound == Some(0)) {
            return Some(format!("{key}: 0 lets nobody in; {WHOLE}"));
        }
        if self.action != CLOSE {
            return None;
        }
        if selects_everything {
            return Some(format!(
                "close: the service has every connection of the host; {WHOLE}"
            ));
        }
        let Rule::Watchlist(list) = self.rule((32, 128)) else {
            return None;
        };
        let deny = IpNet::aggregate(&list.deny);
        let is_denied = |peer: &IpNet| deny.iter().any(|net| net.contains(peer));
        if deny.iter().any(|net| net.prefix_len() == 0)
            || (!peers.is_empty() && peers.iter().all(is_denied))
        {
            return Some(format!("deny: every peer would be closed; {WHOLE}"));
        }
        let overlaps = |peer: &IpNet| {
            let allow = list.allow.iter();
            allow
                .clone()
                .any(|net| net.contains(peer) || peer.contains(net))
        };
        let allows_none =
            !list.allow.is_empty() && !peers.is_empty() && !peers.iter().any(overlaps);
        allows_none.then(|| format!("allow: no peer of the service is allowed; {WHOLE}"))
    }
}

impl AdaptiveSection {
    fn bounds(&self) -> Bounds {
        bounds(
            self.connections,
            self.connections_per_client,
            self.new_per_second,
        )
    }

    fn fault(&self, policy: &PolicySection) -> Option<String> {
        let wide = [
            policy.connections.map(|count| count.0),
            policy.connections_per_client.map(|count| count.0),
            policy.new_per_second.map(|count| count.0),
        ];
        let Bounds {
            connections,
            connections_per_client,
            new_per_second,
        } = self.bounds();
        let tight = [
            ("connections", connections),
            ("connections_per_client", connections_per_client),
            ("new_per_second", new_per_second),
        ];
        if tight.iter().all(|(_, bound)| bound.is_none()) {
            return Some(
                "adaptive: missing connections, connections_per_client or new_per_second"
                    .to_owned(),
            );
        }
        for ((key, tight), wide) in tight.into_iter().zip(wide) {
            let Some(tight) = tight else { continue };
            let is_tighter = wide.is_some_and(|wide| tight < wide);
            if tight == 0 || !is_tighter {
                return Some(format!(
                    "adaptive: {key}: expected a number from 1 to below that of the policy, got {tight}"
                ));
            }
        }
        let (low, high) = (self.low.0, self.high.0);
        if low == 0 || low > high {
            return Some(format!(
                "adaptive: low: expected a number from 1 to high, got {low}"
            ));
        }
        let is_percent = self.signal.0 == Signal::Memory;
        (is_percent && high > 100).then(|| {
            format!("adaptive: high: expected percent of memory from 1 to 100, got {high}")
        })
    }
}

fn bounds(
    connections: Option<Count<MOST>>,
    connections_per_client: Option<Count<MOST>>,
    new_per_second: Option<Count<MOST_PER_SECOND>>,
) -> Bounds {
    Bounds {
        connections: connections.map(|count| count.0),
        connections_per_client: connections_per_client.map(|count| count.0),
        new_per_second: new_per_second.map(|count| count.0),
    }
}
