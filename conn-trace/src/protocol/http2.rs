//! HTTP/2 (RFC 9113), with gRPC and Connect by the headers of the first request.

use std::{
    cell::Cell,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use ::http::{HeaderMap, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Finding, Identity, Protocol, Sender, Text, Unclear, begins_with, http::is_connect};

/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER: usize = 9;
const SETTINGS: u8 = 4;
const SETTING: usize = 6;
/// Six are defined by the RFC, and few more are in use.
const MOST_SETTINGS: usize = 32;

pub(super) fn read(bytes: &[u8], sender: Sender) -> Finding {
    if sender.may_be(Sender::Client) {
        match begins_with(bytes, PREFACE) {
            Ok(()) => return client(bytes),
            Err(Unclear::TooFew) => return Finding::TooFew,
            Err(_) => {}
        }
    }
    match sender {
        Sender::Server => server(bytes),
        _ => Finding::Nothing,
    }
}

/// A server begins with its settings (RFC 9113 §3.4).
fn server(bytes: &[u8]) -> Finding {
    let Some(frame) = bytes.get(..FRAME_HEADER) else {
        let may_be = bytes.iter().zip([0, 0]).all(|(byte, zero)| *byte == zero);
        return match may_be {
            true => Finding::TooFew,
            false => Finding::Nothing,
        };
    };
    let len = usize::from(frame[2]);
    let is_settings = frame[..2] == [0, 0] && frame[3..] == [SETTINGS, 0, 0, 0, 0, 0];
    match is_settings && len % SETTING == 0 && len <= MOST_SETTINGS * SETTING {
        true => Finding::Whole(Identity::new(Protocol::Http, Some("2"))),
        false => Finding::Nothing,
    }
}

fn client(bytes: &[u8]) -> Finding {
    let mut identity = Identity::new(Protocol::Http, Some("2"));
    match first_request(bytes) {
        Poll::Pending => Finding::SoFar(identity),
        // The preface alone is clear enough.
        Poll::Ready(None) => Finding::Whole(identity),
        Poll::Ready(Some(headers)) => {
            let value = |name: &str| headers.get(name).map(header::HeaderValue::as_bytes);
            let content_type = value("content-type");
            if content_type.is_some_and(is_grpc) {
                identity.protocol = Protocol::Grpc;
            } else if is_connect(content_type, value("connect-protocol-version")) {
                identity.protocol = Protocol::Connect;
            }
            identity.peer.software = value("user-agent").and_then(Text::new);
            Finding::Whole(identity)
        }
    }
}

/// `application/grpc`, alone or with a suffix; gRPC-Web is something else.
fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| rest.first().is_none_or(|next| matches!(next, b'+' | b';')))
}

/// The headers of the first request, as a server reads them; `None` if there will be none. What stands
/// behind that request does not matter, so a server hears one frame after the other.
fn first_request(bytes: &[u8]) -> Poll<Option<HeaderMap>> {
    let heard = Cell::new(&bytes[..PREFACE.len()]);
    let mut context = Context::from_waker(Waker::noop());
    let mut handshake = pin!(h2::server::handshake(Heard(&heard)));
    let mut frames = Frames(&bytes[PREFACE.len()..]);
    let mut connection = loop {
        match handshake.as_mut().poll(&mut context) {
            Poll::Ready(Ok(connection)) => break connection,
            Poll::Ready(Err(_)) => return Poll::Ready(None),
            Poll::Pending => match frames.next() {
                Some(frame) => heard.set(frame),
                None => return Poll::Pending,
            },
        }
    };
    loop {
        let accepted = connection.poll_accept(&mut context).map(|accepted| {
            let (request, _) = accepted?.ok()?;
            Some(request.into_parts().0.headers)
        });
        match accepted {
            Poll::Pending => match frames.next() {
                Some(frame) => heard.set(frame),
                None => return Poll::Pending,
            },
            ready => return ready,
        }
    }
}

/// Frames with their headers; the last may be cut off.
struct Frames<'a>(&'a [u8]);

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let len = match self.0 {
            [high, middle, low, ..] => u32::from_be_bytes([0, *high, *middle, *low]) as usize,
            _ => 0,
        };
        let (frame, rest) = self.0.split_at(self.0.len().min(FRAME_HEADER + len));
        self.0 = rest;
        Some(frame)
    }
}

/// A connection on which these bytes have come and no more do yet; what is sent goes nowhere.
struct Heard<'a, 'b>(&'b Cell<&'a [u8]>);

impl AsyncRead for Heard<'_, '_> {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes = self.0.get();
        if bytes.is_empty() {
            return Poll::Pending;
        }
        let (now, later) = bytes.split_at(bytes.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.0.set(later);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Heard<'_, '_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buffer.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
