//! A page of rows.

use jiff::Timestamp;

use super::{cursor::Cursor, cut::Cut, params::Query, row::Row};
use crate::registry::{
    connection::Connection,
    snapshot::{Scope, Snapshot, Visitor as _},
};

/// What a query finds in a snapshot. Of the snapshot it keeps only the rows that it shows.
#[derive(Clone, Debug)]
pub struct Page {
    /// Wall clock of the snapshot.
    pub now: Timestamp,
    /// The same moment on `CLOCK_BOOTTIME`, in nanoseconds.
    pub now_ns: u64,
    /// The rows, in order.
    pub rows: Vec<Connection>,
    /// Rows that pass the filters, on all pages together.
    pub total: u64,
    /// What `num_connections` says: `total`, or the rows of this page where the dialect counts
    /// those.
    pub num_connections: u64,
    /// Rows skipped, as asked for.
    pub offset: u64,
    /// Rows at most, as it applied.
    pub limit: u64,
    /// Connections that the table had no room for.
    pub untracked: u64,
    /// Whether rows carry TCP's own figures.
    pub tcp: bool,
    /// Milliseconds that rates are over, if rows carry them.
    pub rates_window_ms: Option<u64>,
    /// Where a walk goes on, if there is more of it.
    pub next_cursor: Option<Cursor>,
}

impl Page {
    /// How `connection`, one of the rows, is written.
    #[must_use]
    pub fn row<'a>(&self, connection: &'a Connection) -> Row<'a> {
        Row::new(connection, self.now, self.now_ns, self.tcp)
    }
}

impl Query {
    /// What has to be asked of the registry.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.state.scope()
    }

    /// Filters, sorts and cuts. `snapshot` has to have the [`scope`](Self::scope) of this query;
    /// what it has besides does not show.
    #[must_use]
    pub fn page(&self, snapshot: &Snapshot) -> Page {
        let mut cut = Cut::new(self.clone(), snapshot.taken());
        for row in snapshot.open.iter().chain(&snapshot.closed) {
            cut.visit(row);
        }
        cut.page()
    }
}
