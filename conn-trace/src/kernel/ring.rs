//! The lifecycle ring, and that of messages.

use std::mem;

use aya::maps::{MapData, RingBuf};
use conn_trace_common::{
    lifecycle::{CLOSED, Closed, ESTABLISHED, FIRST_BYTES, FirstBytes, Header, OPENED},
    message::Message,
};

use super::{
    map::Plain,
    table::{Entry, Table},
};

/// A record of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A connection was opened; its facts are in the table.
    Opened(Header),
    /// A handshake ended; the facts in the table are complete.
    Established(Header),
    /// A connection ended; the record has everything.
    Closed(Box<Closed>),
    /// Some of the first bytes of a connection.
    FirstBytes(Box<FirstBytes>),
}

/// The lifecycle ring, and what was taken out of it before anybody asked.
pub(super) struct Lifecycle {
    ring: RingBuf<MapData>,
    kept: Vec<Record>,
    /// Records that could not be read meanwhile.
    unreadable: u64,
    /// Ends that had found no room in the ring by then.
    lost: u64,
}

impl Lifecycle {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self {
            ring,
            kept: Vec::new(),
            unreadable: 0,
            lost: 0,
        }
    }

    /// Takes every record, those that were kept first. Gives the number that could not be read.
    pub(super) fn drain(&mut self, mut take: impl FnMut(Record)) -> u64 {
        mem::take(&mut self.kept).into_iter().for_each(&mut take);
        mem::take(&mut self.unreadable) + drain(&mut self.ring, take)
    }

    /// The first bytes of a connection, as far as they are among what was kept.
    pub(super) fn first_bytes(&self, cookie: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for record in &self.kept {
            if let Record::FirstBytes(some) = record
                && some.header.cookie == cookie
                && some.offset as usize == bytes.len()
            {
                bytes.extend(some.bytes.iter().take(some.len as usize));
            }
        }
        bytes
    }

    /// Makes room in the ring, and in the table for what it had none for.
    pub(super) fn keep_ended(&mut self, table: &Table) {
        let kept = &mut self.kept;
        self.unreadable += drain(&mut self.ring, |record| kept.push(record));
        let lost = table.stats().ring_lost_closed;
        if mem::replace(&mut self.lost, lost) != lost {
            table.scan(|_live| (), |entry| kept.push(closed(entry)));
        }
    }
}

/// Takes every record out of the ring. Gives the number of records that could not be read.
fn drain(ring: &mut RingBuf<MapData>, mut take: impl FnMut(Record)) -> u64 {
    let mut unreadable = 0;
    while let Some(item) = ring.next() {
        match decode(&item) {
            Some(record) => take(record),
            None => unreadable += 1,
        }
    }
    unreadable
}

/// Takes every message out of their ring, likewise.
pub(super) fn drain_messages(ring: &mut RingBuf<MapData>, mut take: impl FnMut(Message)) -> u64 {
    let mut unreadable = 0;
    while let Some(item) = ring.next() {
        match plain(&item) {
            Some(message) => take(message),
            None => unreadable += 1,
        }
    }
    unreadable
}

/// The record of an end that found no room in the ring.
fn closed(entry: Entry) -> Record {
    let Entry { slot, hot, cold } = entry;
    let header = Header {
        kind: CLOSED,
        slot,
        cookie: hot.cookie,
        generation: hot.generation,
        reserved: 0,
    };
    Record::Closed(Box::new(Closed { header, hot, cold }))
}

/// The inverse of what the programs write.
fn decode(bytes: &[u8]) -> Option<Record> {
    let header: Header = plain(bytes.get(..size_of::<Header>())?)?;
    match header.kind {
        OPENED => Some(Record::Opened(header)),
        ESTABLISHED => Some(Record::Established(header)),
        CLOSED => plain(bytes).map(|closed| Record::Closed(Box::new(closed))),
        FIRST_BYTES => plain(bytes).map(|some| Record::FirstBytes(Box::new(some))),
        _ => None,
    }
}

/// The value that the bytes are, if there are exactly as many as it takes.
fn plain<T: Plain>(bytes: &[u8]) -> Option<T> {
    if bytes.len() != size_of::<T>() {
        return None;
    }
    // SAFETY: the length fits, and any bytes are a value of `T`.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

#[cfg(test)]
mod tests {
    use conn_trace_common::lifecycle::FIRST_BYTES_CHUNK;

    use super::*;

    fn header(kind: u32) -> Vec<u8> {
        [kind.to_ne_bytes(), 7_u32.to_ne_bytes()]
            .concat()
            .into_iter()
            .chain(99_u64.to_ne_bytes())
            .chain(3_u32.to_ne_bytes())
            .chain([0; 4])
            .collect()
    }

    #[test]
    fn opened_is_a_header() {
        let expected = Header {
            kind: OPENED,
            slot: 7,
            cookie: 99,
            generation: 3,
            reserved: 0,
        };
        assert_eq!(decode(&header(OPENED)), Some(Record::Opened(expected)));
    }

    #[test]
    fn closed_carries_both_entries() {
        let mut bytes = header(CLOSED);
        bytes.extend((0..192).map(|byte| byte as u8));
        let Some(Record::Closed(closed)) = decode(&bytes) else {
            panic!("not closed")
        };
        assert_eq!(
            closed.hot.cookie,
            u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7])
        );
        assert_eq!(closed.hot.state, 60);
        assert_eq!(
            closed.cold.cookie,
            u64::from_ne_bytes([64, 65, 66, 67, 68, 69, 70, 71])
        );
        assert_eq!(closed.cold.comm[15], 191);
    }

    #[test]
    fn first_bytes_have_a_place() {
        let mut bytes = header(FIRST_BYTES);
        bytes.extend(512_u32.to_ne_bytes());
        bytes.extend(3_u32.to_ne_bytes());
        bytes.extend([b'x'; FIRST_BYTES_CHUNK]);
        let Some(Record::FirstBytes(some)) = decode(&bytes) else {
            panic!("no first bytes")
        };
        assert_eq!((some.header.cookie, some.offset, some.len), (99, 512, 3));
        assert_eq!(some.bytes, [b'x'; FIRST_BYTES_CHUNK]);
        assert_eq!(decode(&bytes[1..]), None);
    }

    #[test]
    fn short_long_and_unknown_records_are_refused() {
        for len in 0..header(OPENED).len() {
            assert_eq!(decode(&header(OPENED)[..len]), None);
        }
        assert_eq!(decode(&header(CLOSED)), None);
        assert_eq!(decode(&[header(CLOSED), vec![0; 193]].concat()), None);
        assert_eq!(decode(&header(9)), None);
    }
}
