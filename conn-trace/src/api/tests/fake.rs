//! A source without a kernel, and a server over it.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    api::{Config, Limits, Server, ServerIdentity, Source},
    config::Configuration,
    query::tests::fixture::{self, NOW, NOW_NS, SECOND},
    registry::{
        Stopped,
        connection::{Connection, Counters},
        events::{Batch, Events, What},
        messages::{Choice, Item, Told},
        policies::Record,
        services::{Classify, Report, report::tests::report},
        snapshot::{Scope, Snapshot, Status},
    },
};

/// When the agent started.
pub(super) const START: Timestamp = Timestamp::constant(1_795_171_545, 0);

/// Gives out what it was given.
#[derive(Clone)]
pub(super) struct Fake(Arc<Mutex<State>>);

struct State {
    snapshot: Snapshot,
    status: Result<Status, Stopped>,
    delay: Duration,
    /// What the first connection moves in a second, where each look is a second later.
    moves: Option<Counters>,
    events: Events,
    configuration: Arc<Configuration>,
    /// Those who want messages.
    readers: Vec<(Choice, mpsc::Sender<Told>)>,
}

impl Fake {
    /// `count` open connections on a healthy host.
    pub(super) fn new(count: u64) -> Self {
        let mut snapshot = fixture::snapshot(&[]);
        snapshot.open = (1..=count).map(fixture::plain).collect();
        let state = State {
            snapshot,
            status: Ok(fixture::healthy(count)),
            delay: Duration::ZERO,
            moves: None,
            events: Events::new(),
            configuration: configuration(),
            readers: Vec::new(),
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Connections of every kind, open and closed, on a healthy host.
    pub(super) fn of_all_kinds() -> Self {
        let snapshot = fixture::snapshot(&fixture::seeds(300));
        let fake = Self::new(snapshot.open.len() as u64);
        fake.0.lock().unwrap().snapshot = snapshot;
        fake
    }

    /// Open connections besides.
    pub(super) fn open(self, open: Vec<Connection>) -> Self {
        self.0.lock().unwrap().snapshot.open.extend(open);
        self
    }

    /// Connections say which of the services they belong to.
    pub(super) fn with_services(self) -> Self {
        {
            let mut state = self.0.lock().unwrap();
            let matcher = state.configuration.matcher();
            let State { snapshot, .. } = &mut *state;
            for connection in snapshot.open.iter_mut().chain(&mut snapshot.closed) {
                let facts = Arc::make_mut(&mut connection.facts);
                let service = matcher.settle(facts).filter(|_| !facts.is_self);
                facts.service = service.map(|at| Arc::clone(&matcher.services()[at].name));
            }
        }
        self
    }

    /// Closed connections besides.
    pub(super) fn closed(self, closed: Vec<Connection>) -> Self {
        self.0.lock().unwrap().snapshot.closed = closed;
        self
    }

    /// Answers only after this.
    pub(super) fn delay(self, delay: Duration) -> Self {
        self.0.lock().unwrap().delay = delay;
        self
    }

    /// From now on, each look is a second after the one before, and the first connection has moved
    /// this meanwhile.
    pub(super) fn moving(self, moves: Counters) -> Self {
        self.0.lock().unwrap().moves = Some(moves);
        self
    }

    /// Lets something happen.
    pub(super) fn happens(&self, what: What, connection: Connection) {
        let mut state = self.0.lock().unwrap();
        state.events.push(what, connection, NOW, NOW_NS);
    }

    /// Lets a policy act.
    pub(super) fn acts(&self, record: Record) {
        self.0.lock().unwrap().events.push_policy(record.into());
    }

    /// Lets a connection move something, for those that want its messages.
    pub(super) fn moves(&self, connection: &Connection, item: Item) {
        let state = self.0.lock().unwrap();
        let after = *state.events.news().borrow();
        for (choice, reader) in &state.readers {
            if (choice.selects)(&connection.facts) {
                reader.try_send(Told { after, item }).unwrap();
            }
        }
    }

    /// Lets time pass.
    pub(super) fn skip(&self, seconds: u64) {
        self.0.lock().unwrap().snapshot.now_ns += seconds * SECOND;
    }

    pub(super) fn change_status(&self, change: impl FnOnce(&mut Status)) {
        change(self.0.lock().unwrap().status.as_mut().unwrap());
    }

    pub(super) fn stop(&self) {
        self.0.lock().unwrap().status = Err(Stopped);
    }

    async fn pause(&self) {
        let delay = self.0.lock().unwrap().delay;
        sleep(delay).await;
    }
}

impl Source for Fake {
    async fn snapshot(&self, scope: Scope) -> Result<Snapshot, Stopped> {
        self.pause().await;
        let mut state = self.0.lock().unwrap();
        state.status.clone()?;
        if let Some(moves) = state.moves {
            state.snapshot.now_ns += SECOND;
            let first = &mut state.snapshot.open[0].counters;
            *first = *first + moves;
        }
        let mut snapshot = state.snapshot.clone();
        if scope == Scope::Open {
            snapshot.closed.clear();
        }
        Ok(snapshot)
    }

    async fn events(&self, after: u64) -> Result<Batch, Stopped> {
        Ok(self.0.lock().unwrap().events.after(after))
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.0.lock().unwrap().events.news()
    }

    async fn trace(&self, choice: Choice) -> Result<mpsc::Receiver<Told>, Stopped> {
        let (told, receiver) = mpsc::channel(100);
        self.0.lock().unwrap().readers.push((choice, told));
        Ok(receiver)
    }

    async fn status(&self) -> Result<Status, Stopped> {
        self.pause().await;
        self.0.lock().unwrap().status.clone()
    }

    async fn report(&self) -> Result<Report, Stopped> {
        self.pause().await;
        let state = self.0.lock().unwrap();
        let status = state.status.clone()?;
        let matcher = Box::new(state.configuration.matcher());
        Ok(report(matcher, &state.snapshot, status))
    }

    async fn reset_peak(&self, service: String) -> Result<bool, Stopped> {
        Ok(service == "fix")
    }
}

/// Three services: the second and third have some of the connections of all kinds.
pub(super) fn configuration() -> Arc<Configuration> {
    let text = r#"
        [[service]]
        name = "none"
        remote_port = 1

        [[service]]
        name = "fix"
        direction = "out"
        connection_limit = 100
        [[service.policy]]
        kind = "limit"
        connections = 10
        action = "event"
        [service.policy.adaptive]
        signal = "memory"
        high = 90
        low = 80
        connections = 5

        [[service]]
        name = "rest"
        remote_ip = ["0.0.0.0/0", "::/0"]
    "#;
    Arc::new(Configuration::parse(Path::new("config.toml"), text).unwrap())
}

/// A running server; it stops when told to, or with the test.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Running {
    /// With default limits.
    pub(super) async fn start(fake: &Fake) -> Self {
        Self::with(fake, Config::default()).await
    }

    pub(super) async fn limited(fake: &Fake, limits: Limits) -> Self {
        Self::with(
            fake,
            Config {
                limits,
                ..Config::default()
            },
        )
        .await
    }

    pub(super) async fn with(fake: &Fake, config: Config) -> Self {
        let services = watch::channel(configuration()).1;
        let server = Server::bind(Config { services, ..config }).await.unwrap();
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            // A test that ends without telling drops the sender.
            let _ = stopped.await;
        };
        let task = tokio::spawn(server.serve(fake.clone(), identity(), shutdown));
        Self {
            address,
            stop: Some(stop),
            task,
        }
    }

    pub(super) fn tell_to_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until the server has ended by itself.
    pub(super) async fn ended(&mut self) {
        let end = timeout(Duration::from_secs(5), &mut self.task).await;
        end.expect("the server did not end").unwrap();
    }
}

fn identity() -> ServerIdentity {
    ServerIdentity {
        server_id: "id".to_owned(),
        server_name: "host".to_owned(),
        version: "0.1.0".to_owned(),
        start: START,
    }
}
