//! The agent, asked from threads of their own, so that nothing else has to wait for it.

use std::{
    io::{BufRead, BufReader},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::{mpsc, oneshot};

use super::{
    row::Row,
    target::Target,
    told::{Page, Told},
};
use crate::client::{Client, Parameters};

/// For a page with all connections.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Events that wait to be looked at. What waits longer waits in the agent.
const WAITING: usize = 1024;
/// More rows than an agent remembers.
const ALL: &str = "1000000000";
/// How clients say what they have read last.
const LAST_EVENT_ID: &str = "Last-Event-ID";

/// Where it answers, and what it is asked for.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    url: String,
    target: Target,
}

/// Events, in order. It ends when the stream does.
pub(super) type Events = mpsc::Receiver<Result<Told>>;

/// Which connections a page has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    Open,
    /// And those that have ended, as far as the agent remembers.
    All,
}

/// What is read of `/connz`.
#[derive(Deserialize)]
struct Connz {
    now: Timestamp,
    connections: Vec<Row>,
}

/// What is read of `/varz`.
#[derive(Deserialize)]
struct Varz {
    start: Timestamp,
}

impl Agent {
    pub(super) fn new(url: &str, target: &Target) -> Self {
        Self {
            url: url.to_owned(),
            target: target.clone(),
        }
    }

    /// Begins to listen to what comes next, or what came after the event of this id.
    ///
    /// # Errors
    /// If the agent does not answer, or refuses.
    pub(super) async fn listen(&self, after: Option<String>) -> Result<Events> {
        let this = self.clone();
        let (events, received) = mpsc::channel(WAITING);
        in_background(move |begun| {
            let client = Client::new(&this.url, None);
            let query = this.query("format", "ndjson");
            let headers = after.as_deref().map(|id| (LAST_EVENT_ID, id));
            match client.get_with("/connz/events", &query, headers.as_slice()) {
                Err(error) => begun(Err(error)),
                Ok(answer) => {
                    begun(Ok(()));
                    this.read(BufReader::new(answer.into_body().into_reader()), &events);
                }
            }
        })
        .await?;
        Ok(received)
    }

    /// What is open now, or that and what has ended.
    ///
    /// # Errors
    /// If the agent does not answer, or refuses.
    pub(super) async fn page(&self, which: Which) -> Result<Page> {
        let this = self.clone();
        in_background(move |done| done(this.ask(which))).await
    }

    fn ask(&self, which: Which) -> Result<Page> {
        let client = Client::new(&self.url, Some(TIMEOUT));
        let state = match which {
            Which::Open => "open",
            Which::All => "any",
        };
        let mut query = self.query("state", state);
        query.push(("limit".to_owned(), ALL.to_owned()));
        let connz: Connz = json(&client, "/connz", &query)?;
        let varz: Varz = json(&client, "/varz", &Parameters::new())?;
        let mut connections = connz.connections;
        connections.retain(|row| self.target.takes(row));
        Ok(Page {
            run: varz.start,
            now: connz.now,
            connections,
        })
    }

    fn query(&self, name: &str, value: &str) -> Parameters {
        let mut query = self.target.parameters();
        query.push((name.to_owned(), value.to_owned()));
        query
    }

    /// Gives events on until there are no more, or nobody wants them.
    fn read(&self, stream: impl BufRead, events: &mpsc::Sender<Result<Told>>) {
        // A line that breaks off is the end of the stream.
        for line in stream.lines().map_while(Result::ok) {
            let told = serde_json::from_str::<Told>(&line)
                .with_context(|| format!("what answers at {} is no conn-trace agent", self.url));
            let is_meant = told.as_ref().ok().and_then(|told| told.what.row());
            if is_meant.is_none_or(|row| self.target.takes(row))
                && events.blocking_send(told).is_err()
            {
                return;
            }
        }
    }
}

fn json<T: DeserializeOwned>(client: &Client, path: &str, query: &Parameters) -> Result<T> {
    let mut answer = client.get(path, query)?;
    let text = answer
        .body_mut()
        .with_config()
        .limit(u64::MAX)
        .read_to_string()
        .with_context(|| format!("the answer of {path} breaks off"))?;
    serde_json::from_str(&text)
        .with_context(|| format!("what answers {path} is no conn-trace agent"))
}

/// Runs something that may wait for long on a thread of its own, which is left alone at the end.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce(Box<dyn FnOnce(Result<T>) + Send>) + Send + 'static,
) -> Result<T> {
    let (sender, outcome) = oneshot::channel();
    thread::spawn(move || {
        work(Box::new(move |result| {
            // Whoever asked may have ended.
            let _ = sender.send(result);
        }));
    });
    outcome
        .await
        .unwrap_or_else(|_| Err(anyhow!("the thread has ended")))
}
