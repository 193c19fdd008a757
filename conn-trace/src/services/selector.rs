//! Conditions on a connection, which hold, do not hold, or may yet.

use std::{
    fmt::{self, Display, Formatter},
    fs, io,
    os::unix::fs::MetadataExt,
};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::choice::Choice;
use crate::{
    query::{Network, Pattern, Ports, Quoted, User},
    registry::connection::{Direction, Facts, Owner, Process},
};

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// What it asks for is not known yet.
    Unknown,
}

impl From<bool> for Holds {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// The unit of systemd that a cgroup belongs to, as `nginx.service`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit(Pattern);

/// A network namespace, by its inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace(u32);

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Address of the peer.
    RemoteIp(Choice<Network>),
    /// Port of the peer.
    RemotePort(Choice<Ports>),
    /// Address of this end.
    LocalIp(Choice<Network>),
    /// Port of this end.
    LocalPort(Choice<Ports>),
    /// Who opened it.
    Direction(Choice<Direction>),
    /// Name of the owner.
    Comm(Choice<Pattern>),
    /// Path of the program that the owner runs.
    Exe(Choice<Pattern>),
    /// Unix user of the socket.
    Uid(Choice<User>),
    /// Unit of systemd.
    Unit(Choice<Unit>),
    /// Path of the owner's cgroup.
    Cgroup(Choice<Pattern>),
    /// Id of the container, or its beginning and `*`.
    Container(Choice<Pattern>),
    /// Network namespace.
    Netns(Choice<Namespace>),
}

impl Selector {
    /// Its key in the configuration.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::RemoteIp(_) => "remote_ip",
            Self::RemotePort(_) => "remote_port",
            Self::LocalIp(_) => "local_ip",
            Self::LocalPort(_) => "local_port",
            Self::Direction(_) => "direction",
            Self::Comm(_) => "comm",
            Self::Exe(_) => "exe",
            Self::Uid(_) => "uid",
            Self::Unit(_) => "unit",
            Self::Cgroup(_) => "cgroup",
            Self::Container(_) => "container",
            Self::Netns(_) => "netns",
        }
    }

    /// What it asks for, as the configuration has it.
    #[must_use]
    pub fn wanted(&self) -> String {
        match self {
            Self::RemoteIp(any) | Self::LocalIp(any) => any.to_string(),
            Self::RemotePort(any) | Self::LocalPort(any) => any.to_string(),
            Self::Direction(any) => any.to_string(),
            Self::Comm(any) | Self::Exe(any) | Self::Cgroup(any) | Self::Container(any) => {
                any.to_string()
            }
            Self::Uid(any) => any.to_string(),
            Self::Unit(any) => any.to_string(),
            Self::Netns(any) => any.to_string(),
        }
    }

    /// The ports at this end that it asks for, if it asks for any.
    pub(super) fn local_ports(&self) -> Option<&Choice<Ports>> {
        match self {
            Self::LocalPort(ports) => Some(ports),
            _ => None,
        }
    }

    /// The ports of the peer that it asks for, likewise.
    pub(super) fn peer_ports(&self) -> Option<&Choice<Ports>> {
        match self {
            Self::RemotePort(ports) => Some(ports),
            _ => None,
        }
    }

    /// Whether it holds for a connection of these facts.
    pub(super) fn holds(&self, facts: &Facts) -> Holds {
        match self {
            Self::RemoteIp(any) => any.any(|net| net.contains(&facts.peer)).into(),
            Self::RemotePort(any) => any.any(|ports| ports.contains(facts.peer.port)).into(),
            Self::LocalIp(_) | Self::LocalPort(_) if facts.local.port == 0 => Holds::Unknown,
            Self::LocalIp(any) => any.any(|net| net.contains(&facts.local)).into(),
            Self::LocalPort(any) => any.any(|ports| ports.contains(facts.local.port)).into(),
            Self::Direction(any) => any.any(|direction| *direction == facts.direction).into(),
            Self::Uid(any) => any.any(|user| user.is(&facts.user, facts.uid)).into(),
            Self::Netns(any) => any.any(|netns| netns.0 == facts.netns).into(),
            Self::Comm(any) => of_process(&facts.owner, |process| {
                any.any(|comm| comm.matches(&process.comm))
            }),
            Self::Exe(any) => of_process(&facts.owner, |process| {
                exe(process.pid).is_ok_and(|exe| any.any(|pattern| pattern.matches(&exe)))
            }),
            Self::Cgroup(any) => of_place(facts, facts.cgroup.as_deref(), |path| {
                any.any(|cgroup| cgroup.matches(path))
            }),
            Self::Unit(any) => of_place(facts, facts.cgroup.as_deref(), |path| {
                any.any(|unit| unit.owns(path))
            }),
            Self::Container(any) => match (&facts.container, &facts.cgroup) {
                (Some(id), _) => any.any(|container| container.matches(id)).into(),
                // Its cgroup is known and is in no container.
                (None, Some(_)) => Holds::No,
                (None, None) => Holds::Unknown,
            },
        }
    }
}

/// A condition on the owner, who may become known with the first message.
fn of_process(owner: &Owner, test: impl FnOnce(&Process) -> bool) -> Holds {
    owner
        .process()
        .map_or(Holds::Unknown, |process| test(process).into())
}

/// A condition on the owner's place, likewise. A kernel thread has none that matters.
fn of_place(facts: &Facts, place: Option<&str>, test: impl FnOnce(&str) -> bool) -> Holds {
    match (place, &facts.owner) {
        (Some(place), _) => test(place).into(),
        (None, Owner::Kernel(_)) => Holds::No,
        (None, _) => Holds::Unknown,
    }
}

/// The program of a process: of one that has ended, nothing is known.
fn exe(pid: u32) -> io::Result<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe"))?;
    Ok(path.to_string_lossy().into_owned())
}

impl Unit {
    /// Whether one of the groups on the path is the unit's.
    fn owns(&self, cgroup: &str) -> bool {
        cgroup.split('/').any(|name| self.0.matches(name))
    }
}

impl Display for Unit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Suffixes of the units that have processes (systemd.unit(5)).
const UNIT_SUFFIXES: [&str; 3] = [".service", ".scope", ".slice"];

impl<'de> Deserialize<'de> for Unit {
    /// A name without a suffix is that of a service, as for systemctl(1).
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = text(deserializer, "the name of a unit")?;
        let is_whole = name.ends_with('*') || UNIT_SUFFIXES.iter().any(|end| name.ends_with(end));
        Ok(Self(match is_whole {
            true => Pattern::new(&name),
            false => Pattern::new(&format!("{name}.service")),
        }))
    }
}

impl Display for Namespace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Namespace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected the inode number of a network namespace, or the path of its file"
        )]
        enum Name {
            Inode(u32),
            Path(String),
        }
        match Name::deserialize(deserializer)? {
            Name::Inode(inode) => Ok(Self(inode)),
            Name::Path(path) => fs::metadata(&path)
                .ok()
                .and_then(|file| u32::try_from(file.ino()).ok())
                .map(Self)
                .ok_or_else(|| {
                    D::Error::custom(format!(
                        "expected the file of a network namespace, got {}",
                        Quoted::new(&path)
                    ))
                }),
        }
    }
}

/// A text that is not empty.
pub(super) fn text<'de, D: Deserializer<'de>>(
    deserializer: D,
    expected: &str,
) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.is_empty() {
        true => Err(D::Error::custom(format!("expected {expected}, got \"\""))),
        false => Ok(text),
    }
}
