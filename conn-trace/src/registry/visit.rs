//! Readers: each connection of a moment is read and shown in turn, and none is kept. What a reader
//! does not want is not read, which for a socket takes longer than all the rest.

use std::collections::{HashMap, HashSet};

use super::{
    connection::{Facts, Owner, TcpState},
    facts::tcp_info,
    live::{Key, Live},
    snapshot::{BATCH, Scope, Taken, Visitor},
    state::{State, ended_connection},
    view::{Read, open_connection},
};
use crate::kernel::{
    LoadError, Tracer,
    clock::Moment,
    sampler::{Detail, Request, Sample},
};

impl State {
    /// Shows all connections of the scope, at this moment.
    pub(super) fn visit<V: Visitor>(
        &mut self,
        scope: Scope,
        begin: impl FnOnce(Taken) -> V,
    ) -> Result<V, LoadError> {
        self.catch_up()?;
        let moment = self.tracer.now()?;
        let mut visitor = begin(Taken {
            now: moment.wall,
            now_ns: moment.boot_ns,
            untracked: self.losses.untracked,
        });
        self.complete_facts(visitor.only(), &moment);
        let (open, held) = self.visit_live(scope, &mut visitor, &moment)?;
        if scope != Scope::Open {
            self.visit_closed(open, held, &mut visitor, &moment)?;
        }
        Ok(visitor)
    }

    /// Brings facts up to what the table knows.
    pub(super) fn complete_facts(&mut self, only: Option<u64>, moment: &Moment) {
        let table = self.tracer.table();
        let place_may_be_found = self.describer.places.may_be_found_later();
        let incomplete: Vec<_> = self
            .live
            .unfinished(only)
            .filter_map(|live| {
                let hot = table.hot(live.slot, live.key.0, live.key.1)?;
                let is_established = TcpState::from_kernel(hot.state) != TcpState::SynSent;
                live.is_incomplete(&hot, is_established, place_may_be_found)
                    .then(|| table.entry(live.slot, live.key.0, live.key.1))?
            })
            .collect();
        for entry in incomplete {
            self.describe((entry.hot.cookie, entry.hot.generation), &entry, moment);
        }
    }

    /// Shows the open connections, in order of `cid`. Gives the numbers of those, and the closed
    /// ones whose socket still exists.
    fn visit_live<V: Visitor>(
        &mut self,
        scope: Scope,
        visitor: &mut V,
        moment: &Moment,
    ) -> Result<(HashSet<u64>, Vec<Read>), LoadError> {
        let only = visitor.only();
        let mut shown = HashSet::new();
        let mut held = Vec::new();
        let mut open = Open {
            tracer: &mut self.tracer,
            visitor,
            moment,
            waiting: Vec::with_capacity(BATCH),
            samples: Vec::with_capacity(BATCH),
            ownerless: HashMap::new(),
        };
        for live in self.live.only(only) {
            if !open.visitor.wants(&live.facts) && is_complete(&live.facts) {
                continue;
            }
            if is_complete(&live.facts)
                && scope != Scope::Closed
                && open.is_open(live)
                && open.visitor.skip(&live.facts)
            {
                if scope == Scope::All {
                    shown.insert(live.facts.cid);
                }
                continue;
            }
            let Some(read) = Read::of(live, open.tracer.table()) else {
                continue;
            };
            match (read.is_closed(), scope) {
                (true, Scope::Open) | (false, Scope::Closed) => {}
                (true, _) => held.push(read),
                (false, _) => {
                    if scope == Scope::All {
                        shown.insert(read.facts.cid);
                    }
                    open.add(read)?;
                }
            }
        }
        open.show()?;
        // One connection, or only closed ones, say nothing about the others.
        let ownerless = open.ownerless;
        if only.is_none() && scope != Scope::Closed {
            self.ownerless = ownerless;
        }
        Ok((shown, held))
    }

    /// Shows the history, and `held`: connections that are closed while their socket still exists.
    /// Those that were `shown` as open a moment ago are left to the next reader.
    fn visit_closed<V: Visitor>(
        &mut self,
        mut shown: HashSet<u64>,
        held: Vec<Read>,
        visitor: &mut V,
        moment: &Moment,
    ) -> Result<(), LoadError> {
        // After the look at the table: what has left it since is in the history.
        self.catch_up()?;
        self.history.age(moment.boot_ns);
        let only = visitor.only();
        let mut closed: Vec<_> = self
            .history
            .iter()
            .filter(|row| only.is_none_or(|cid| cid == row.facts.cid) && visitor.wants(&row.facts))
            .filter(|row| !shown.contains(&row.facts.cid))
            .collect();
        shown.extend(closed.iter().map(|connection| connection.facts.cid));
        let has_field = |global: &str| self.tracer.has_field(global);
        let held: Vec<_> = held
            .into_iter()
            .filter(|read| !shown.contains(&read.facts.cid))
            .map(|read| ended_connection(read.facts, &read.hot, &read.cold, moment, has_field))
            .collect();
        closed.extend(&held);
        closed.sort_by_key(|connection| connection.end.as_ref().map(|end| end.stop_ns));
        for connection in closed {
            visitor.visit(connection);
        }
        Ok(())
    }
}

/// Whether reading the socket can add nothing to the facts: it knows the port of a connection in
/// SYN_SENT, and by which file its owner can be found.
fn is_complete(facts: &Facts) -> bool {
    facts.local.port != 0 && facts.owner != Owner::Unknown
}

/// Open connections on their way to the visitor.
struct Open<'a, V> {
    tracer: &'a mut Tracer,
    visitor: &'a mut V,
    moment: &'a Moment,
    waiting: Vec<Read>,
    samples: Vec<Option<Sample>>,
    /// Sockets without an owner, by the inode of their file.
    ownerless: HashMap<u64, Key>,
}

impl<V: Visitor> Open<'_, V> {
    fn is_open(&self, live: &Live) -> bool {
        let hot = self.tracer.table().hot(live.slot, live.key.0, live.key.1);
        hot.is_some_and(|hot| TcpState::from_kernel(hot.state) != TcpState::Close)
    }

    fn add(&mut self, read: Read) -> Result<(), LoadError> {
        self.waiting.push(read);
        match self.waiting.len() < BATCH {
            true => Ok(()),
            false => self.show(),
        }
    }

    /// Reads the sockets of those that wait, and shows them.
    fn show(&mut self) -> Result<(), LoadError> {
        let requests: Vec<_> = self
            .waiting
            .iter()
            .map(|read| Request {
                cookie: read.key.0,
                slot: read.slot,
                generation: read.key.1,
            })
            .collect();
        let samples = &mut self.samples;
        let wants_tcp = self.visitor.wants_tcp();
        let detail = match wants_tcp {
            true => Detail::Tcp,
            false => Detail::Common,
        };
        self.tracer
            .sample(&requests, detail, |_, sample| samples.push(sample))?;
        let has_field = |global: &str| self.tracer.has_field(global);
        let tcp =
            |sample: &Sample| wants_tcp.then(|| Box::new(tcp_info(sample, self.moment, has_field)));
        for (read, sample) in self.waiting.drain(..).zip(self.samples.drain(..)) {
            let inode = sample.as_ref().map_or(0, |sample| sample.inode);
            if inode != 0 && read.facts.owner == Owner::Unknown {
                self.ownerless.insert(inode, read.key);
            }
            let connection = open_connection(read, sample.as_ref(), self.moment, tcp);
            self.visitor.visit(&connection);
        }
        Ok(())
    }
}
