//! Connections that are older than the agent, and sockets that nobody has used since it started.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    cgroups::Place,
    connection::{Owner, Process, TcpState, Transport},
    live::Key,
    owners, services,
    state::State,
};
use crate::kernel::{LoadError, namespaces::is_pid_namespace_initial};

impl State {
    /// After the start: bounds the age of connections older than the agent by their last data,
    /// and finds the owners of the silent ones.
    pub(super) fn examine_existing(&mut self) -> Result<(), LoadError> {
        self.catch_up()?;
        let moment = self.tracer.now()?;
        let older: Vec<(Key, u32)> = self
            .live
            .iter()
            .filter(|(_, live)| live.is_older_than_agent())
            .map(|(_, live)| (live.key, live.slot))
            .collect();
        for (key, sample) in self.sample(&older)? {
            let Some(sample) = sample else { continue };
            // Before the end of the handshake the stamps are those of nothing.
            if TcpState::from_kernel(sample.state) != TcpState::SynSent
                && let Some((_, live)) = self.live.get_mut(key)
                && live.facts.transport != Transport::Mptcp
            {
                let facts = Arc::make_mut(&mut live.facts);
                for stamp in [sample.last_sent, sample.last_received] {
                    facts.start_ns = facts.start_ns.min(moment.boot_of_jiffies32(stamp));
                }
                facts.start = moment.wall_of(facts.start_ns);
                live.start_ns = facts.start_ns;
            }
            self.ownerless.insert(sample.inode, key);
        }
        if self.has_ownerless() {
            self.owners_found(owners::find(&self.ownerless()));
        }
        Ok(())
    }

    /// Whether there are owners to look for. In a pid namespace of its own the agent sees other
    /// numbers in `/proc` than the programs do, or none.
    pub(super) fn has_ownerless(&self) -> bool {
        !self.ownerless.is_empty() && is_pid_namespace_initial()
    }

    /// Sockets whose owner is to be looked for, by inode.
    pub(super) fn ownerless(&self) -> HashSet<u64> {
        self.ownerless.keys().copied().collect()
    }

    /// Takes what looking for owners found, by inode.
    pub(super) fn owners_found(&mut self, found: HashMap<u64, Process>) {
        let mut places: HashMap<u32, Place> = HashMap::new();
        for (inode, process) in found {
            if let Some(key) = self.ownerless.remove(&inode)
                && let Some((_, live)) = self.live.get_mut(key)
                && live.facts.owner == Owner::Unknown
            {
                let place = places
                    .entry(process.pid)
                    .or_insert_with(|| self.describer.places.of_process(process.pid));
                let facts = Arc::make_mut(&mut live.facts);
                facts.cgroup = place.cgroup.clone();
                facts.container = place.container.clone().or_else(|| {
                    // Whoever has the descriptor now is whom the scan found.
                    self.describer.memberships.container(&process, u64::MAX)
                });
                facts.is_self |= process.pid == self.describer.own.pid;
                facts.owner = Owner::Scan(process);
                self.members
                    .review(key, &mut live.membership, facts, services::now());
            }
        }
    }
}
