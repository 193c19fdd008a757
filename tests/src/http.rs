//! Asking the agent.

use std::{net::SocketAddr, time::Duration};

use ureq::http::{HeaderMap, Method, Request};

use crate::slowness::longer;

/// More than the largest page takes.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The agent gives a connection up that has been idle for 5 s. One that is older than this is not used
/// again, so that a request does not meet that end.
const KEPT: Duration = Duration::from_secs(1);
/// More than the largest page has.
const MOST_BYTES: u64 = 1 << 30;

/// Keeps a connection to the agent open for a second.
#[derive(Debug)]
pub struct Client {
    agent: ureq::Agent,
    address: SocketAddr,
}

/// An answer, of whatever status.
#[derive(Debug)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
}

impl Client {
    /// For the agent at this address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .proxy(None)
            .max_idle_age(KEPT)
            .timeout_global(Some(longer(TIMEOUT)))
            .build();
        Self {
            agent: config.into(),
            address,
        }
    }

    /// `GET` of a path with its query.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn get(&self, path: &str) -> Result<Answer, ureq::Error> {
        self.request(Method::GET, path)
    }

    /// Any method, without a body.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn request(&self, method: Method, path: &str) -> Result<Answer, ureq::Error> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .body(())?;
        let (parts, mut body) = self.agent.run(request)?.into_parts();
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.with_config().limit(MOST_BYTES).read_to_string()?,
        })
    }
}

/// A text as the value of a query parameter: each byte as `%XX`.
#[must_use]
pub fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
