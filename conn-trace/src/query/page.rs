//! A page of rows.

use jiff::Timestamp;

use super::{cursor::Cursor, params::Query, row::Row, top::top};
use crate::registry::{
    connection::Connection,
    snapshot::{Scope, Snapshot},
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
    pub fn page(&self, snapshot: Snapshot) -> Page {
        let Snapshot {
            now,
            now_ns,
            open,
            closed,
            untracked,
        } = snapshot;
        let highest = open.iter().chain(&closed).map(|row| row.facts.cid).max();
        let mut rows = match self.scope() {
            Scope::Open => open,
            Scope::Closed => closed,
            Scope::All => {
                let mut all = open;
                all.extend(closed);
                all
            }
        };
        rows.retain(|row| self.state.matches(row.state) && self.filter.matches(row));
        let total = rows.len() as u64;
        let order = self.effective_order();
        if let Some(cursor) = self.cursor {
            rows.retain(|row| cursor.is_ahead(row.facts.cid, order));
        }
        let page = (self.offset, self.limit);
        let shown = top(&rows, self.sort.key, order, now_ns, page);
        let is_last = shown.len() == rows.len();
        let next_cursor = self.cursor.filter(|_| !is_last).and_then(|cursor| {
            let last = rows[*shown.last()?].facts.cid;
            Some(cursor.behind(last, highest?))
        });
        // Moved out one by one: a page of all connections must not exist twice.
        let mut rows: Vec<Option<Connection>> = rows.into_iter().map(Some).collect();
        let num_connections = match self.counts_page {
            true => shown.len() as u64,
            false => total,
        };
        Page {
            now,
            now_ns,
            rows: shown
                .into_iter()
                .filter_map(|place| rows[place].take())
                .collect(),
            total,
            num_connections,
            offset: self.offset,
            limit: self.limit,
            untracked,
            tcp: self.tcp,
            rates_window_ms: None,
            next_cursor,
        }
    }
}
