//! Where the answers come from.

use jiff::Timestamp;

use crate::registry::{
    Handle, Stopped,
    snapshot::{Scope, Snapshot, Status},
};

/// A handle on the owner of the agent's state.
pub trait Source: Clone + Send + Sync + 'static {
    /// The connections of `scope` at this moment.
    fn snapshot(&self, scope: Scope) -> impl Future<Output = Result<Snapshot, Stopped>> + Send;

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

    async fn status(&self) -> Result<Status, Stopped> {
        self.status().await
    }
}
