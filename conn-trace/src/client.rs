//! Asking a running agent, from the command line.

use std::{io, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ureq::{Body, http::Response};

/// For the agent to be found and to begin its answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Names and values, as they stand in a query string.
pub(crate) type Parameters = Vec<(String, String)>;

/// The body of a refusal.
#[derive(Deserialize)]
struct Refusal {
    msg: String,
}

/// Asks the agent at one place.
pub(crate) struct Client {
    agent: ureq::Agent,
    url: String,
}

impl Client {
    /// The whole answer may take this long.
    pub(crate) fn new(url: &str, timeout: Option<Duration>) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(TIMEOUT))
            .timeout_recv_response(Some(TIMEOUT))
            .timeout_global(timeout)
            .build()
            .into();
        let url = url.trim_end_matches('/').to_owned();
        Self { agent, url }
    }

    /// The answer of an endpoint, if it is none that refuses.
    pub(crate) fn get(&self, path: &str, query: &Parameters) -> Result<Response<Body>> {
        self.get_with(path, query, &[])
    }

    /// The same, asked with these headers.
    pub(crate) fn get_with(
        &self,
        path: &str,
        query: &Parameters,
        headers: &[(&str, &str)],
    ) -> Result<Response<Body>> {
        let address = format!("{}{path}", self.url);
        let mut request = self
            .agent
            .get(&address)
            .query_pairs(query.iter().map(|(name, value)| (&**name, &**value)));
        for &(name, value) in headers {
            request = request.header(name, value);
        }
        let mut answer = request
            .call()
            .with_context(|| format!("no answer from {address}: is the agent running?"))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let body = answer
            .body_mut()
            .read_to_string()
            .with_context(|| format!("the answer of {address} breaks off"))?;
        match serde_json::from_str::<Refusal>(&body) {
            Ok(refusal) => bail!("{}", refusal.msg),
            Err(_) => Err(anyhow!(
                "{address}: {} {}",
                answer.status(),
                body.trim_end()
            )),
        }
    }
}

/// The parameters that were given, under the names that the flags have in the API.
pub(crate) fn parameters(given: &impl Serialize) -> Result<Parameters> {
    let Value::Object(given) = serde_json::to_value(given)? else {
        bail!("the parameters are no object");
    };
    Ok(given
        .into_iter()
        .filter_map(|(name, value)| match value {
            Value::String(text) => Some((name, text)),
            Value::Bool(true) => Some((name, "1".to_owned())),
            _ => None,
        })
        .collect())
}

/// Whether nobody reads the output any more.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
