//! What follows from a connection and the moment of its snapshot.

use jiff::{SignedDuration, Timestamp};

use crate::registry::connection::{Connection, Direction};

/// The direction as rows show it and filters take it.
pub(super) fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
        Direction::Unknown => "unknown",
    }
}

/// Age in nanoseconds; of a closed connection: how long it lived. 0 where clocks disagree.
pub(super) fn uptime_ns(connection: &Connection, now_ns: u64) -> u64 {
    end_ns(connection, now_ns).saturating_sub(connection.facts.start_ns)
}

/// Nanoseconds since the last activity; of a closed connection: those before its end.
/// 0 where the activity is newer than the snapshot.
pub(super) fn idle_ns(connection: &Connection, now_ns: u64) -> u64 {
    end_ns(connection, now_ns).saturating_sub(connection.last_activity_ns)
}

/// Wall clock of the last activity, counted back from the moment of the snapshot, or from the end
/// of a closed connection, so that the history does not move when the clock is set. Never before
/// the start, though the wall clock may have been set since.
pub(super) fn last_activity(connection: &Connection, now: Timestamp, now_ns: u64) -> Timestamp {
    let start = connection.facts.start;
    if connection.last_activity_ns <= connection.facts.start_ns {
        return start;
    }
    let end = connection.end.as_ref().map_or(now, |end| end.stop);
    let idle = i64::try_from(idle_ns(connection, now_ns)).unwrap_or(i64::MAX);
    end.checked_sub(SignedDuration::from_nanos(idle))
        .unwrap_or(start)
        .max(start)
}

/// Segments retransmitted; of a closed connection: until its end.
pub(super) fn retrans(connection: &Connection) -> Option<u32> {
    match &connection.end {
        Some(end) => end.retrans,
        None => connection.tcp.as_ref()?.retrans,
    }
}

/// The moment up to which a connection is measured.
fn end_ns(connection: &Connection, now_ns: u64) -> u64 {
    connection.end.as_ref().map_or(now_ns, |end| end.stop_ns)
}
