//! What may be done next with one end of a connection, and how likely.

use fastrand::Rng;

use super::{
    connection::Connection,
    ending::Side,
    ways::{to_receive, to_receive_all, to_send},
};
use crate::protocol::{Command, Way};

/// So much unread data never blocks a sender.
const IN_FLIGHT: u64 = 16_000;
/// Calls of one operation.
const CALLS: u64 = 50;
/// More than all buffers take.
const ENDLESS: u64 = 1 << 30;

/// Small numbers as often as large ones.
pub fn amount(rng: &mut Rng, most: u64) -> u64 {
    let bits = rng.u32(1..=most.ilog2() + 1);
    rng.u64(1..=most.min(1 << bits))
}

fn chunk(rng: &mut Rng, bytes: u64) -> u64 {
    amount(rng, bytes).max(bytes / CALLS + 1)
}

/// An operation on this end, which its process holds.
pub fn choose(rng: &mut Rng, connection: &Connection, side: Side, has_uring: bool) -> Command {
    let mut choices = if connection.is_whole() {
        whole(rng, connection, side, has_uring)
    } else {
        rest(rng, connection, side)
    };
    let all: u32 = choices.iter().map(|(weight, _)| weight).sum();
    let mut drawn = rng.u32(..all);
    let index = choices.iter().position(|(weight, _)| {
        let is_drawn = drawn < *weight;
        drawn = drawn.saturating_sub(*weight);
        is_drawn
    });
    choices.swap_remove(index.unwrap_or_default()).1
}

/// With both ends open.
fn whole(
    rng: &mut Rng,
    connection: &Connection,
    side: Side,
    has_uring: bool,
) -> Vec<(u32, Command)> {
    let (own, other) = (connection.end(side), connection.end(side.other()));
    let id = own.end.id;
    let mut choices = vec![
        (2, Command::Close { ids: vec![id] }),
        (1, Command::Reset { id }),
    ];
    let waiting = connection.unread(side.other()).unwrap_or(ENDLESS);
    if !own.has_fin && waiting < IN_FLIGHT {
        let bytes = 1 + amount(rng, IN_FLIGHT / 2);
        let chunk = chunk(rng, bytes);
        let way = to_send(rng, chunk, has_uring);
        choices.push((50, Command::Send { id, bytes, way }));
        choices.push((
            1,
            Command::SendFromChild {
                id,
                bytes: rng.u64(1..1000),
            },
        ));
        choices.push((1, Command::ShutdownWrite { id }));
        if waiting == 0 {
            let bytes = if rng.bool() {
                ENDLESS
            } else {
                amount(rng, 500_000)
            };
            choices.push((1, Command::Fill { id, bytes }));
        }
    }
    let unread = connection.unread(side).unwrap_or(0);
    if unread > 0 {
        choices.extend(receive(rng, id, unread, other.has_fin, has_uring));
    } else if !other.has_fin {
        choices.push((4, Command::ReceiveNothing { id }));
    }
    if other.has_fin {
        choices.push((5, Command::ReceiveToEnd { id }));
    }
    choices
}

/// A thread that comes last must not meet the end of the stream, so not if what is there `is_last`.
fn receive(
    rng: &mut Rng,
    id: u32,
    unread: u64,
    is_last: bool,
    has_uring: bool,
) -> Vec<(u32, Command)> {
    let bytes = amount(rng, unread);
    let mut choices = vec![
        (
            40,
            Command::Receive {
                id,
                bytes,
                chunk: chunk(rng, bytes),
            },
        ),
        (
            8,
            Command::Receive {
                id,
                bytes: unread,
                chunk: chunk(rng, unread),
            },
        ),
        (
            40,
            Command::ReceiveBy {
                id,
                bytes,
                way: to_receive(rng, has_uring),
            },
        ),
        (
            5,
            Command::Peek {
                id,
                bytes: bytes.min(1000),
            },
        ),
    ];
    if unread < IN_FLIGHT && !is_last {
        let way = to_receive_all(rng, has_uring);
        let bytes = unread;
        choices.push((6, Command::ReceiveBy { id, bytes, way }));
    }
    choices
}

/// With an end that the other has left, or is cut off from.
fn rest(rng: &mut Rng, connection: &Connection, side: Side) -> Vec<(u32, Command)> {
    let own = connection.end(side);
    let id = own.end.id;
    let mut choices = vec![
        (10, Command::Close { ids: vec![id] }),
        (1, Command::Reset { id }),
        (4, Command::ReceiveToEnd { id }),
        (2, Command::ReceiveNothing { id }),
    ];
    if !own.has_fin {
        let bytes = 1 + amount(rng, IN_FLIGHT / 2);
        let chunk = chunk(rng, bytes);
        let ways = [Way::Send { chunk }, Way::TwoMessages, Way::Sendfile];
        let way = ways[rng.usize(..ways.len())];
        choices.push((3, Command::Send { id, bytes, way }));
        choices.push((2, Command::SendUntilError { id }));
        choices.push((1, Command::ShutdownWrite { id }));
    }
    if let Some(unread @ 1..) = connection.unread(side) {
        let bytes = amount(rng, unread);
        choices.push((
            5,
            Command::Receive {
                id,
                bytes,
                chunk: chunk(rng, bytes),
            },
        ));
    }
    choices
}
