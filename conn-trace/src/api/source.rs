//! Where the answers come from.

use jiff::Timestamp;

use crate::{
    query::{Cut, Page, Query},
    registry::{
        Handle, Stopped,
        snapshot::{Scope, Snapshot, Status},
    },
};

/// A handle on the owner of the agent's state.
pub trait Source: Clone + Send + Sync + 'static {
    /// The connections of `scope` at this moment.
    fn snapshot(&self, scope: Scope) -> impl Future<Output = Result<Snapshot, Stopped>> + Send;

    /// The page that `query` asks for, of the connections at this moment.
    fn page(&self, query: Query) -> impl Future<Output = Result<Page, Stopped>> + Send {
        async move { Ok(query.page(&self.snapshot(query.scope()).await?)) }
    }

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

    /// Only what the page may show is read, and only what it shows is kept.
    async fn page(&self, query: Query) -> Result<Page, Stopped> {
        let scope = query.scope();
        let cut = self.visit(scope, |taken| Cut::new(query, taken)).await?;
        Ok(cut.page())
    }

    async fn status(&self) -> Result<Status, Stopped> {
        self.status().await
    }
}
