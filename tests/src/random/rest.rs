//! The kernel's list of the model's connections, and waiting until they are at rest.

use std::collections::HashMap;

use super::{
    fleet::Fleet,
    model::{Key, Model, Tuple},
};
use crate::{
    connz::Row,
    sockets::{self, KernelSocket},
    wait::eventually,
};

/// What the kernel lists, of the connections of the model.
pub(super) type Kernel = HashMap<Tuple, KernelSocket>;

pub(super) fn is_our_row(row: &Row, fleet: &Fleet) -> bool {
    row.netns == fleet.netns && is_ours(row.tuple(), fleet)
}

fn is_ours((local, peer): Tuple, fleet: &Fleet) -> bool {
    fleet.ports.contains(&local.port()) || fleet.ports.contains(&peer.port())
}

pub(super) fn kernel_list(fleet: &Fleet) -> Kernel {
    sockets::connections()
        .into_iter()
        .map(|socket| (socket.tuple(), socket))
        .filter(|(tuple, _)| is_ours(*tuple, fleet))
        .collect()
}

/// Waits until everything that was sent has been read, is in the queue of the receiver, or cannot
/// get there because that queue is full; and until it is acknowledged.
pub(super) fn at_rest(model: &Model, fleet: &Fleet) -> Kernel {
    let newest: HashMap<Tuple, Key> = model
        .by_tuple()
        .into_iter()
        .filter_map(|(tuple, keys)| Some((tuple, *keys.last()?)))
        .collect();
    eventually("everything sent has arrived and is acknowledged", || {
        let kernel = kernel_list(fleet);
        let is_settled = kernel.iter().all(|(tuple, receiver)| {
            let Some(sender) = kernel.get(&(tuple.1, tuple.0)) else {
                return !matches!(receiver.state, "LAST_ACK" | "CLOSING");
            };
            let Some(&(number, side)) = newest.get(tuple) else {
                return true;
            };
            let connection = &model.connections[&number];
            let Some(unread) = connection.unread(side) else {
                return true;
            };
            // FINs take a place in the queues, too.
            let fin_unacked = u64::from(is_fin_unacked(sender.state));
            let queued = receiver.recv_queue + sender.send_queue - fin_unacked;
            let unread_fin = queued.checked_sub(unread);
            unread_fin == Some(0) || (unread_fin == Some(1) && is_fin_received(receiver.state))
        });
        is_settled.then_some(kernel)
    })
}

pub(super) fn is_same(before: &Kernel, after: &Kernel) -> bool {
    before.len() == after.len()
        && before.iter().all(|(tuple, a)| {
            after.get(tuple).is_some_and(|b| {
                a.state == b.state
                    && (a.recv_queue, a.send_queue) == (b.recv_queue, b.send_queue)
                    && (a.info.segs_in, a.info.segs_out) == (b.info.segs_in, b.info.segs_out)
            })
        })
}

pub(super) fn is_fin_unacked(state: &str) -> bool {
    matches!(state, "FIN_WAIT1" | "CLOSING" | "LAST_ACK")
}

pub(super) fn is_fin_received(state: &str) -> bool {
    matches!(state, "CLOSE_WAIT" | "LAST_ACK" | "CLOSING")
}
