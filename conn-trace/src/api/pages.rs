//! How many pages can be in the making and on their way.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::error::ApiError;

/// Pages cut at the same time. One may hold every connection while it is cut, which is short and
/// which no client can draw out; more at once would take memory and not be faster.
const CUTTING: usize = 2;

/// Up to this many rows a page is always sent: the limit on connections bounds these.
const SMALL_PAGE_ROWS: usize = 1024;

/// Rows of larger pages on their way, all clients together: at 128 bytes each, 34 MB; at
/// 310 with `tcp=1`, 80 MB.
const LARGE_PAGE_ROWS: u32 = 1 << 18;

/// Bounds the memory that readers can hold, however slowly they read.
pub(super) struct Pages {
    cutting: Arc<Semaphore>,
    rows: Arc<Semaphore>,
}

/// A large page's share of the rows; given back when the page has been sent.
pub(super) type Share = Option<OwnedSemaphorePermit>;

impl Pages {
    pub(super) fn new() -> Self {
        Self {
            cutting: Arc::new(Semaphore::new(CUTTING)),
            rows: Arc::new(Semaphore::new(LARGE_PAGE_ROWS as usize)),
        }
    }

    /// The turn to take a snapshot and cut a page out of it.
    pub(super) async fn turn(&self, patience: Duration) -> Result<OwnedSemaphorePermit, ApiError> {
        match timeout(patience, Arc::clone(&self.cutting).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            // Too late; or closed, which it never is.
            Ok(Err(_)) | Err(_) => Err(ApiError::Busy),
        }
    }

    /// The share for a page of `rows`. One that is larger than all there is gets all there is.
    pub(super) fn share(&self, rows: usize) -> Result<Share, ApiError> {
        if rows <= SMALL_PAGE_ROWS {
            return Ok(None);
        }
        let rows = u32::try_from(rows).unwrap_or(u32::MAX).min(LARGE_PAGE_ROWS);
        let share = Arc::clone(&self.rows).try_acquire_many_owned(rows);
        share.map(Some).map_err(|_| ApiError::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGE_PAGE_ROWS, Pages, SMALL_PAGE_ROWS};

    #[test]
    fn large_pages_share_what_there_is() {
        let pages = Pages::new();
        let all = pages.share(usize::MAX).unwrap();
        assert!(pages.share(SMALL_PAGE_ROWS + 1).is_err());
        assert!(pages.share(SMALL_PAGE_ROWS).unwrap().is_none());
        drop(all);
        let _half = pages.share(LARGE_PAGE_ROWS as usize / 2).unwrap();
        let _other = pages.share(LARGE_PAGE_ROWS as usize / 2).unwrap();
        assert!(pages.share(SMALL_PAGE_ROWS + 1).is_err());
    }
}
