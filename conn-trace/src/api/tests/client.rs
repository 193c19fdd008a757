//! A client that says exactly what a test wants it to say.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Far beyond every timeout that the tests set: whoever waits longer hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer, taken apart.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} twice");
        value
    }

    pub(super) fn json(&self) -> serde_json::Value {
        assert_eq!(
            self.header("content-type"),
            Some("application/json"),
            "{self:?}"
        );
        assert!(
            self.body.ends_with('\n') && self.body.lines().count() == 1,
            "{self:?}"
        );
        serde_json::from_str(&self.body).expect(&self.body)
    }

    fn parse(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).unwrap();
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("{text:?}"));
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers: Vec<_> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Self {
            status,
            headers,
            body: body.to_owned(),
        };
        if answer.header("transfer-encoding") == Some("chunked") && !body.is_empty() {
            answer.body = unchunked(body);
        }
        answer
    }
}

/// Joins the chunks; the last one has to be there.
fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").expect("a chunk");
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return body;
        }
        body.push_str(&after[..size]);
        rest = after[size..]
            .strip_prefix("\r\n")
            .expect("the end of a chunk");
    }
}

/// GET of a path, on a connection of its own.
pub(super) async fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, "GET", path).await
}

pub(super) async fn request(address: SocketAddr, method: &str, path: &str) -> Answer {
    let text = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    exchange(address, &text).await
}

/// Sends the text and reads until the server closes.
pub(super) async fn exchange(address: SocketAddr, text: &str) -> Answer {
    let mut stream = connect(address, text).await;
    Answer::parse(&read_to_end(&mut stream).await)
}

/// Sends the text and leaves the answer unread.
pub(super) async fn connect(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Everything until the server closes or resets the connection.
pub(super) async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // What arrived before a reset counts.
    let _ = end.expect("the server neither answered nor closed");
    bytes
}

/// Reads until the text, which an answer that does not end has at some place.
pub(super) async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    // What was written at once is not read in parts.
    let mut read = Vec::with_capacity(1 << 16);
    let mut looked = 0_usize;
    while !read[looked.saturating_sub(text.len())..]
        .windows(text.len())
        .any(|window| window == text.as_bytes())
    {
        looked = read.len();
        let more = timeout(PATIENCE, stream.read_buf(&mut read)).await;
        let more = more.unwrap_or_else(|_| panic!("no {text:?} in {read:?}"));
        assert_ne!(more.unwrap(), 0, "closed");
    }
    String::from_utf8(read).unwrap()
}

/// Reads one answer off a connection that stays open.
pub(super) async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    loop {
        let read = timeout(PATIENCE, stream.read_buf(&mut bytes)).await;
        assert_ne!(read.expect("no answer").unwrap(), 0, "closed");
        if bytes.windows(4).any(|window| window == b"\r\n\r\n") {
            let answer = Answer::parse(&bytes);
            let length = answer
                .header("content-length")
                .map(|length| length.parse().unwrap());
            if length == Some(answer.body.len()) {
                return answer;
            }
        }
    }
}
