//! What policies have found in a connection.

/// One finding that a row shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// Nothing was moved for longer than a policy says.
    IdleLeak,
    /// The peer has closed for longer than a policy says, and the program has not.
    CloseWaitLeak,
    /// One more than a policy says.
    OverLimit,
    /// Its peer is one that a policy does not want.
    Watchlist,
}

impl Flag {
    /// Every flag, in the order of a row.
    pub const ALL: [Self; 4] = [
        Self::IdleLeak,
        Self::CloseWaitLeak,
        Self::OverLimit,
        Self::Watchlist,
    ];

    /// The word in `flags`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::IdleLeak => "idle_leak",
            Self::CloseWaitLeak => "close_wait_leak",
            Self::OverLimit => "over_limit",
            Self::Watchlist => "watchlist",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The flags of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this one is among them.
    #[must_use]
    pub fn contains(self, flag: Flag) -> bool {
        self.0 & flag.bit() != 0
    }

    /// These and one more.
    #[must_use]
    pub fn with(self, flag: Flag) -> Self {
        Self(self.0 | flag.bit())
    }

    /// These without one.
    #[must_use]
    pub fn without(self, flag: Flag) -> Self {
        Self(self.0 & !flag.bit())
    }

    /// These and those.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Each of them, in order.
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        Flag::ALL
            .into_iter()
            .filter(move |flag| self.contains(*flag))
    }
}

impl FromIterator<Flag> for Flags {
    fn from_iter<T: IntoIterator<Item = Flag>>(flags: T) -> Self {
        flags.into_iter().fold(Self::default(), Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::{Flag, Flags};

    #[test]
    fn each_flag_by_itself() {
        for flag in Flag::ALL {
            let flags = Flags::default().with(flag);
            assert_eq!(flags.iter().collect::<Vec<_>>(), [flag]);
            assert!(flags.without(flag).is_empty());
        }
        let all: Flags = Flag::ALL.into_iter().collect();
        assert_eq!(all.iter().collect::<Vec<_>>(), Flag::ALL);
        assert_eq!(all.without(Flag::OverLimit).and(all), all);
    }
}
