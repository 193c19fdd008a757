//! Application bytes from TCP's sequence numbers and 64-bit totals.
//!
//! The 64-bit totals (`bytes_acked`, `bytes_received`) are updated apart from the sequence
//! numbers, so a sum of both can be off for an instant on another CPU. `write_seq` and
//! `copied_seq` are single words: they give the exact low 32 bits, the totals only the high ones.

use crate::{
    fields::{
        SOCK_DONE_BIT, SOCK_FLAGS, TCP_BYTES_ACKED, TCP_BYTES_RECEIVED, TCP_BYTES_RETRANS,
        TCP_BYTES_SENT, TCP_COPIED_SEQ, TCP_RCV_NXT, TCP_SND_NXT, TCP_SND_UNA, TCP_WRITE_SEQ,
    },
    sock::Fields,
};

/// The receiving half of a socket.
#[derive(PartialEq)]
pub(crate) struct Received {
    pub(crate) total: u64,
    next: u32,
    /// Next sequence number that the application will read, without a FIN it has read.
    pub(crate) copied: u32,
}

/// Whether the peer's FIN has arrived, and all data before it.
#[inline(always)]
pub(crate) fn has_fin(fields: &impl Fields) -> bool {
    let flags: u64 = fields.get(&SOCK_FLAGS);
    (flags >> (SOCK_DONE_BIT.load() & 63)) & 1 == 1
}

/// Whether the socket is nobody's any more. One that waits to be accepted has no file either, and
/// is not dead. (`SOCK_DEAD`, the first of `enum sock_flags` in include/net/sock.h.)
#[inline(always)]
pub(crate) fn is_dead(fields: &impl Fields) -> bool {
    let flags: u64 = fields.get(&SOCK_FLAGS);
    flags & 1 == 1
}

impl Received {
    #[inline(always)]
    pub(crate) fn of(fields: &impl Fields) -> Self {
        // Read first: a FIN that arrives later moves `rcv_nxt` away from this value.
        let copied: u32 = fields.get(&TCP_COPIED_SEQ);
        let is_whole = has_fin(fields);
        let next: u32 = fields.get(&TCP_RCV_NXT);
        let mut total: u64 = fields.get(&TCP_BYTES_RECEIVED);
        let mut copied_data = copied;
        let mut next_data = next;
        // tcp_fin() sets SOCK_DONE after the FIN took its sequence number; nothing follows it.
        if is_whole {
            total = total.wrapping_sub(1);
            next_data = next.wrapping_sub(1);
            if copied == next {
                copied_data = next_data;
            }
        }
        Self {
            total,
            next: next_data,
            copied: copied_data,
        }
    }

    /// Bytes arrived and not read.
    #[inline(always)]
    pub(crate) fn unread(&self) -> u32 {
        let unread = self.next.wrapping_sub(self.copied);
        // copied_seq was read first, so it can only lag; a wrap means a race with a reader.
        if unread > i32::MAX as u32 { 0 } else { unread }
    }

    /// Bytes read, exact while the socket is locked.
    #[inline(always)]
    pub(crate) fn read_when_locked(&self) -> u64 {
        self.total.saturating_sub(u64::from(self.unread()))
    }

    /// Bytes read, given the sequence number at which there were none.
    #[inline(always)]
    pub(crate) fn read(&self, base: u32) -> u64 {
        widen(self.read_when_locked(), self.copied.wrapping_sub(base))
    }
}

/// The sending half of a socket.
#[derive(PartialEq)]
pub(crate) struct Sent {
    acked: u64,
    pub(crate) write_seq: u32,
    unacked: u32,
}

impl Sent {
    #[inline(always)]
    pub(crate) fn of(fields: &impl Fields) -> Self {
        let unacked_from: u32 = fields.get(&TCP_SND_UNA);
        let write_seq: u32 = fields.get(&TCP_WRITE_SEQ);
        Self {
            acked: fields.get(&TCP_BYTES_ACKED),
            write_seq,
            unacked: write_seq.wrapping_sub(unacked_from),
        }
    }

    /// Sequence numbers written and not acknowledged: data, and a SYN or FIN in flight.
    #[inline(always)]
    pub(crate) fn unacked(&self) -> u32 {
        self.unacked
    }

    /// Bytes written, exact while the socket is locked. `control` counts the SYN (and FIN) that
    /// this end has queued.
    #[inline(always)]
    pub(crate) fn written_when_locked(&self, control: u32) -> u64 {
        self.acked
            .wrapping_add(u64::from(self.unacked))
            .saturating_sub(u64::from(control))
    }

    /// Bytes written, given the sequence number at which there were none. Not after a FIN.
    #[inline(always)]
    pub(crate) fn written(&self, base: u32) -> u64 {
        widen(
            self.written_when_locked(0),
            self.write_seq.wrapping_sub(base),
        )
    }
}

/// Both halves, read together.
#[derive(PartialEq)]
pub(crate) struct Both {
    pub(crate) received: Received,
    pub(crate) sent: Sent,
}

impl Both {
    /// Needs the socket's lock, or a socket at rest.
    #[inline(always)]
    pub(crate) fn of(fields: &impl Fields) -> Self {
        Self {
            received: Received::of(fields),
            sent: Sent::of(fields),
        }
    }

    /// Without the lock: `None` if a segment arrived meanwhile.
    #[inline(always)]
    pub(crate) fn at_rest(fields: &impl Fields) -> Option<Self> {
        let first = Self::of(fields);
        (first == Self::of(fields)).then_some(first)
    }
}

/// Whether this end sent the first SYN, from what TCP counted: `bytes_acked` includes the SYN,
/// `bytes_sent` does not. `None` if the two disagree by anything else.
#[inline(always)]
pub(crate) fn sent_syn(fields: &impl Fields, sent: &Sent, fin_queued: u32) -> Option<u32> {
    let next: u32 = fields.get(&TCP_SND_NXT);
    let unsent = sent.write_seq.wrapping_sub(next);
    let data = sent_once(fields).wrapping_add(u64::from(unsent));
    // A FIN counts once on the left; on the right only while it is unsent.
    let with_control = sent.acked.wrapping_add(u64::from(sent.unacked));
    let fin_on_left = if unsent == 0 { fin_queued } else { 0 };
    match with_control
        .wrapping_sub(data)
        .wrapping_sub(u64::from(fin_on_left))
    {
        0 => Some(0),
        1 => Some(1),
        _ => None,
    }
}

/// Data bytes put on the wire, each counted once; no SYN, no FIN.
#[inline(always)]
pub(crate) fn sent_once(fields: &impl Fields) -> u64 {
    let sent: u64 = fields.get(&TCP_BYTES_SENT);
    let retransmitted: u64 = fields.get(&TCP_BYTES_RETRANS);
    sent.saturating_sub(retransmitted)
}

/// The number whose low 32 bits are `low` and that lies nearest to `about`.
#[inline(always)]
fn widen(about: u64, low: u32) -> u64 {
    let difference = low.wrapping_sub(about as u32) as i32;
    about.wrapping_add(i64::from(difference) as u64)
}
