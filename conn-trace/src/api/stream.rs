//! A page as JSON, made piece by piece while it is sent.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use axum::body::Body;
use hyper::body::{Bytes, Frame};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{pages::Share, source::ServerIdentity};
use crate::{
    query::{Integer, Page, Row},
    registry::connection::Connection,
};

/// A hundred rows or so: few wake-ups per page, and not much to hold for each client.
const PIECE_BYTES: usize = 64 * 1024;

/// What closes the array and the object, and ends the line.
const TAIL: &[u8] = b"]}\n";

/// The body of a page's answer. A page of one piece has a known length; of a larger one, rows
/// are written as the client takes them.
pub(super) fn body(
    identity: &ServerIdentity,
    page: Page,
    share: Share,
) -> serde_json::Result<Body> {
    let mut pieces = Pieces::new(identity, page)?;
    let first = pieces.next().transpose()?.unwrap_or_default();
    Ok(match pieces.is_done {
        true => Body::from(first),
        false => Body::new(PageBody {
            first: Some(first),
            pieces,
            _share: share,
        }),
    })
}

/// Everything but the rows. It is written with an empty array, which the rows then go into.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Page", description = "A page of connections.")]
pub(super) struct Head<'a> {
    /// Stable per host.
    server_id: &'a str,
    /// Name of the host.
    server_name: &'a str,
    /// The moment of all rows.
    now: Timestamp,
    /// As `total`; below `/nats`, the rows of this page.
    num_connections: Integer,
    /// Connections that pass the conditions, on all pages.
    total: Integer,
    /// Rows skipped.
    offset: Integer,
    /// Rows in the page at most, as it applied.
    #[schemars(extend("minimum" = 1))]
    limit: Integer,
    /// Connections that the table had no room for, since the start.
    untracked: Integer,
    /// The rows.
    #[schemars(with = "Vec<Row<'_>>")]
    connections: [(); 0],
}

/// The pieces of a page's JSON, in order. Together they are one object on one line.
struct Pieces {
    page: Page,
    /// Those not yet written. A row is dropped as soon as it is.
    rows: vec::IntoIter<Connection>,
    /// What comes before the next row.
    before_row: Vec<u8>,
    is_done: bool,
}

impl Pieces {
    fn new(identity: &ServerIdentity, mut page: Page) -> serde_json::Result<Self> {
        let mut head = serde_json::to_vec(&Head {
            server_id: &identity.server_id,
            server_name: &identity.server_name,
            now: page.now,
            num_connections: Integer(page.num_connections),
            total: Integer(page.total),
            offset: Integer(page.offset),
            limit: Integer(page.limit),
            untracked: Integer(page.untracked),
            connections: [],
        })?;
        // The array stays open.
        head.truncate(head.len() - b"]}".len());
        let rows = mem::take(&mut page.rows).into_iter();
        Ok(Self {
            page,
            rows,
            before_row: head,
            is_done: false,
        })
    }
}

impl Iterator for Pieces {
    type Item = serde_json::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let mut piece = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 8);
        while piece.len() < PIECE_BYTES {
            piece.append(&mut self.before_row);
            let Some(connection) = self.rows.next() else {
                piece.extend_from_slice(TAIL);
                self.is_done = true;
                break;
            };
            if let Err(error) = serde_json::to_writer(&mut piece, &self.page.row(&connection)) {
                self.is_done = true;
                return Some(Err(error));
            }
            if !self.rows.as_slice().is_empty() {
                self.before_row.push(b',');
            }
        }
        Some(Ok(piece.into()))
    }
}

/// The pieces as a body; each is made when there is room for it.
struct PageBody {
    first: Option<Bytes>,
    pieces: Pieces,
    /// Given back with the body, sent or not.
    _share: Share,
}

impl hyper::body::Body for PageBody {
    type Data = Bytes;
    type Error = serde_json::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = self.first.take().map(Ok).or_else(|| self.pieces.next());
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }
}
