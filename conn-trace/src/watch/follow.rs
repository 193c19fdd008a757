//! Following the agent: its events, its gaps, its absence.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout_at};

use super::{
    agent::{Agent, Events, Which},
    ending::Ended,
    item::Item,
    output::Output,
    state::{Change, State},
    told::{Page, Told, What},
};

/// Between two attempts to reach an agent that does not answer.
const PAUSE: Duration = Duration::from_millis(200);

/// A watch, from its first page on.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) agent: Agent,
    /// How long to wait for an agent that does not answer any more, in seconds.
    pub(super) patience: u64,
    pub(super) state: State,
    pub(super) output: Output,
    /// The last event that was read.
    last_id: Option<String>,
}

impl Watch {
    pub(super) fn new(agent: Agent, patience: u64, state: State, output: Output) -> Self {
        Self {
            agent,
            patience,
            state,
            output,
            last_id: None,
        }
    }

    /// Prints changes.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(super) fn print(&mut self, changes: &[Change]) -> Result<()> {
        changes
            .iter()
            .try_for_each(|change| self.output.write(&Item::Change(change)))
    }

    /// Prints what happens, and statistics, until the agent has ended. Nothing is half done
    /// wherever it is dropped.
    ///
    /// # Errors
    /// If something cannot be written, or what answers is no agent.
    pub(super) async fn follow(&mut self, mut events: Events, interval: Duration) -> Result<Ended> {
        let mut ticks = interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                told = events.recv() => {
                    let is_there = match told.transpose()? {
                        Some(told) => self.take(told).await?,
                        None => match self.reconnect().await? {
                            Some(again) => {
                                events = again;
                                true
                            }
                            None => false,
                        },
                    };
                    if !is_there {
                        return Ok(Ended::Agent);
                    }
                }
                _ = ticks.tick() => self.statistics().await?,
            }
        }
    }

    /// Brings everything to the moment of the end, as far as the agent answers.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) async fn finish(&mut self) -> Result<()> {
        match self.agent.page(Which::All).await {
            Ok(page) => {
                if !self.state.is_of(&page) {
                    self.note_gap(None)?;
                }
                self.take_page(page)
            }
            Err(_) => self.output.write(&Item::Gone(0, Timestamp::now())),
        }
    }

    /// Takes an event. Gives whether the agent is still there.
    async fn take(&mut self, told: Told) -> Result<bool> {
        self.last_id = Some(told.id);
        if let What::Lost { lost } = told.what {
            return self.make_up(lost).await;
        }
        let change = self.state.apply(told.what);
        self.print(change.as_slice())?;
        Ok(true)
    }

    /// Says that events are missing, and reads what they have changed. Gives the same.
    async fn make_up(&mut self, lost: Option<u64>) -> Result<bool> {
        self.note_gap(lost)?;
        let deadline = self.deadline();
        loop {
            if let Ok(page) = self.agent.page(Which::All).await {
                self.take_page(page)?;
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            sleep(PAUSE).await;
        }
    }

    fn note_gap(&mut self, lost: Option<u64>) -> Result<()> {
        self.state.note_gap(lost);
        self.output.write(&Item::Lost(lost, Timestamp::now()))
    }

    fn take_page(&mut self, page: Page) -> Result<()> {
        let changes = self.state.catch_up(page);
        self.print(&changes)
    }

    /// Waits until the agent answers again, and goes on behind the last event.
    async fn reconnect(&mut self) -> Result<Option<Events>> {
        let gone = Item::Gone(self.patience, Timestamp::now());
        self.output.write(&gone)?;
        let deadline = self.deadline();
        let events = loop {
            match timeout_at(deadline, self.agent.listen(self.last_id.clone())).await {
                Ok(Ok(events)) => break events,
                Ok(Err(_)) if Instant::now() < deadline => sleep(PAUSE).await,
                Ok(Err(_)) | Err(_) => return Ok(None),
            }
        };
        self.output.write(&Item::Back(Timestamp::now()))?;
        // The agent knows what is missing after an event, but there was none.
        let is_there = self.last_id.is_some() || self.make_up(None).await?;
        Ok(is_there.then_some(events))
    }

    async fn statistics(&mut self) -> Result<()> {
        // Without an answer, the figures are the last ones known; the stream says if it breaks off.
        if let Ok(page) = self.agent.page(Which::Open).await {
            let changes = self.state.refresh(page);
            self.print(&changes)?;
        }
        self.output
            .write(&Item::Statistics(&self.state, Timestamp::now()))
    }

    fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.patience)
    }
}
