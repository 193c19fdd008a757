//! Which `close_cause` each end of a connection must get, from what its two processes did.
//!
//! The rules are those of the user guide and of TCP: the first FIN names the cause of both ends,
//! whoever loses something says reset. Where two ends act before either can know of the other,
//! more than one cause is right.

use std::fmt;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The end that connected.
    Client,
    /// The end that accepted.
    Server,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Client, Self::Server];

    /// The other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// The causes that are right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes(u8);

const NAMES: [&str; 7] = [
    "local_fin",
    "peer_fin",
    "local_reset",
    "peer_reset",
    "killed",
    "timeout",
    "unknown",
];

impl Causes {
    /// This end closed first.
    pub const LOCAL_FIN: Self = Self(1);
    /// The other did.
    pub const PEER_FIN: Self = Self(2);
    /// This end's close lost something.
    pub const LOCAL_RESET: Self = Self(4);
    /// The other end's did.
    pub const PEER_RESET: Self = Self(8);
    /// A signal ended the process.
    pub const KILLED: Self = Self(16);
    /// The other end had no room for what was left, for minutes.
    pub const TIMEOUT: Self = Self(32);
    /// The kernel did not show the end.
    pub const UNSEEN: Self = Self(64);
    /// Anything that can happen to a connection between two ends of this host.
    pub const ANY: Self = Self(63);

    /// Either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether this cause is among them.
    #[must_use]
    pub fn holds(self, name: &str) -> bool {
        (0..)
            .zip(NAMES)
            .any(|(bit, known)| known == name && self.0 >> bit & 1 == 1)
    }
}

impl fmt::Display for Causes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = NAMES.into_iter().filter(|name| self.holds(name)).collect();
        f.write_str(&names.join(" or "))
    }
}

/// How a process gives up an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// By a call, or by its regular end.
    Call,
    /// By SIGKILL.
    Signal,
}

#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    causes: Causes,
    /// Its FIN is queued.
    has_fin: bool,
    /// And is known to have reached the other end.
    fin_arrived: bool,
    /// It has sent to an end that was closed.
    is_refused: bool,
    /// Nothing changes its cause any more.
    is_over: bool,
}

impl Fate {
    fn learn_of_reset(&mut self) {
        if !self.is_over {
            self.causes = Causes::PEER_RESET;
            self.is_over = true;
        }
    }
}

/// How a connection ends, at both ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ending {
    ends: [Fate; 2],
}

impl Ending {
    /// The causes that this end may get.
    #[must_use]
    pub fn causes(&self, side: Side) -> Causes {
        let end = self.of(side);
        if end.is_refused && !end.is_over {
            return end.causes.or(Causes::PEER_RESET);
        }
        end.causes
    }

    /// Everything that this end sent has arrived.
    pub fn settle(&mut self, side: Side) {
        let end = self.of_mut(side);
        end.fin_arrived = end.has_fin;
        if end.is_refused {
            end.learn_of_reset();
        }
    }

    /// The end of the stream was read: the other end's FIN has arrived.
    pub fn fin_was_read(&mut self, side: Side) {
        let other = self.of_mut(side.other());
        other.fin_arrived = other.has_fin;
    }

    /// This end queues its FIN: a shutdown, or a close that loses nothing.
    pub fn fin(&mut self, side: Side, by: By) {
        let other = *self.of(side.other());
        let end = self.of_mut(side);
        if end.is_over || end.has_fin {
            return;
        }
        end.has_fin = true;
        let own = match by {
            By::Call => Causes::LOCAL_FIN,
            By::Signal => Causes::KILLED,
        };
        if !other.has_fin {
            end.causes = own;
            self.of_mut(side.other()).causes = Causes::PEER_FIN;
        } else if !other.fin_arrived {
            // Both may have been first.
            end.causes = end.causes.or(own);
        }
    }

    /// This end is closed with something lost: unread data, a linger time of 0, a disconnect.
    /// `is_stuck` says that data which the other end has sent may still be on its side.
    pub fn reset(&mut self, side: Side, by: By, other_is_held: bool, is_stuck: bool) {
        let is_fin_queued = self.of(side).has_fin;
        let end = self.of_mut(side);
        if !end.is_over && !end.has_fin {
            end.causes = match by {
                By::Call => Causes::LOCAL_RESET,
                By::Signal => Causes::KILLED,
            };
        }
        // If the reset by the other end has not arrived before.
        if end.is_refused && !end.is_over {
            end.causes = end.causes.or(Causes::PEER_RESET);
        }
        end.is_over = true;
        let other = self.of_mut(side.other());
        // An end that has closed, too, keeps what it ended by, unless it has something to lose.
        if !other.is_over {
            if !other.has_fin || (other_is_held && !is_fin_queued) {
                other.causes = Causes::PEER_RESET;
            } else if is_stuck {
                other.causes = other.causes.or(Causes::PEER_RESET);
            }
        }
        other.is_over = true;
    }

    /// This end is closed while it is not known whether anything unread has arrived.
    pub fn fin_or_reset(&mut self, side: Side, by: By, other_is_held: bool, is_stuck: bool) {
        let mut with_fin = *self;
        with_fin.fin(side, by);
        self.reset(side, by, other_is_held, is_stuck);
        for side in Side::BOTH {
            let end = self.of_mut(side);
            end.causes = end.causes.or(with_fin.causes(side));
        }
    }

    /// This end sends to one that is closed, and is reset as soon as the answer arrives.
    pub fn refused(&mut self, side: Side) {
        self.of_mut(side).is_refused = true;
    }

    /// A call says that this end was reset.
    pub fn was_reset(&mut self, side: Side) {
        let end = self.of_mut(side);
        if end.is_refused {
            end.learn_of_reset();
        }
    }

    /// Something happened of which the order is not known.
    pub fn blur(&mut self) {
        for end in &mut self.ends {
            end.causes = Causes::ANY;
            end.is_over = true;
        }
    }

    fn of(&self, side: Side) -> &Fate {
        &self.ends[side as usize]
    }

    fn of_mut(&mut self, side: Side) -> &mut Fate {
        &mut self.ends[side as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Side::{Client, Server};

    fn causes(ending: &Ending) -> [String; 2] {
        Side::BOTH.map(|side| ending.causes(side).to_string())
    }

    #[test]
    fn the_first_fin_names_both_ends() {
        let mut ending = Ending::default();
        ending.fin(Server, By::Call);
        ending.settle(Server);
        ending.fin(Client, By::Signal);
        assert_eq!(causes(&ending), ["peer_fin", "local_fin"]);
    }

    #[test]
    fn fins_that_cross_are_both_local() {
        let mut ending = Ending::default();
        ending.fin(Client, By::Call);
        ending.fin(Server, By::Call);
        assert_eq!(causes(&ending), ["local_fin", "local_fin or peer_fin"]);
    }

    #[test]
    fn a_reset_is_named_at_both_ends() {
        let mut ending = Ending::default();
        ending.reset(Client, By::Call, true, false);
        ending.fin(Server, By::Call);
        assert_eq!(causes(&ending), ["local_reset", "peer_reset"]);
    }

    #[test]
    fn data_on_its_way_to_a_closed_end_may_find_it_closed() {
        let mut ending = Ending::default();
        ending.fin_or_reset(Client, By::Call, true, false);
        let both = ["local_fin or local_reset", "peer_fin or peer_reset"];
        assert_eq!(causes(&ending), both);
    }

    #[test]
    fn a_reset_after_the_other_end_closed_leaves_its_cause() {
        let mut ending = Ending::default();
        ending.fin(Client, By::Call);
        ending.settle(Client);
        ending.reset(Server, By::Call, false, false);
        assert_eq!(causes(&ending), ["local_fin", "local_reset"]);
    }

    #[test]
    fn sending_to_a_closed_end_is_answered_by_a_reset() {
        let mut ending = Ending::default();
        ending.fin(Client, By::Call);
        ending.refused(Server);
        assert_eq!(causes(&ending), ["local_fin", "peer_fin or peer_reset"]);
        ending.settle(Server);
        ending.fin(Server, By::Call);
        assert_eq!(causes(&ending), ["local_fin", "peer_reset"]);
    }

    #[test]
    fn a_reset_that_refuses_what_a_closed_end_still_has_to_send_is_the_peers() {
        let mut ending = Ending::default();
        ending.fin(Server, By::Call);
        ending.settle(Server);
        ending.fin(Client, By::Call);
        ending.reset(Server, By::Call, false, true);
        assert_eq!(causes(&ending), ["peer_fin or peer_reset", "local_fin"]);
    }

    #[test]
    fn a_reset_of_a_half_closed_end_that_still_reads_is_the_peers() {
        let mut ending = Ending::default();
        ending.fin(Client, By::Call);
        ending.settle(Client);
        ending.reset(Server, By::Signal, true, false);
        assert_eq!(causes(&ending), ["peer_reset", "killed"]);
    }
}
