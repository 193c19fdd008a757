//! Closed connections, the most recent ones of each service.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use super::connection::{Connection, Direction, Facts};

/// What one program offers at one address, as far as an end of a connection tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Service {
    /// Connections accepted on a port of a network namespace.
    Here { netns: u32, port: u16 },
    /// Connections made from a network namespace to an address.
    There { netns: u32, peer: SocketAddr },
    /// Nobody knows who opened them.
    Unknown,
}

impl Service {
    fn of(facts: &Facts) -> Self {
        let netns = facts.netns;
        match facts.direction {
            Direction::In => Self::Here {
                netns,
                port: facts.local.port,
            },
            Direction::Out => Self::There {
                netns,
                peer: (facts.peer.ip, facts.peer.port).into(),
            },
            Direction::Unknown => Self::Unknown,
        }
    }
}

/// A list in order of the end, bounded in number and age. Where it is full, the service that has most
/// in it makes room, with its oldest: health checks by the thousand leave room for what is rare.
#[derive(Debug)]
pub(super) struct History {
    /// By number, which goes up.
    closed: BTreeMap<u64, Connection>,
    next: u64,
    /// The numbers of each service, in order.
    services: HashMap<Service, VecDeque<u64>>,
    /// How many each service has, and its oldest: the last one here makes room.
    sizes: BTreeSet<(usize, Reverse<u64>, Service)>,
    capacity: usize,
    most_ns: u64,
}

impl History {
    pub(super) fn new(capacity: usize, most: Duration) -> Self {
        Self {
            closed: BTreeMap::new(),
            next: 0,
            services: HashMap::new(),
            sizes: BTreeSet::new(),
            capacity,
            most_ns: u64::try_from(most.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn push(&mut self, connection: Connection) {
        if self.capacity == 0 {
            return;
        }
        let number = self.next;
        self.next += 1;
        self.change(Service::of(&connection.facts), |numbers| {
            numbers.push_back(number);
        });
        self.closed.insert(number, connection);
        if self.closed.len() > self.capacity
            && let Some(&(_, _, service)) = self.sizes.last()
        {
            self.forget_oldest(service);
        }
    }

    /// Forgets those that ended too long before this moment on `CLOCK_BOOTTIME`.
    pub(super) fn age(&mut self, now_ns: u64) {
        let most_ns = self.most_ns;
        let is_old = |connection: &Connection| {
            let stop_ns = connection.end.as_ref().map_or(0, |end| end.stop_ns);
            now_ns.saturating_sub(stop_ns) > most_ns
        };
        while let Some((_, oldest)) = self.closed.first_key_value()
            && is_old(oldest)
        {
            let service = Service::of(&oldest.facts);
            self.forget_oldest(service);
        }
    }

    fn forget_oldest(&mut self, service: Service) {
        let mut oldest = None;
        self.change(service, |numbers| oldest = numbers.pop_front());
        if let Some(number) = oldest {
            self.closed.remove(&number);
        }
    }

    fn change(&mut self, service: Service, change: impl FnOnce(&mut VecDeque<u64>)) {
        let numbers = self.services.entry(service).or_default();
        let size = |numbers: &VecDeque<u64>| {
            let oldest = *numbers.front()?;
            Some((numbers.len(), Reverse(oldest), service))
        };
        if let Some(before) = size(numbers) {
            self.sizes.remove(&before);
        }
        change(numbers);
        match size(numbers) {
            Some(now) => {
                self.sizes.insert(now);
            }
            None => {
                self.services.remove(&service);
            }
        }
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Connection> {
        self.closed.values()
    }

    pub(super) fn len(&self) -> usize {
        self.closed.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::History;
    use crate::{
        query::tests::fixture::{self, NOW},
        registry::connection::{CloseCause, Connection, Direction, End},
    };

    const DAY: Duration = Duration::from_hours(24);
    const SECOND: u64 = 1_000_000_000;

    /// A connection accepted on `port` that ended `stop` seconds after the start of the host.
    fn ended(cid: u64, port: u16, stop: u64) -> Connection {
        let mut connection = fixture::plain(cid);
        let facts = Arc::make_mut(&mut connection.facts);
        facts.direction = Direction::In;
        facts.local.port = port;
        connection.end = Some(End {
            stop: NOW,
            stop_ns: stop * SECOND,
            cause: CloseCause::PeerFin,
            retrans: Some(0),
        });
        connection
    }

    fn cids(history: &History) -> Vec<u64> {
        let cids: Vec<_> = history.iter().map(|one| one.facts.cid).collect();
        assert_eq!(cids.len(), history.len());
        cids
    }

    #[test]
    fn of_one_service_the_oldest_makes_room() {
        let mut history = History::new(3, DAY);
        for cid in 1..=5 {
            history.push(ended(cid, 80, cid));
        }
        assert_eq!(cids(&history), [3, 4, 5]);
    }

    #[test]
    fn a_thousand_health_checks_leave_what_is_rare() {
        let mut history = History::new(10, DAY);
        for cid in 1..=3 {
            history.push(ended(cid, 4222, cid));
        }
        for cid in 4..=1003 {
            history.push(ended(cid, 80, cid));
        }
        let rare_and_last: Vec<_> = (1..=3).chain(997..=1003).collect();
        assert_eq!(cids(&history), rare_and_last);
        // The rare one grows until both have their half.
        for cid in 2001..=2100 {
            history.push(ended(cid, 4222, cid));
        }
        assert_eq!(
            cids(&history),
            [999, 1000, 1001, 1002, 1003, 2096, 2097, 2098, 2099, 2100]
        );
    }

    #[test]
    fn of_services_with_one_each_the_oldest_makes_room() {
        let mut history = History::new(3, DAY);
        for cid in 1..=5 {
            history.push(ended(cid, 1000 + cid as u16, cid));
        }
        assert_eq!(cids(&history), [3, 4, 5]);
    }

    #[test]
    fn what_is_too_old_is_forgotten() {
        let mut history = History::new(10, Duration::from_secs(60));
        for (cid, port) in [(1, 80), (2, 4222), (3, 80)] {
            history.push(ended(cid, port, cid));
        }
        history.age(61 * SECOND);
        assert_eq!(cids(&history), [1, 2, 3]);
        history.age(62 * SECOND);
        assert_eq!(cids(&history), [2, 3]);
        history.age(100 * SECOND);
        assert_eq!(cids(&history), [0; 0]);
        history.push(ended(4, 80, 99));
        assert_eq!(cids(&history), [4]);
    }

    #[test]
    fn none_is_remembered_where_none_is_wanted() {
        let mut history = History::new(0, DAY);
        history.push(ended(1, 80, 1));
        assert_eq!(history.len(), 0);
    }
}
