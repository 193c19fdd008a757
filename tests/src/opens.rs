//! How many connections this network namespace has opened: the kernel's own counters. With them
//! a test knows whether other programs of the host opened connections meanwhile.

use std::fs;

/// Opens by other programs since it was made.
#[derive(Debug)]
pub struct Others {
    before: u64,
}

impl Others {
    /// Counts from now on.
    #[must_use]
    pub fn watch() -> Self {
        Self { before: opens() }
    }

    /// How many ends others opened, if the test itself opened so many connections within the host.
    #[must_use]
    pub fn opened(&self, own_connections: u32) -> u64 {
        let own_ends = 2 * u64::from(own_connections);
        (opens() - self.before).saturating_sub(own_ends)
    }
}

/// Active and passive opens together: two for each connection between two sockets of this host.
/// (`/proc/net/snmp`, RFC 4022.)
///
/// # Panics
/// If the kernel does not say.
fn opens() -> u64 {
    let text = fs::read_to_string("/proc/net/snmp").expect("/proc/net/snmp");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    names
        .split(' ')
        .zip(values.split(' '))
        .filter(|(name, _)| matches!(*name, "ActiveOpens" | "PassiveOpens"))
        .map(|(_, value)| value.parse::<u64>().expect("a number"))
        .sum()
}
