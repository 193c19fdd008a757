//! Where the answers come from.

use jiff::Timestamp;
use tokio::sync::watch;

use crate::registry::{
    Handle, Stopped,
    events::Batch,
    snapshot::{Scope, Snapshot, Status},
};

/// A handle on the owner of the agent's state.
pub trait Source: Clone + Send + Sync + 'static {
    /// The connections of `scope` at this moment.
    fn snapshot(&self, scope: Scope) -> impl Future<Output = Result<Snapshot, Stopped>> + Send;

    /// Some of what happened after the event of this number.
    fn events(&self, after: u64) -> impl Future<Output = Result<Batch, Stopped>> + Send;

    /// The number of the last event, and a way to wait for the next.
    fn news(&self) -> watch::Receiver<u64>;

    /// The agent's own figures.
    fn status(&self) -> impl Future<Output = Result<Status, Stopped>> + Send;
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

    async fn status(&self) -> Result<Status, Stopped> {
        self.status().await
    }
}
