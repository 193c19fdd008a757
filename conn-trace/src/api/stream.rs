//! A page in the form asked for, made piece by piece while it is sent.

use std::{
    io, mem,
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use ::csv::{IntoInnerError, Terminator, WriterBuilder};
use axum::body::Body;
use hyper::body::{Bytes, Frame};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{pages::Share, source::ServerIdentity};
use crate::{
    query::{
        Format, Integer, Page, Row,
        csv::{self, Columns},
    },
    registry::connection::Connection,
};

/// A hundred rows or so: few wake-ups per page, and not much to hold for each client.
const PIECE_BYTES: usize = 64 * 1024;

/// A record with TCP's own figures.
const LINE_BYTES: usize = 1024;

/// The body of a page's answer. A page of one piece has a known length; of a larger one, rows
/// are written as the client takes them.
pub(super) fn body(
    identity: &ServerIdentity,
    page: Page,
    format: Format,
    share: Share,
) -> io::Result<Body> {
    let mut pieces = Pieces::new(identity, page, format)?;
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
    /// Milliseconds that rates are over. Left out unless rates were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    rates_window_ms: Option<Integer>,
    /// What `cursor` is to be for the next page. Left out on the last page, and without `cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// The rows.
    #[schemars(with = "Vec<Row<'_>>")]
    connections: [(); 0],
}

/// The pieces of a page, in order.
struct Pieces {
    page: Page,
    format: Format,
    /// Those not yet written. A row is dropped as soon as it is.
    rows: vec::IntoIter<Connection>,
    /// What comes before the next row.
    before_row: Vec<u8>,
    is_done: bool,
}

impl Pieces {
    fn new(identity: &ServerIdentity, mut page: Page, format: Format) -> io::Result<Self> {
        let before_row = match format {
            Format::Json => head(identity, &page)?,
            Format::Ndjson => Vec::new(),
            Format::Csv => line(columns(&page).names())?,
        };
        let rows = mem::take(&mut page.rows).into_iter();
        Ok(Self {
            page,
            format,
            rows,
            before_row,
            is_done: false,
        })
    }

    fn write(&mut self, piece: &mut Vec<u8>, connection: &Connection) -> io::Result<()> {
        let row = self.page.row(connection);
        match self.format {
            Format::Json => {
                serde_json::to_writer(&mut *piece, &row)?;
                if !self.rows.as_slice().is_empty() {
                    self.before_row.push(b',');
                }
            }
            Format::Ndjson => {
                serde_json::to_writer(&mut *piece, &row)?;
                piece.push(b'\n');
            }
            Format::Csv => piece.append(&mut line(csv::record(&row, columns(&self.page))?)?),
        }
        Ok(())
    }

    /// What follows the last row.
    fn tail(&self) -> &'static [u8] {
        match self.format {
            // Closes the array and the object, and ends the line.
            Format::Json => b"]}\n",
            Format::Ndjson | Format::Csv => b"",
        }
    }
}

impl Iterator for Pieces {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let mut piece = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 8);
        while piece.len() < PIECE_BYTES {
            piece.append(&mut self.before_row);
            let Some(connection) = self.rows.next() else {
                piece.extend_from_slice(self.tail());
                self.is_done = true;
                break;
            };
            if let Err(error) = self.write(&mut piece, &connection) {
                self.is_done = true;
                return Some(Err(error));
            }
        }
        Some(Ok(piece.into()))
    }
}

/// The object of a page up to its first row.
fn head(identity: &ServerIdentity, page: &Page) -> io::Result<Vec<u8>> {
    let mut head = serde_json::to_vec(&Head {
        server_id: &identity.server_id,
        server_name: &identity.server_name,
        now: page.now,
        num_connections: Integer(page.num_connections),
        total: Integer(page.total),
        offset: Integer(page.offset),
        limit: Integer(page.limit),
        untracked: Integer(page.untracked),
        rates_window_ms: page.rates_window_ms.map(Integer),
        next_cursor: page.next_cursor.map(|cursor| cursor.to_string()),
        connections: [],
    })?;
    // The array stays open.
    head.truncate(head.len() - b"]}".len());
    Ok(head)
}

fn columns(page: &Page) -> Columns {
    Columns {
        tcp: page.tcp,
        rates: page.rates_window_ms.is_some(),
    }
}

/// A record of a table, on a line of its own.
fn line(cells: impl IntoIterator<Item = impl AsRef<[u8]>>) -> io::Result<Vec<u8>> {
    let mut writer = WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .buffer_capacity(LINE_BYTES)
        .from_writer(Vec::new());
    writer.write_record(cells)?;
    writer.into_inner().map_err(IntoInnerError::into_error)
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
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = self.first.take().map(Ok).or_else(|| self.pieces.next());
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }
}
