//! What is done to more than one end at a time.

use std::net::SocketAddr;

use super::{
    action::amount,
    ending::{By, Side},
    fleet::Departure,
    model::{Burst, Key},
    world::{World, ends},
};
use crate::protocol::{Command, Counts, Reply, Way};

/// Connections of one burst, at most.
const BURST: u64 = 100;

impl World {
    /// Many short connections.
    pub fn burst(&mut self) {
        let (client, server) = self.two_slots();
        let address = self.fleet.target(server, &mut self.rng);
        let count = amount(&mut self.rng, BURST);
        let (write, read) = (self.rng.usize(1..2000), self.rng.usize(1..2000));
        self.fleet.peer(server).tell(&Command::ServeShort {
            count: u32::try_from(count).expect("few"),
            read: write,
            write: read,
        });
        let sums = self.fleet.peer(client).counts(&Command::ConnectShort {
            addresses: vec![address],
            count: u32::try_from(count).expect("few"),
            write,
            read,
        });
        let served = self.fleet.peer(server).counted();
        let own = |in_bytes: usize, out_bytes: usize| Counts {
            in_bytes: in_bytes as u64,
            out_bytes: out_bytes as u64,
            in_calls: 1,
            out_calls: 1,
        };
        let (forth, back) = (own(read, write), own(write, read));
        assert_eq!((sums, served), (times(forth, count), times(back, count)));
        let pids = [self.fleet.owner(client).0, self.fleet.owner(server).0];
        let number = self.model.next_number();
        self.model.bursts.push(Burst {
            number,
            port: address.port(),
            ends: vec![
                (Side::Client, pids[0], forth, "local_fin"),
                (Side::Server, pids[1], back, "peer_fin"),
            ],
            count,
        });
        self.did("burst of short connections");
    }

    /// Connects where nobody listens.
    pub fn refused(&mut self) {
        let slot = self.rng.usize(..self.fleet.len());
        let address = self.fleet.nobody;
        let count = amount(&mut self.rng, 20);
        let reply = self.fleet.peer(slot).ask(&Command::ConnectRefused {
            address,
            count: u32::try_from(count).expect("few"),
        });
        assert!(matches!(reply, Reply::Count(n) if n == count), "{reply:?}");
        let number = self.model.next_number();
        let pid = self.fleet.owner(slot).0;
        self.model.bursts.push(Burst {
            number,
            port: address.port(),
            ends: vec![(Side::Client, pid, Counts::default(), "refused")],
            count,
        });
        self.did("refused connects");
    }

    /// More than all buffers hold, with both ends at work.
    pub fn stream(&mut self) {
        let open: Vec<u64> = self
            .model
            .connections
            .values()
            .filter(|connection| {
                connection.is_whole()
                    && Side::BOTH.iter().all(|&side| {
                        !connection.end(side).has_fin && connection.unread(side) == Some(0)
                    })
            })
            .map(|connection| connection.number)
            .collect();
        let Some(&number) = self.rng.choice(&open) else {
            return;
        };
        let from = *self.rng.choice(&Side::BOTH).expect("two");
        let bytes = self.rng.u64(1 << 20..20 << 20);
        let connection = &self.model.connections[&number];
        let (sender, receiver) = (connection.end(from), connection.end(from.other()));
        let chunk = self.rng.u64(1000..1 << 20);
        let receive = Command::Receive {
            id: receiver.end.id,
            bytes,
            chunk,
        };
        let chunk = self.rng.u64(1000..1 << 20);
        let send = Command::Send {
            id: sender.end.id,
            bytes,
            way: Way::Send { chunk },
        };
        let slots = [sender.slot, receiver.slot];
        self.fleet.peer(slots[1]).tell(&receive);
        let sent = self.fleet.peer(slots[0]).ask(&send);
        let received = self.fleet.peer(slots[1]).reply();
        let connection = self.model.connections.get_mut(&number).expect("known");
        connection.note(
            from,
            &format!("a stream: sent {sent:?}, received {received:?}"),
        );
        self.apply((number, from), &send, &sent);
        self.apply((number, from.other()), &receive, &received);
        self.did("stream");
    }

    /// Both processes close at the same time.
    pub fn close_both(&mut self) {
        let numbers: Vec<u64> = self
            .model
            .connections
            .values()
            .filter(|connection| connection.is_whole())
            .map(|connection| connection.number)
            .collect();
        let Some(&number) = self.rng.choice(&numbers) else {
            return;
        };
        let connection = self.model.connections.get_mut(&number).expect("known");
        let ends = Side::BOTH.map(|side| (connection.end(side).slot, connection.end(side).end.id));
        for (slot, id) in ends {
            self.fleet
                .peer(slot)
                .tell(&Command::Close { ids: vec![id] });
        }
        for (slot, _) in ends {
            let reply = self.fleet.peer(slot).reply();
            assert!(matches!(reply, Reply::Done), "{reply:?}");
        }
        for side in Side::BOTH {
            connection.note(side, "closed by both");
            connection.close(side, By::Call, false);
        }
        connection.ending.blur();
        self.did("close by both");
    }

    /// Another connection over the same socket.
    pub fn reconnect(&mut self) {
        let keys: Vec<Key> = self.model.held();
        let keys: Vec<Key> = keys
            .into_iter()
            .filter(|key| key.1 == Side::Client)
            .collect();
        let Some(&(number, side)) = self.rng.choice(&keys) else {
            return;
        };
        let connection = self.model.connections.get_mut(&number).expect("known");
        let end = connection.end(side);
        let (slot, id) = (end.slot, end.end.id);
        // To an address of the socket's own family. Which that is shows if the peer was IPv6
        // proper, or listens on IPv4 only.
        let is_v6 = end.end.local.is_ipv6();
        if !is_v6 && self.fleet.is_dual(connection.end(side.other()).slot) {
            return;
        }
        let servers: Vec<(usize, SocketAddr)> = (0..self.fleet.len())
            .filter(|&server| server != slot)
            .map(|server| (server, self.fleet.target(server, &mut self.rng)))
            .filter(|(_, address)| is_v6 == address.is_ipv6())
            .collect();
        let Some(&(server, address)) = self.rng.choice(&servers) else {
            return;
        };
        let reply = self
            .fleet
            .peer(slot)
            .ask(&Command::Reconnect { id, address });
        let ends = ends(reply);
        connection.note(
            side,
            &format!("the socket is used for another connection to {address}"),
        );
        connection.close(side, By::Call, true);
        self.accept(vec![(slot, server, ends)]);
        self.did("reconnect");
    }

    /// Ends a process, at rest or in the middle of its work, and starts another.
    pub fn replace(&mut self) {
        let slot = self.rng.usize(..self.fleet.len());
        let departure = match self.rng.u32(..4) {
            0 => Departure::Exit,
            1 => Departure::Exec,
            _ => Departure::Kill,
        };
        let by = match departure {
            Departure::Kill => By::Signal,
            Departure::Exit | Departure::Exec => By::Call,
        };
        if departure == Departure::Kill && self.rng.bool() {
            self.begin_some(slot);
        }
        self.fleet.replace(slot, departure);
        self.model.close_all(slot, by);
        self.did(match departure {
            Departure::Kill => "kill of a process",
            Departure::Exit => "exit of a process",
            Departure::Exec => "exec of a process",
        });
    }

    /// Operations of which nobody will hear how far they came.
    fn begin_some(&mut self, slot: usize) {
        let mut keys = self.model.held();
        keys.retain(|&(number, side)| {
            let connection = &self.model.connections[&number];
            connection.end(side).slot == slot && connection.is_whole()
        });
        self.rng.shuffle(&mut keys);
        for key in keys.into_iter().take(10) {
            let step = self.on_end(key);
            let (in_bytes, out_bytes) = match step.command {
                Command::Send { bytes, .. } => (0, bytes),
                Command::Receive { bytes, .. } | Command::ReceiveBy { bytes, .. } => (bytes, 0),
                _ => continue,
            };
            self.fleet.peer(slot).tell(&step.command);
            let connection = self.model.connections.get_mut(&key.0).expect("known");
            connection.note(key.1, &format!("{:?}, and was killed", step.command));
            connection.lose_count(key.1, in_bytes, out_bytes);
        }
    }

    /// Closes everything.
    pub fn close_all(&mut self) {
        for (number, side) in self.model.held() {
            let connection = self.model.connections.get_mut(&number).expect("known");
            let end = connection.end(side);
            let (slot, id) = (end.slot, end.end.id);
            self.fleet
                .peer(slot)
                .done(&Command::Close { ids: vec![id] });
            connection.note(side, "closed at the end");
            connection.close(side, By::Call, false);
        }
    }
}

fn times(counts: Counts, count: u64) -> Counts {
    Counts {
        in_bytes: counts.in_bytes * count,
        out_bytes: counts.out_bytes * count,
        in_calls: counts.in_calls * count,
        out_calls: counts.out_calls * count,
    }
}
