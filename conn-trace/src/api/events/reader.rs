//! One reader of events.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{id::EventId, told::Told};
use crate::{
    api::{shared::Shared, source::Source},
    query::Query,
    registry::Stopped,
};

/// Where a reader is. It asks for events when it can send them, so a slow one holds up nobody:
/// what is forgotten before it asks is lost to it, and it is told so.
pub(super) struct Reader<S> {
    shared: Arc<Shared<S>>,
    query: Query,
    news: watch::Receiver<u64>,
    stopped: watch::Receiver<()>,
    /// The number of the last event that was looked at.
    last: u64,
    said: VecDeque<serde_json::Result<Said>>,
    _place: OwnedSemaphorePermit,
}

/// What a reader is told.
pub(super) struct Said {
    pub(super) id: EventId,
    pub(super) name: &'static str,
    pub(super) json: String,
}

impl<S: Source> Reader<S> {
    /// Begins behind `seen`, or with what comes next.
    pub(super) fn new(
        shared: Arc<Shared<S>>,
        query: Query,
        seen: Option<EventId>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let news = shared.source.news();
        let newest = *news.borrow();
        let mut reader = Self {
            stopped: shared.stopped.clone(),
            shared,
            query,
            news,
            last: newest,
            said: VecDeque::new(),
            _place: place,
        };
        let this_run = reader.id(0).run;
        match seen {
            // Numbers that are not given yet are those of another run with the same start.
            Some(seen) if seen.run == this_run && seen.number <= newest => {
                reader.last = seen.number;
            }
            Some(_) => {
                reader.last = 0;
                reader.say_lost(0, None);
            }
            None => {}
        }
        reader
    }

    /// What comes next; `None` when the agent ends.
    pub(super) async fn next(&mut self) -> Option<serde_json::Result<Said>> {
        loop {
            if let Some(said) = self.said.pop_front() {
                return Some(said);
            }
            let last = self.last;
            tokio::select! {
                news = self.news.wait_for(|newest| *newest > last) => drop(news.ok()?),
                _ = self.stopped.changed() => return None,
            }
            self.look().await.ok()?;
        }
    }

    /// Takes some of what has happened.
    async fn look(&mut self) -> Result<(), Stopped> {
        let batch = self.shared.source.events(self.last).await?;
        if batch.lost > 0 {
            self.say_lost(self.last + batch.lost, Some(batch.lost));
        }
        for event in batch.events {
            if self.query.filter.matches(&event.connection) {
                let said = self.make(event.number, |id| Told::happened(id, &event));
                self.said.push_back(said);
            }
        }
        self.last = batch.last;
        Ok(())
    }

    fn id(&self, number: u64) -> EventId {
        EventId::new(self.shared.identity.start, number)
    }

    /// What the reader is to read of it.
    fn make<'a>(
        &self,
        number: u64,
        tell: impl FnOnce(String) -> Told<'a>,
    ) -> serde_json::Result<Said> {
        let id = self.id(number);
        let told = tell(id.to_string());
        Ok(Said {
            id,
            name: told.name(),
            json: serde_json::to_string(&told)?,
        })
    }

    fn say_lost(&mut self, number: u64, lost: Option<u64>) {
        let said = self.make(number, |id| Told::lost(id, lost));
        self.said.push_back(said);
    }
}
