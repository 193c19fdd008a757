//! Starting while connections are in full use.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use conn_trace_tests::{
    agent::Agent,
    connz::{Losses, Row},
    protocol::Counts,
    slowness::fewer,
};

const THREADS: usize = 2;
const CONNECTIONS: usize = 32;
/// What can go wrong happens within some microseconds.
const STARTS: u32 = 5;

/// A connection whose ends are both in this process.
struct Loop {
    client: TcpStream,
    server: TcpStream,
    /// By the client; the server's are the other way round.
    counts: Counts,
}

impl Loop {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("an address");
        let client = TcpStream::connect(address).expect("a connection");
        let (server, _) = listener.accept().expect("a connection");
        Self {
            client,
            server,
            counts: Counts::default(),
        }
    }

    /// Three bytes there, in one message, and five back.
    fn turn(&mut self) {
        self.client.write_all(b"abc").expect("sent");
        self.server.read_exact(&mut [0; 3]).expect("received");
        self.server.write_all(b"12345").expect("sent");
        self.client.read_exact(&mut [0; 5]).expect("received");
        self.counts = self.counts.plus(Counts {
            in_bytes: 5,
            out_bytes: 3,
            in_calls: 1,
            out_calls: 1,
        });
    }

    fn rows(&self, agent: &Agent) -> (Row, Row) {
        let client = self.client.local_addr().expect("an address").port();
        let server = self.server.local_addr().expect("an address").port();
        let row = |local: u16, peer: u16| {
            let mut rows = agent.rows(&format!("local_port={local}&port={peer}"));
            assert_eq!(rows.len(), 1, "{rows:#?}");
            rows.remove(0)
        };
        (row(client, server), row(server, client))
    }
}

#[test]
fn connections_in_full_use_are_taken_up_whole_and_without_a_loss() {
    let mut loops: Vec<Vec<Loop>> = (0..THREADS)
        .map(|_| (0..CONNECTIONS).map(|_| Loop::open()).collect())
        .collect();
    for _ in 0..fewer(STARTS, 1) {
        let stop = AtomicBool::new(false);
        let agent = thread::scope(|scope| {
            for part in &mut loops {
                let stop = &stop;
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        part.iter_mut().for_each(Loop::turn);
                    }
                });
            }
            let agent = thread::Builder::new()
                .spawn_scoped(scope, || Agent::start_unhealthy(&[]))
                .expect("a thread")
                .join();
            stop.store(true, Ordering::Relaxed);
            agent.expect("the agent starts")
        });
        let losses = agent.varz().conn_trace.losses;
        assert_eq!(losses, Losses::default());
        assert_eq!(agent.get("/healthz").status, 200);
        for connection in loops.iter_mut().flatten() {
            let since = connection.counts;
            let (client_before, server_before) = connection.rows(&agent);
            connection.turn();
            let now = connection.counts;
            let (client, server) = connection.rows(&agent);
            for (row, direction) in [(&client, "out"), (&server, "in")] {
                assert!(row.preexisting, "{row:#?}");
                assert_eq!(row.direction, direction, "{row:#?}");
                assert_eq!(row.pid, Some(process::id()), "{row:#?}");
            }
            assert_eq!(
                (client.in_bytes, client.out_bytes),
                (now.in_bytes, now.out_bytes)
            );
            assert_eq!(
                (server.in_bytes, server.out_bytes),
                (now.out_bytes, now.in_bytes)
            );
            // No more messages than there were, and each one from now on.
            assert!(
                client_before.in_msgs <= since.in_calls,
                "{client_before:#?}"
            );
            assert_eq!(client.in_msgs, client_before.in_msgs + 1);
            assert_eq!(client.out_msgs, client_before.out_msgs + 1);
            assert_eq!(server.in_msgs, server_before.in_msgs + 1);
            assert_eq!(server.out_msgs, server_before.out_msgs + 1);
        }
        agent.stop();
    }
}
