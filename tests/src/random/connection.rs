//! What both ends of one connection have done, as far as their processes know.

use std::{
    collections::VecDeque,
    fmt::Write,
    time::{Duration, Instant},
};

use super::{
    ending::{By, Causes, Ending, Side},
    span::{Span, Spans},
};
use crate::protocol::{Counts, End};

/// Operations that are remembered for the report of a difference.
const REMEMBERED: usize = 200;

/// Bytes that a receiver has room for, whatever it was sent before (`net.ipv4.tcp_rmem`).
const ALWAYS_FITS: u64 = 30_000;

/// How long a closed end waits for the other's FIN (`net.ipv4.tcp_fin_timeout`). Where a segment came
/// while the socket was locked, it then sends a reset (`tcp_rcv_state_process` in net/ipv4/tcp_input.c
/// and `tcp_keepalive_timer` in net/ipv4/tcp_timer.c).
const FIN_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a closed end asks for room for what it has not sent yet, at least: it gives up, and says
/// nothing, when the next question would come 120 s (`TCP_RTO_MAX`) after the last, each having
/// doubled the time to the next (`tcp_probe_timer` in net/ipv4/tcp_timer.c). That is after 204 s where
/// the first came after 0.2 s, and after more than 100 s unless it came after more than 20 s.
const PROBE_TIMEOUT: Duration = Duration::from_secs(100);

/// One end.
#[derive(Clone, Debug)]
pub struct ModelEnd {
    /// As its process names it.
    pub end: End,
    /// Number of the process in the fleet.
    pub slot: usize,
    /// Its id and name.
    pub pid: u32,
    /// Its name (`comm`).
    pub name: String,
    /// What it moved.
    pub moved: Spans,
    /// Its process has not closed it.
    pub is_held: bool,
    /// When that closed it.
    closed_at: Option<Instant>,
    /// Some of what it sent may have found no room at the other end by then.
    is_unsent: bool,
    /// It has shut its sending direction, or closed.
    pub has_fin: bool,
    /// The first to use it may have been a child.
    pub is_shared: bool,
    /// Bytes that have certainly arrived here. The kernel may hold back a small segment (Nagle) for
    /// as long as the one before is not acknowledged.
    pub arrived: u64,
    /// It was registered with an io_uring, whose end releases it when the kernel comes to that.
    pub was_registered: bool,
    /// Bytes that it read by `splice`, which is no message.
    pub spliced: u64,
}

impl ModelEnd {
    /// An end that has done nothing.
    #[must_use]
    pub fn new(end: End, slot: usize, pid: u32, name: &str) -> Self {
        Self {
            end,
            slot,
            pid,
            name: name.to_owned(),
            moved: Spans::default(),
            is_held: true,
            closed_at: None,
            is_unsent: false,
            has_fin: false,
            is_shared: false,
            arrived: 0,
            was_registered: false,
            spliced: 0,
        }
    }
}

/// A connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// In the order of opening.
    pub number: u64,
    ends: [ModelEnd; 2],
    /// How it ends.
    pub ending: Ending,
    /// Something of what was sent may never be read: a reset, a killed process.
    pub is_broken: bool,
    history: VecDeque<String>,
    forgotten: u64,
}

impl Connection {
    /// A new one: client, server.
    #[must_use]
    pub fn new(number: u64, ends: [ModelEnd; 2]) -> Self {
        Self {
            number,
            ends,
            ending: Ending::default(),
            is_broken: false,
            history: VecDeque::new(),
            forgotten: 0,
        }
    }

    /// One end.
    #[must_use]
    pub fn end(&self, side: Side) -> &ModelEnd {
        &self.ends[side as usize]
    }

    /// One end, to change it.
    pub fn end_mut(&mut self, side: Side) -> &mut ModelEnd {
        &mut self.ends[side as usize]
    }

    /// Both are closed by their processes.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ends.iter().all(|end| !end.is_held)
    }

    /// Both are open in their processes, and all that is sent will arrive.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.is_broken && self.ends.iter().all(|end| end.is_held)
    }

    /// All is quiet: FINs have arrived, unless they wait behind data that finds no room.
    pub fn settle(&mut self) {
        for side in Side::BOTH {
            let receiver = side.other();
            let waiting = self.unread(receiver);
            if waiting.is_some_and(|waiting| waiting <= ALWAYS_FITS) {
                self.ending.settle(side);
                self.end_mut(receiver).arrived = self.end(side).moved.out_bytes.least;
            }
        }
    }

    /// Sent by the other end and not read by this one, if that is known.
    #[must_use]
    pub fn unread(&self, side: Side) -> Option<u64> {
        let sent = self.end(side.other()).moved.out_bytes.value()?;
        let read = self.end(side).moved.in_bytes.value()?;
        sent.checked_sub(read)
    }

    /// What this end must show. Whatever the other end has read was sent, even if the process that
    /// sent it did not live to count it.
    #[must_use]
    pub fn moved(&self, side: Side) -> Spans {
        let mut moved = self.end(side).moved;
        let read = self.end(side.other()).moved.in_bytes.least;
        moved.out_bytes.least = moved.out_bytes.least.max(read);
        moved
    }

    /// Adds an operation to the history.
    pub fn note(&mut self, side: Side, what: &str) {
        if self.history.len() == REMEMBERED {
            self.history.pop_front();
            self.forgotten += 1;
        }
        self.history.push_back(format!("{side:?}: {what}"));
    }

    /// A call that ended: what it moved, and how many messages these calls may have been.
    pub fn add(&mut self, side: Side, counts: Counts, is_message_per_call: bool) {
        let mut moved = Spans::exact(counts);
        if !is_message_per_call {
            moved.out_calls.most = counts.out_bytes;
        }
        let end = self.end_mut(side);
        end.moved = end.moved.plus(moved);
    }

    /// A call that failed half way: what its process has counted altogether.
    pub fn recount(&mut self, side: Side, counts: Counts) {
        let known = &mut self.end_mut(side).moved;
        let spread = known.out_calls.most - known.out_calls.least;
        *known = Spans::exact(counts);
        known.out_calls.most += spread;
    }

    /// A call of a killed process, of which nobody knows how far it came: at most so many bytes
    /// each way, and a message for each.
    pub fn lose_count(&mut self, side: Side, in_bytes: u64, out_bytes: u64) {
        let upto = |most| Span { least: 0, most };
        let end = self.end_mut(side);
        end.moved = end.moved.plus(Spans {
            in_bytes: upto(in_bytes),
            out_bytes: upto(out_bytes),
            in_calls: upto(in_bytes),
            out_calls: upto(out_bytes),
        });
        self.is_broken = true;
        self.ending.blur();
    }

    /// `shutdown(SHUT_WR)`.
    pub fn shut_write(&mut self, side: Side) {
        self.end_mut(side).has_fin = true;
        self.ending.fin(side, By::Call);
    }

    /// Its process closes it: by a reset if something is unread or `is_abort`.
    pub fn close(&mut self, side: Side, by: By, is_abort: bool) {
        let other_is_held = self.end(side.other()).is_held;
        let finds_no_room = |unread: Option<u64>| unread.is_none_or(|bytes| bytes > ALWAYS_FITS);
        let unread = self.unread(side);
        let is_unsent = finds_no_room(self.unread(side.other()));
        let end = self.end_mut(side);
        end.is_held = false;
        end.closed_at = Some(Instant::now());
        end.is_unsent = is_unsent;
        end.has_fin = true;
        let was_registered = end.was_registered;
        let has_arrived = end.arrived > end.moved.in_bytes.most;
        let is_stuck = finds_no_room(unread);
        let ending = &mut self.ending;
        match unread {
            // It may be closed later than this, and by a worker of the kernel.
            _ if was_registered => ending.blur(),
            Some(0) if !is_abort => return ending.fin(side, by),
            None if !is_abort => ending.blur(),
            _ if is_abort || has_arrived => ending.reset(side, by, other_is_held, is_stuck),
            _ => ending.fin_or_reset(side, by, other_is_held, is_stuck),
        }
        self.is_broken = true;
    }

    /// The causes that this end may get.
    #[must_use]
    pub fn causes(&self, side: Side) -> Causes {
        self.causes_at(side, Instant::now())
    }

    fn causes_at(&self, side: Side, now: Instant) -> Causes {
        let has_been_closed = |end: &ModelEnd, time| {
            let closed_at = end.closed_at;
            closed_at.is_some_and(|at| now.duration_since(at) >= time)
        };
        let (end, other) = (self.end(side), self.end(side.other()));
        let mut causes = self.ending.causes(side);
        if has_been_closed(other, FIN_TIMEOUT) {
            causes = causes.or(Causes::PEER_RESET);
        }
        if end.is_unsent && has_been_closed(end, PROBE_TIMEOUT) {
            causes = causes.or(Causes::TIMEOUT);
        }
        causes
    }

    /// Everything that happened to it, for a report.
    #[must_use]
    pub fn story(&self) -> String {
        let mut story = format!("connection {}", self.number);
        for side in Side::BOTH {
            let end = self.end(side);
            let _ = write!(
                story,
                "\n  {side:?}: {} to {}, process {} ({}), id {}: {}{}{}; may end by {}",
                end.end.local,
                end.end.peer,
                end.pid,
                end.name,
                end.end.id,
                self.moved(side),
                if end.is_held { "" } else { ", closed" },
                if end.has_fin { ", FIN" } else { "" },
                self.causes(side),
            );
        }
        if self.forgotten > 0 {
            let _ = write!(story, "\n  ({} operations before)", self.forgotten);
        }
        for line in &self.history {
            let _ = write!(story, "\n  {line}");
        }
        story
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        let address = ([127, 0, 0, 1], 1).into();
        let end = End {
            id: 1,
            local: address,
            peer: address,
        };
        Connection::new(1, [0, 1].map(|slot| ModelEnd::new(end, slot, 1, "name")))
    }

    fn sent(connection: &mut Connection, bytes: u64) {
        let counts = Counts {
            out_bytes: bytes,
            out_calls: 1,
            ..Counts::default()
        };
        connection.add(Side::Client, counts, true);
    }

    #[test]
    fn a_close_with_unread_data_is_a_reset_once_the_data_has_arrived() {
        let mut late = connection();
        sent(&mut late, 3);
        let mut settled = late.clone();
        settled.settle();
        for (connection, causes) in [
            (&mut late, "local_fin or local_reset"),
            (&mut settled, "local_reset"),
        ] {
            assert_eq!(connection.unread(Side::Server), Some(3));
            connection.close(Side::Server, By::Call, false);
            assert_eq!(connection.ending.causes(Side::Server).to_string(), causes);
        }
    }

    #[test]
    fn who_does_not_close_may_be_reset_in_the_end() {
        let mut connection = connection();
        connection.close(Side::Server, By::Call, false);
        let now = Instant::now();
        let later = now + FIN_TIMEOUT;
        let causes = |side, at| connection.causes_at(side, at).to_string();
        assert_eq!(causes(Side::Client, now), "peer_fin");
        assert_eq!(causes(Side::Client, later), "peer_fin or peer_reset");
        assert_eq!(causes(Side::Server, later), "local_fin");
    }

    #[test]
    fn who_cannot_send_all_may_give_up_in_the_end() {
        let mut fits = connection();
        sent(&mut fits, ALWAYS_FITS);
        let mut stuck = connection();
        sent(&mut stuck, ALWAYS_FITS + 1);
        let now = Instant::now();
        let later = now + PROBE_TIMEOUT + Duration::from_secs(1);
        for (mut connection, at, causes) in [
            (stuck.clone(), now, "local_fin"),
            (stuck, later, "local_fin or timeout"),
            (fits, later, "local_fin"),
        ] {
            connection.close(Side::Client, By::Call, false);
            assert_eq!(connection.causes_at(Side::Client, at).to_string(), causes);
        }
    }

    #[test]
    fn a_killed_sender_has_sent_at_least_what_was_read() {
        let mut connection = connection();
        connection.lose_count(Side::Client, 0, 100);
        let read = Counts {
            in_bytes: 40,
            in_calls: 1,
            ..Counts::default()
        };
        connection.add(Side::Server, read, true);
        let out_bytes = connection.moved(Side::Client).out_bytes;
        assert_eq!((out_bytes.least, out_bytes.most), (40, 100));
        assert_eq!(connection.unread(Side::Server), None);
    }
}
