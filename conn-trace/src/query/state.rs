//! `state`: open or closed connections, or those in one TCP state.

use crate::registry::{connection::TcpState, snapshot::Scope};

/// Which states are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateFilter {
    /// Every connection that is open.
    Open,
    /// The closed history.
    Closed,
    /// Both.
    All,
    /// Open connections in one state of TCP.
    Tcp(TcpState),
}

/// The states by name, without `-` and `_`: the kernel's, RFC 9293's and those of `ss`.
/// The closed ones are the history; LISTEN is not the state of a connection.
const NAMES: [(&str, StateFilter); 16] = [
    ("OPEN", StateFilter::Open),
    ("CLOSED", StateFilter::Closed),
    ("CLOSE", StateFilter::Closed),
    ("ANY", StateFilter::All),
    ("ALL", StateFilter::All),
    ("ESTABLISHED", StateFilter::Tcp(TcpState::Established)),
    ("ESTAB", StateFilter::Tcp(TcpState::Established)),
    ("SYNSENT", StateFilter::Tcp(TcpState::SynSent)),
    ("SYNRECV", StateFilter::Tcp(TcpState::SynRecv)),
    ("SYNRECEIVED", StateFilter::Tcp(TcpState::SynRecv)),
    ("FINWAIT1", StateFilter::Tcp(TcpState::FinWait1)),
    ("FINWAIT2", StateFilter::Tcp(TcpState::FinWait2)),
    ("TIMEWAIT", StateFilter::Tcp(TcpState::TimeWait)),
    ("CLOSEWAIT", StateFilter::Tcp(TcpState::CloseWait)),
    ("LASTACK", StateFilter::Tcp(TcpState::LastAck)),
    ("CLOSING", StateFilter::Tcp(TcpState::Closing)),
];

impl StateFilter {
    /// Those that are no states of TCP, as documents name them.
    pub(super) const WORDS: [&str; 4] = ["open", "closed", "any", "all"];

    /// From `open`, `closed`, `any`, `all` or a TCP state's name, in either case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain: String = text.chars().filter(|c| !matches!(c, '-' | '_')).collect();
        NAMES
            .iter()
            .find(|(name, _)| plain.eq_ignore_ascii_case(name))
            .map(|&(_, filter)| filter)
    }

    /// What has to be asked of the registry.
    #[must_use]
    pub fn scope(self) -> Scope {
        match self {
            Self::Open | Self::Tcp(_) => Scope::Open,
            Self::Closed => Scope::Closed,
            Self::All => Scope::All,
        }
    }

    /// Whether closed connections can be among the rows.
    #[must_use]
    pub fn shows_closed(self) -> bool {
        self.scope() != Scope::Open
    }

    /// Whether a connection in `state`, taken from the lists of [`scope`](Self::scope), is meant.
    #[must_use]
    pub fn matches(self, state: TcpState) -> bool {
        match self {
            Self::Open | Self::Closed | Self::All => true,
            Self::Tcp(wanted) => wanted == state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{StateFilter, TcpState};

    #[test]
    fn every_state_is_found_by_its_own_name() {
        for state in (0..=12).map(TcpState::from_kernel) {
            let expected = match state {
                TcpState::Close => StateFilter::Closed,
                other => StateFilter::Tcp(other),
            };
            assert_eq!(StateFilter::parse(state.name()), Some(expected));
            assert_eq!(
                StateFilter::parse(&state.name().to_lowercase()),
                Some(expected)
            );
        }
    }

    #[test]
    fn names_of_ss() {
        for (name, state) in [
            ("estab", TcpState::Established),
            ("SYN-SENT", TcpState::SynSent),
            ("SYN-RECV", TcpState::SynRecv),
            ("FIN-WAIT-1", TcpState::FinWait1),
            ("fin-wait-2", TcpState::FinWait2),
            ("TIME-WAIT", TcpState::TimeWait),
            ("CLOSE-WAIT", TcpState::CloseWait),
            ("LAST-ACK", TcpState::LastAck),
        ] {
            assert_eq!(
                StateFilter::parse(name),
                Some(StateFilter::Tcp(state)),
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_no_state() {
        for text in ["", "LISTEN", "opened", "CLOSE WAIT", "1"] {
            assert_eq!(StateFilter::parse(text), None, "{text}");
        }
    }
}
