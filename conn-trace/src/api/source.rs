//! Where the answers come from.

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use crate::{
    query::{Cut, Page, Query},
    registry::{
        Handle, Stopped,
        events::Batch,
        messages::{Choice, Told},
        services::Report,
        snapshot::{Scope, Snapshot, Status},
    },
};

/// A handle on the owner of the agent's state.
pub trait Source: Clone + Send + Sync + 'static {
    /// The connections of `scope` at this moment.
    fn snapshot(&self, scope: Scope) -> impl Future<Output = Result<Snapshot, Stopped>> + Send;

    /// Some of what happened after the event of this number.
    fn events(&self, after: u64) -> impl Future<Output = Result<Batch, Stopped>> + Send;

    /// The number of the last event, and a way to wait for the next.
    fn news(&self) -> watch::Receiver<u64>;

    /// From now on, the messages of the connections that the reader chooses.
    fn trace(
        &self,
        choice: Choice,
    ) -> impl Future<Output = Result<mpsc::Receiver<Told>, Stopped>> + Send;

    /// The page that `query` asks for, of the connections at this moment.
    fn page(&self, query: Query) -> impl Future<Output = Result<Page, Stopped>> + Send {
        async move { Ok(query.page(&self.snapshot(query.scope()).await?)) }
    }

    /// The agent's own figures.
    fn status(&self) -> impl Future<Output = Result<Status, Stopped>> + Send;

    /// The figures of the host and of each service.
    fn report(&self) -> impl Future<Output = Result<Report, Stopped>> + Send;

    /// Lets the peak of a service begin anew; whether there is such a service.
    fn reset_peak(&self, service: String) -> impl Future<Output = Result<bool, Stopped>> + Send;
}

/// Who answers.
#[derive(Clone, Debug)]
pub struct ServerIdentity {
    /// Stable per host.
    pub server_id: String,
    /// Host name.
    pub server_name: String,
    /// Version of the agent.
    pub version: String,
    /// Wall clock when the agent started.
    pub start: Timestamp,
}

impl Source for Handle {
    async fn snapshot(&self, scope: Scope) -> Result<Snapshot, Stopped> {
        self.snapshot(scope).await
    }

    async fn events(&self, after: u64) -> Result<Batch, Stopped> {
        self.events(after).await
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.news()
    }

    async fn trace(&self, choice: Choice) -> Result<mpsc::Receiver<Told>, Stopped> {
        self.trace(choice).await
    }

    /// Only what the page may show is read, and only what it shows is kept.
    async fn page(&self, query: Query) -> Result<Page, Stopped> {
        let scope = query.scope();
        let cut = self.visit(scope, |taken| Cut::new(query, taken)).await?;
        Ok(cut.page())
    }

    async fn status(&self) -> Result<Status, Stopped> {
        self.status().await
    }

    async fn report(&self) -> Result<Report, Stopped> {
        self.report().await
    }

    async fn reset_peak(&self, service: String) -> Result<bool, Stopped> {
        self.reset_peak(service).await
    }
}
