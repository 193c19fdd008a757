//! One reader of events.

use std::{collections::VecDeque, future::pending, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::{id::EventId, told::Told};
use crate::{
    api::{error::ApiError, shared::Shared, source::Source},
    query::Query,
    registry::{
        Stopped,
        events::Event,
        messages::{self, Choice},
    },
};

/// Where a reader is. It asks for events when it can send them, so a slow one holds up nobody:
/// what is forgotten before it asks is lost to it, and it is told so.
pub(super) struct Reader<S> {
    shared: Arc<Shared<S>>,
    query: Query,
    news: watch::Receiver<u64>,
    stopped: watch::Receiver<()>,
    /// The number of the last event that was asked for.
    last: u64,
    /// Events up to that one that it has not been told yet.
    events: VecDeque<Arc<Event>>,
    messages: Option<Messages>,
    said: VecDeque<serde_json::Result<Said>>,
    _place: OwnedSemaphorePermit,
}

/// The messages that a reader wants.
struct Messages {
    told: mpsc::Receiver<messages::Told>,
    /// The first, if it was taken.
    next: Option<messages::Told>,
}

/// What a reader is told.
pub(super) struct Said {
    /// Messages have none: they are not remembered.
    pub(super) id: Option<EventId>,
    pub(super) name: &'static str,
    pub(super) json: String,
}

impl<S: Source> Reader<S> {
    /// Begins behind `seen`, or with what comes next.
    pub(super) async fn new(
        shared: Arc<Shared<S>>,
        query: Query,
        seen: Option<EventId>,
        place: OwnedSemaphorePermit,
    ) -> Result<Self, ApiError> {
        let news = shared.source.news();
        let newest = *news.borrow();
        // After the number was read: no message is told of a connection whose opening is not.
        let messages = match query.messages {
            true => Some(Messages::begin(&shared, &query).await?),
            false => None,
        };
        let mut reader = Self {
            stopped: shared.stopped.clone(),
            shared,
            query,
            news,
            last: newest,
            events: VecDeque::new(),
            messages,
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
        Ok(reader)
    }

    /// What comes next; `None` when the agent ends.
    pub(super) async fn next(&mut self) -> Option<serde_json::Result<Said>> {
        loop {
            if let Some(said) = self.said.pop_front() {
                return Some(said);
            }
            // What was told before the next event, or before the next one that is to be asked for.
            let before = self
                .events
                .front()
                .map_or(self.last + 1, |event| event.number);
            if let Some(told) = self.messages.as_mut().and_then(|it| it.take_before(before)) {
                return Some(Said::new(None, &Told::of_message(told.item)));
            }
            if let Some(event) = self.events.pop_front() {
                if self.query.filter.matches(&event.connection) {
                    let id = self.id(event.number);
                    return Some(Said::new(Some(id), &Told::happened(id.to_string(), &event)));
                }
                continue;
            }
            let last = self.last;
            let has_happened = tokio::select! {
                news = self.news.wait_for(|newest| *newest > last) => {
                    drop(news.ok()?);
                    true
                }
                is_there = Messages::wait(self.messages.as_mut(), last) => {
                    is_there.ok()?;
                    false
                }
                _ = self.stopped.changed() => return None,
            };
            if has_happened {
                self.look().await.ok()?;
            }
        }
    }

    /// Asks for some of what has happened. All messages before it are there by then.
    async fn look(&mut self) -> Result<(), Stopped> {
        let batch = self.shared.source.events(self.last).await?;
        if batch.lost > 0 {
            self.say_lost(self.last + batch.lost, Some(batch.lost));
        }
        self.events.extend(batch.events);
        self.last = batch.last;
        Ok(())
    }

    fn id(&self, number: u64) -> EventId {
        EventId::new(self.shared.identity.start, number)
    }

    fn say_lost(&mut self, number: u64, lost: Option<u64>) {
        let id = self.id(number);
        let said = Said::new(Some(id), &Told::lost(id.to_string(), lost));
        self.said.push_back(said);
    }
}

impl Messages {
    async fn begin<S: Source>(shared: &Shared<S>, query: &Query) -> Result<Self, ApiError> {
        let filter = query.filter.clone();
        let choice = Choice {
            // A number that is known is that of a connection that has opened.
            takes_new: filter.cid.is_none(),
            selects: Box::new(move |facts| filter.matches_facts(facts)),
        };
        Ok(Self {
            told: shared.trace(choice).await?,
            next: None,
        })
    }

    /// The next, if it was told before the event of this number.
    fn take_before(&mut self, number: u64) -> Option<messages::Told> {
        if self.next.is_none() {
            self.next = self.told.try_recv().ok();
        }
        self.next.take_if(|told| told.after < number)
    }

    /// Waits for one, if that is to be told before what happens next. Without readers of messages,
    /// waits for ever.
    async fn wait(this: Option<&mut Self>, last: u64) -> Result<(), Stopped> {
        match this {
            Some(Self {
                next: Some(next), ..
            }) if next.after > last => pending().await,
            Some(this) => {
                this.next = Some(this.told.recv().await.ok_or(Stopped)?);
                Ok(())
            }
            None => pending().await,
        }
    }
}

impl Said {
    fn new(id: Option<EventId>, told: &Told<'_>) -> serde_json::Result<Self> {
        Ok(Self {
            id,
            name: told.name(),
            json: serde_json::to_string(told)?,
        })
    }
}
