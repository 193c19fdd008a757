//! Why a connection ended, in NATS's words where they fit.

use crate::registry::connection::{CloseCause, Direction};

/// The text of `reason`. NATS's reasons speak as a server of its clients, so the end that
/// accepted is the server here and the end that connected the client:
///
/// | cause | accepted | connected | not known |
/// |---|---|---|---|
/// | this end closed first | Server Closed | **Client Closed** | Local Closed |
/// | the peer closed first | **Client Closed** | Server Closed | Peer Closed |
/// | a signal ended the owner | **Server Shutdown** | Client Shutdown | Process Killed |
/// | this end sent a reset | Connection Aborted | the same | the same |
/// | the peer sent a reset | **Read Error** | the same | the same |
/// | no answer to retransmissions or keepalives | **Stale Connection** | the same | the same |
/// | destroyed from outside | **Kicked** | the same | the same |
///
/// Those in bold are NATS's own. What NATS has no word for is said plainly.
#[must_use]
pub fn reason(cause: CloseCause, direction: Direction) -> &'static str {
    match (cause, direction) {
        (CloseCause::LocalFin, Direction::In) | (CloseCause::PeerFin, Direction::Out) => {
            "Server Closed"
        }
        (CloseCause::LocalFin, Direction::Out) | (CloseCause::PeerFin, Direction::In) => {
            "Client Closed"
        }
        (CloseCause::LocalFin, Direction::Unknown) => "Local Closed",
        (CloseCause::PeerFin, Direction::Unknown) => "Peer Closed",
        (CloseCause::Killed, Direction::In) => "Server Shutdown",
        (CloseCause::Killed, Direction::Out) => "Client Shutdown",
        (CloseCause::Killed, Direction::Unknown) => "Process Killed",
        (CloseCause::LocalReset, _) => "Connection Aborted",
        (CloseCause::PeerReset, _) => "Read Error",
        (CloseCause::Error(_), _) => "Socket Error",
        (CloseCause::Timeout, _) => "Stale Connection",
        (CloseCause::Refused, _) => "Connection Refused",
        (CloseCause::Unreachable, _) => "Peer Unreachable",
        (CloseCause::Cancelled, _) => "Connection Cancelled",
        (CloseCause::Aborted, _) => "Kicked",
        (CloseCause::Unknown, _) => "Unknown",
    }
}

/// Every text of [`reason`], each once.
pub(super) fn reasons() -> Vec<&'static str> {
    let mut all: Vec<_> = CloseCause::ALL
        .into_iter()
        .flat_map(|cause| Direction::ALL.map(|direction| reason(cause, direction)))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}
