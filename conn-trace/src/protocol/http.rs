//! HTTP/1.0 and HTTP/1.1 (RFC 9112), WebSocket's handshake (RFC 6455 §4.1), and Connect over them
//! (connectrpc.com/docs/protocol).

use httparse::{EMPTY_HEADER, Error, Header, Request, Response, Status};

use super::{Finding, Identity, Protocol, Sender, Text};

/// More are no reason to doubt the first line.
const MOST_HEADERS: usize = 64;

pub(super) fn read(bytes: &[u8], sender: Sender) -> Finding {
    if bytes.starts_with(b"HTTP/") {
        return match sender.may_be(Sender::Server) {
            true => response(bytes),
            false => Finding::Nothing,
        };
    }
    match sender.may_be(Sender::Client) {
        true => request(bytes),
        false if b"HTTP/".starts_with(bytes) => Finding::TooFew,
        false => Finding::Nothing,
    }
}

fn request(bytes: &[u8]) -> Finding {
    // Methods are words in capitals (RFC 9110 §9.1 and its registry).
    let mut method = bytes.iter().take_while(|byte| **byte != b' ');
    if !method.all(|byte| byte.is_ascii_uppercase() || *byte == b'-') {
        return Finding::Nothing;
    }
    let mut headers = [EMPTY_HEADER; MOST_HEADERS];
    let mut request = Request::new(&mut headers);
    let status = request.parse(bytes);
    let Some(version) = version(request.version) else {
        return match status {
            Ok(Status::Partial) => Finding::TooFew,
            _ => Finding::Nothing,
        };
    };
    finish(&status, |is_whole| {
        let mut identity = Identity::new(Protocol::Http, Some(version));
        // The names of headers that were not read are empty.
        let value = |name: &str| header(request.headers, name);
        if is_whole {
            if value("upgrade").is_some_and(|to| to.eq_ignore_ascii_case(b"websocket")) {
                identity.protocol = Protocol::WebSocket;
                identity.version = value("sec-websocket-version").and_then(Text::new);
            } else if is_connect(value("content-type"), value("connect-protocol-version")) {
                identity.protocol = Protocol::Connect;
            }
        }
        identity.peer.software = value("user-agent").and_then(Text::new);
        identity
    })
}

fn response(bytes: &[u8]) -> Finding {
    let mut headers = [EMPTY_HEADER; MOST_HEADERS];
    let mut response = Response::new(&mut headers);
    let status = response.parse(bytes);
    let Some(version) = version(response.version) else {
        return match status {
            Ok(Status::Partial) => Finding::TooFew,
            _ => Finding::Nothing,
        };
    };
    finish(&status, |_| {
        let mut identity = Identity::new(Protocol::Http, Some(version));
        identity.peer.software = header(response.headers, "server").and_then(Text::new);
        identity
    })
}

/// The first line is there; what of the headers?
fn finish(
    status: &Result<Status<usize>, Error>,
    identity: impl FnOnce(bool) -> Identity,
) -> Finding {
    match status {
        Ok(Status::Complete(_)) => Finding::Whole(identity(true)),
        Ok(Status::Partial) => Finding::SoFar(identity(false)),
        Err(Error::TooManyHeaders) => Finding::Whole(identity(false)),
        Err(_) => Finding::Nothing,
    }
}

fn version(minor: Option<u8>) -> Option<&'static str> {
    match minor? {
        0 => Some("1.0"),
        1 => Some("1.1"),
        _ => None,
    }
}

fn header<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a [u8]> {
    let found = headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case(name))?;
    Some(found.value)
}

/// Whether a request is one of Connect's, by these two headers.
pub(super) fn is_connect(content_type: Option<&[u8]>, version: Option<&[u8]>) -> bool {
    let is_stream = content_type.is_some_and(|it| it.starts_with(b"application/connect+"));
    is_stream || version.is_some()
}
