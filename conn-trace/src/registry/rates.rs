//! Rates: differences between two looks at the counters, over the time between them.

use std::collections::HashMap;

use serde::{Serialize, Serializer};

use super::{
    connection::{Connection, Counters, Origin},
    snapshot::Snapshot,
};

/// The counters of all open connections at one moment.
#[derive(Clone, Debug)]
pub struct Baseline {
    now_ns: u64,
    counters: HashMap<u64, Counters>,
}

/// What a connection moves in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Bytes read by the application.
    pub in_bytes: PerSecond,
    /// Bytes written by the application.
    pub out_bytes: PerSecond,
    /// Receive calls that moved data.
    pub in_msgs: PerSecond,
    /// Send calls that moved data.
    pub out_msgs: PerSecond,
}

/// In thousandths, rounded down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PerSecond(u64);

const NANOS_PER_SECOND: u128 = 1_000_000_000;

impl PerSecond {
    /// `count` in `window_ns` nanoseconds; 0 where there is no time.
    pub(crate) fn of(count: u64, window_ns: u64) -> Self {
        let thousandths = u128::from(count) * 1000 * NANOS_PER_SECOND;
        let rate = thousandths.checked_div(window_ns.into()).unwrap_or(0);
        Self(u64::try_from(rate).unwrap_or(u64::MAX))
    }
}

impl Serialize for PerSecond {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate of more than 2^53 thousandths has digits enough"
    )]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 1000.0)
    }
}

impl Baseline {
    /// Of a snapshot that has the open connections.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let counters = snapshot.open.iter();
        Self {
            now_ns: snapshot.now_ns,
            counters: counters
                .map(|connection| (connection.facts.cid, connection.counters))
                .collect(),
        }
    }

    /// Nanoseconds from this look to one at `now_ns` on the same clock.
    #[must_use]
    pub fn age_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.now_ns)
    }

    /// Gives every open connection of a later snapshot its rates since this look.
    pub fn rate(&self, snapshot: &mut Snapshot) {
        let window_ns = self.age_ns(snapshot.now_ns);
        for connection in &mut snapshot.open {
            connection.rates = self.moved(connection).map(|moved| {
                Box::new(Rates {
                    in_bytes: PerSecond::of(moved.in_bytes, window_ns),
                    out_bytes: PerSecond::of(moved.out_bytes, window_ns),
                    in_msgs: PerSecond::of(moved.in_msgs, window_ns),
                    out_msgs: PerSecond::of(moved.out_msgs, window_ns),
                })
            });
        }
    }

    /// What was moved since. Not known of a connection that was there and not seen then.
    fn moved(&self, connection: &Connection) -> Option<Counters> {
        let facts = &connection.facts;
        match self.counters.get(&facts.cid) {
            Some(&before) => Some(connection.counters.since(before)),
            None => (facts.origin == Origin::Opened && facts.start_ns >= self.now_ns)
                .then_some(connection.counters),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Baseline, PerSecond, Rates};
    use crate::{
        query::tests::fixture::{self, NOW_NS, SECOND},
        registry::connection::{Connection, Counters, Origin},
    };

    fn connection(cid: u64, counters: [u64; 4]) -> Connection {
        let [in_bytes, out_bytes, in_msgs, out_msgs] = counters;
        Connection {
            counters: Counters {
                in_bytes,
                out_bytes,
                in_msgs,
                out_msgs,
            },
            ..fixture::plain(cid)
        }
    }

    fn with_start(mut connection: Connection, start_ns: u64, origin: Origin) -> Connection {
        let facts = Arc::make_mut(&mut connection.facts);
        facts.start_ns = start_ns;
        facts.origin = origin;
        connection
    }

    /// The rates of `later`, four seconds after a look at `earlier`.
    fn rates(earlier: Vec<Connection>, later: Connection) -> Option<Rates> {
        let mut snapshot = fixture::snapshot(&[]);
        snapshot.open = earlier;
        let baseline = Baseline::of(&snapshot);
        snapshot.open = vec![later];
        snapshot.now_ns += 4 * SECOND;
        baseline.rate(&mut snapshot);
        snapshot.open.remove(0).rates.map(|rates| *rates)
    }

    #[test]
    fn differences_over_the_time_between() {
        let earlier = connection(1, [100, 7, 1, 1]);
        let later = connection(1, [1100, 8, 1, 3]);
        let rates = rates(vec![earlier], later);
        let expected = Rates {
            in_bytes: PerSecond(250_000),
            out_bytes: PerSecond(250),
            in_msgs: PerSecond(0),
            out_msgs: PerSecond(500),
        };
        assert_eq!(rates, Some(expected));
    }

    #[test]
    fn connections_that_opened_since_have_moved_all_since() {
        let new = connection(2, [8, 0, 4, 0]);
        let new = with_start(new, NOW_NS, Origin::Opened);
        let rates = rates(Vec::new(), new).expect("rates");
        assert_eq!(
            (rates.in_bytes, rates.in_msgs),
            (PerSecond(2000), PerSecond(1000))
        );
    }

    #[test]
    fn connections_that_were_there_unseen_have_unknown_rates() {
        let before = with_start(connection(2, [8; 4]), NOW_NS - 1, Origin::Opened);
        assert_eq!(rates(Vec::new(), before), None);
        let late = with_start(connection(2, [8; 4]), NOW_NS + 1, Origin::Late);
        assert_eq!(rates(Vec::new(), late), None);
    }

    #[test]
    fn large_counts_and_no_time() {
        assert_eq!(PerSecond::of(u64::MAX, 1), PerSecond(u64::MAX));
        assert_eq!(PerSecond::of(5, 0), PerSecond(0));
        assert_eq!(serde_json::to_string(&PerSecond(1500)).unwrap(), "1.5");
    }
}
