//! `[[service]]`: a name, its selectors, and how it is shown.

use std::{
    collections::HashSet,
    fmt::{self, Display, Formatter},
    net::{IpAddr, SocketAddr},
    ops::Deref,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error as _};
use toml::Spanned;

use super::{policy::PolicySection, values::duration};
use crate::{
    query::{Network, Pattern, Ports, Quoted, User},
    registry::{connection::Direction, services::Service},
    services::{Choice, Namespace, Selector, Unit},
};

/// A name has to fit into paths and labels.
const LONGEST_NAME: usize = 64;
/// Connections without a message for this long are idle, unless the service says otherwise.
const IDLE_AFTER: Duration = Duration::from_mins(10);
/// Clients, ports and processes that are shown one by one: series for a service, times three.
const TOP: u8 = 10;
const MOST_TOP: u8 = 100;
/// Connections of a service with a `metric_prefix` that have a series of their own.
const OLDEST: usize = 100;

/// Each connection is shown to every one, and each has series of its own.
const MOST_POLICIES: usize = 20;

/// What the file says of a service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSection {
    /// Its name.
    pub name: ServiceName,
    remote_ip: Option<Choice<Network>>,
    remote_port: Option<Choice<Ports>>,
    local_ip: Option<Choice<Network>>,
    local_port: Option<Choice<Ports>>,
    direction: Option<Choice<Direction>>,
    comm: Option<Choice<Pattern>>,
    exe: Option<Choice<Pattern>>,
    uid: Option<Choice<User>>,
    unit: Option<Choice<Unit>>,
    cgroup: Option<Choice<Pattern>>,
    container: Option<Choice<Pattern>>,
    netns: Option<Choice<Namespace>>,
    /// Beginning of the names of a second set of series, those of the FIX exporter.
    pub metric_prefix: Option<MetricPrefix>,
    /// Where the API answers for this service alone.
    pub listen: Option<SocketAddr>,
    /// Connections that are all right; alerts are made from it.
    pub connection_limit: Option<u32>,
    #[serde(default, deserialize_with = "duration")]
    idle_after: Option<Duration>,
    client_prefix_v4: Option<PrefixLength<32>>,
    client_prefix_v6: Option<PrefixLength<128>>,
    top: Option<u8>,
    #[serde(default)]
    identify: bool,
    #[serde(default)]
    policy: Vec<Spanned<PolicySection>>,
}

impl ServiceSection {
    /// What is wrong with it as a whole.
    pub(super) fn fault(&self) -> Option<String> {
        if self.selectors().is_empty() {
            return Some(
                "no selector: every connection would belong to it; say what it is, or \
                 remote_ip = [\"0.0.0.0/0\", \"::/0\"] for all"
                    .to_owned(),
            );
        }
        let top = self.top.filter(|&top| top == 0 || top > MOST_TOP)?;
        Some(format!(
            "top: expected an integer from 1 to {MOST_TOP}, got {top}"
        ))
    }

    /// What is wrong with one of its policies, and where that begins.
    pub(super) fn fault_of_policy(&self) -> Option<(usize, String)> {
        if let Some(one_more) = self.policy.get(MOST_POLICIES) {
            let fault = format!("more than {MOST_POLICIES} policies");
            return Some((one_more.span().start, fault));
        }
        let peers: Vec<IpNet> = self
            .remote_ip
            .iter()
            .flat_map(Choice::iter)
            .filter_map(Network::prefix)
            .collect();
        let has_all = peers.iter().any(|peers| peers.prefix_len() == 0);
        let selects_everything = has_all && self.selectors().len() == 1;
        let mut names = HashSet::new();
        self.policy.iter().find_map(|policy| {
            let section = policy.get_ref();
            let fault = match names.insert(section.name()) {
                true => section.fault(&peers, selects_everything)?,
                false => format!(
                    "a second policy \"{}\": give one of them a name of its own",
                    section.name()
                ),
            };
            Some((policy.span().start, fault))
        })
    }

    fn client_prefix(&self) -> (u8, u8) {
        let v4 = self.client_prefix_v4.map_or(32, |length| length.0);
        let v6 = self.client_prefix_v6.map_or(128, |length| length.0);
        (v4, v6)
    }

    /// What the registry has to know of it, and what belongs to it.
    #[must_use]
    pub fn watched(&self) -> (Service, Vec<Selector>) {
        let policies = self.policy.iter().map(Spanned::get_ref);
        let service = Service {
            name: Arc::clone(&self.name.0),
            idle_after: self.idle_after.unwrap_or(IDLE_AFTER),
            client_prefix: self.client_prefix(),
            top: self.top.unwrap_or(TOP).into(),
            oldest: self.metric_prefix.as_ref().map_or(0, |_| OLDEST),
            policies: policies
                .map(|policy| policy.policy(self.client_prefix()))
                .collect(),
            identify: self.identify,
        };
        (service, self.selectors())
    }

    /// Its selectors; those that cost most to try come last.
    fn selectors(&self) -> Vec<Selector> {
        [
            self.remote_port.clone().map(Selector::RemotePort),
            self.local_port.clone().map(Selector::LocalPort),
            self.direction.clone().map(Selector::Direction),
            self.remote_ip.clone().map(Selector::RemoteIp),
            self.local_ip.clone().map(Selector::LocalIp),
            self.netns.clone().map(Selector::Netns),
            self.uid.clone().map(Selector::Uid),
            self.comm.clone().map(Selector::Comm),
            self.unit.clone().map(Selector::Unit),
            self.cgroup.clone().map(Selector::Cgroup),
            self.container.clone().map(Selector::Container),
            self.exe.clone().map(Selector::Exe),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The first address of the peers that it selects.
    #[must_use]
    pub fn first_peer(&self) -> Option<IpAddr> {
        Some(self.remote_ip.as_ref()?.first()?.address())
    }

    /// The addresses of the peers that it selects, as the FIX exporter's label `target` has them.
    #[must_use]
    pub fn target(&self) -> String {
        self.remote_ip
            .as_ref()
            .map_or_else(|| "*".to_owned(), ToString::to_string)
    }
}

/// The name of a service: letters, digits, `_`, `-` and `.`, of at most 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceName(Arc<str>);

impl Deref for ServiceName {
    type Target = Arc<str>;

    fn deref(&self) -> &Arc<str> {
        &self.0
    }
}

impl Display for ServiceName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ServiceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_plain) {
            return Err(D::Error::custom(format!(
                "name: expected 1 to {LONGEST_NAME} letters, digits, _, - and ., got {}",
                Quoted::new(&name)
            )));
        }
        // As paths, these would lead elsewhere.
        if name.chars().all(|c| c == '.') {
            return Err(D::Error::custom(format!("name: \"{name}\" is none")));
        }
        Ok(Self(name.into()))
    }
}

/// The beginning of the names of series: a letter, then letters, digits and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricPrefix(String);

impl Display for MetricPrefix {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// That of the agent's own series.
const RESERVED_PREFIX: &str = "conntrace";

impl<'de> Deserialize<'de> for MetricPrefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let prefix = String::deserialize(deserializer)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let begins_well = prefix.starts_with(|c: char| c.is_ascii_alphabetic());
        if !begins_well || prefix.len() > LONGEST_NAME || !prefix.chars().all(is_plain) {
            return Err(D::Error::custom(format!(
                "metric_prefix: expected a letter, then letters, digits and _, got {}",
                Quoted::new(&prefix)
            )));
        }
        if prefix.starts_with(RESERVED_PREFIX) {
            return Err(D::Error::custom(format!(
                "metric_prefix: {RESERVED_PREFIX} begins the names of the agent's own series"
            )));
        }
        Ok(Self(prefix))
    }
}

/// Bits of an address, of `MOST` at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PrefixLength<const MOST: u8>(pub(super) u8);

impl<'de, const MOST: u8> Deserialize<'de> for PrefixLength<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let length = i64::deserialize(deserializer)?;
        u8::try_from(length)
            .ok()
            .filter(|length| *length <= MOST)
            .map(Self)
            .ok_or_else(|| {
                D::Error::custom(format!(
                    "expected a length of a prefix from 0 to {MOST}, got {length}"
                ))
            })
    }
}
