//! `/connz/events`, read as lines.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
};

use jiff::Timestamp;
use serde::Deserialize;

use crate::{agent::Agent, connz::Row, wait::patience};

/// A reader of events.
#[derive(Debug)]
pub struct Reader(BufReader<TcpStream>);

/// What a reader of messages is told.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are those of the contract")]
pub enum Told {
    Opened { connection: Row },
    Established { connection: Row },
    Closed { connection: Row },
    Message(Message),
    LostMessages { lost: u64 },
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the contract")]
pub struct Message {
    pub time: Timestamp,
    pub cid: u64,
    pub direction: String,
    pub bytes: u64,
    pub number: u64,
    pub flags: Vec<String>,
}

/// What it is told.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the contract")]
pub struct Event {
    pub id: String,
    pub event: String,
    pub time: Option<Timestamp>,
    pub connection: Option<Row>,
    pub lost: Option<u64>,
}

impl Reader {
    /// Listens to what comes next, or after the event of this id.
    ///
    /// # Panics
    /// If the agent refuses.
    #[must_use]
    #[track_caller]
    pub fn open(agent: &Agent, after: Option<&str>) -> Self {
        Self::ask(agent, "format=ndjson", after)
    }

    /// Listens to the messages of the connections that this query string finds, too.
    ///
    /// # Panics
    /// If the agent refuses.
    #[must_use]
    #[track_caller]
    pub fn open_messages(agent: &Agent, query: &str) -> Self {
        Self::ask(agent, &format!("format=ndjson&messages=1&{query}"), None)
    }

    #[track_caller]
    fn ask(agent: &Agent, query: &str, after: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(agent.address).expect("the agent");
        stream
            .set_read_timeout(Some(patience()))
            .expect("a timeout");
        let after = after.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        // Without chunks.
        write!(
            stream,
            "GET /connz/events?{query} HTTP/1.0\r\nHost: localhost\r\n{after}\r\n"
        )
        .expect("a request");
        let mut reader = Self(BufReader::new(stream));
        assert!(reader.line().starts_with("HTTP/1.0 200 "));
        while !reader.line().trim_end().is_empty() {}
        reader
    }

    /// The next event.
    ///
    /// # Panics
    /// If there is none in time.
    #[track_caller]
    pub fn next_event(&mut self) -> Event {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The next event or message.
    ///
    /// # Panics
    /// If there is none in time, or it is another one.
    #[track_caller]
    pub fn next_told(&mut self) -> Told {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).expect("a line");
        assert_ne!(read, 0, "the stream has ended");
        line
    }
}
