//! Sends records of policies to URLs: in order, again where it fails, and never so many that they pile up.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use ureq::{Agent, http::Uri};

use crate::{
    api::action_json,
    registry::policies::{Deliveries, Notify, Record},
};

/// Records that wait for one URL; one more is dropped. At about 1 KiB each.
const QUEUE: usize = 256;
/// For one try, from the connect to the end of the answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Before each try but the first. A receiver that is away for longer loses records.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(16),
];
/// What receivers are told of the sender.
const USER_AGENT: &str = concat!("conn-trace/", env!("CARGO_PKG_VERSION"));

/// All URLs that records were for.
#[derive(Debug, Default)]
pub(crate) struct Webhooks {
    by_url: HashMap<String, Webhook>,
    /// Of URLs that were given up, by host: what is published by host must not go back while another URL
    /// of it is in use.
    given_up: HashMap<String, Deliveries>,
}

/// One URL. Its thread ends with this, what it is about included.
#[derive(Debug)]
struct Webhook {
    records: SyncSender<String>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicU64,
    delivered: AtomicU64,
    failures: AtomicU64,
    dropped: AtomicU64,
}

impl Notify for Webhooks {
    fn notify(&mut self, url: &str, record: &Record) -> Result<(), String> {
        let json = action_json(record).map_err(|error| error.to_string())?;
        if !self.by_url.contains_key(url) {
            let webhook = Webhook::start(url.to_owned()).map_err(|error| error.to_string())?;
            self.by_url.insert(url.to_owned(), webhook);
        }
        match self.by_url.get(url) {
            Some(webhook) => webhook.send(json),
            None => Err("no webhook".to_owned()),
        }
    }

    fn keep(&mut self, used: &HashSet<Arc<str>>) {
        let given_up = self
            .by_url
            .extract_if(|url, _| !used.contains(url.as_str()));
        for (url, webhook) in given_up {
            let last = webhook.counts.of(&url);
            let sums = self.given_up.entry(last.host.clone()).or_default();
            sums.host = last.host;
            sums.delivered += last.delivered;
            sums.failures += last.failures;
            sums.dropped += last.dropped;
        }
        let hosts: HashSet<_> = self.by_url.keys().map(|url| host(url)).collect();
        self.given_up.retain(|host, _| hosts.contains(host));
    }

    fn deliveries(&self) -> Vec<Deliveries> {
        let used = self.by_url.iter();
        let used = used.map(|(url, webhook)| webhook.counts.of(url));
        used.chain(self.given_up.values().cloned()).collect()
    }
}

/// Without what may be secret.
fn host(url: &str) -> String {
    let uri = Uri::try_from(url).ok();
    let authority = uri.as_ref().and_then(Uri::authority);
    authority.map_or_else(String::new, |authority| {
        let port = authority.port_u16().map(|port| format!(":{port}"));
        format!("{}{}", authority.host(), port.unwrap_or_default())
    })
}

impl Counts {
    fn of(&self, url: &str) -> Deliveries {
        Deliveries {
            host: host(url),
            waiting: self.waiting.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
            failures: self.failures.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
        }
    }
}

impl Webhook {
    fn start(url: String) -> std::io::Result<Self> {
        let (records, queue) = sync_channel(QUEUE);
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        thread::Builder::new()
            .name("webhook".into())
            .spawn(move || deliver(&url, &queue, &shared))?;
        Ok(Self { records, counts })
    }

    fn send(&self, json: String) -> Result<(), String> {
        self.counts.waiting.fetch_add(1, Relaxed);
        self.records.try_send(json).map_err(|error| {
            self.counts.waiting.fetch_sub(1, Relaxed);
            self.counts.dropped.fetch_add(1, Relaxed);
            match error {
                TrySendError::Full(_) => format!("{QUEUE} records wait for the URL"),
                TrySendError::Disconnected(_) => "its thread has ended".to_owned(),
            }
        })
    }
}

fn deliver(url: &str, queue: &Receiver<String>, counts: &Arc<Counts>) {
    let is_given_up = || Arc::strong_count(counts) == 1;
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .proxy(None)
        .user_agent(USER_AGENT)
        .build()
        .into();
    for json in queue {
        if is_given_up() {
            return;
        }
        let mut pauses = PAUSES.iter();
        let is_taken = loop {
            let answer = agent
                .post(url)
                .header("Content-Type", "application/json")
                .send(&json);
            // The answer is not read: its connection is used again only if it is empty.
            let Err(error) = answer else { break true };
            counts.failures.fetch_add(1, Relaxed);
            tracing::debug!(host = host(url), %error, "a record was not taken");
            match pauses.next() {
                Some(pause) => thread::sleep(*pause),
                None => break false,
            }
            if is_given_up() {
                return;
            }
        };
        counts.waiting.fetch_sub(1, Relaxed);
        let count = if is_taken {
            &counts.delivered
        } else {
            &counts.dropped
        };
        count.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(delivered: u64, dropped: u64) -> Webhook {
        let counts = Arc::new(Counts::default());
        counts.delivered.store(delivered, Relaxed);
        counts.dropped.store(dropped, Relaxed);
        let (records, _queue) = sync_channel(1);
        Webhook { records, counts }
    }

    fn sums(webhooks: &Webhooks) -> (u64, u64) {
        let all = webhooks.deliveries();
        assert!(all.iter().all(|one| one.host == "gw:80"), "{all:?}");
        let sum = |of: fn(&Deliveries) -> u64| all.iter().map(of).sum();
        (sum(|one| one.delivered), sum(|one| one.dropped))
    }

    #[test]
    fn counts_of_a_host_do_not_go_back_while_it_is_used() {
        let (a, b) = ("http://gw:80/a", "http://gw:80/b");
        let mut webhooks = Webhooks::default();
        webhooks.by_url.insert(a.to_owned(), webhook(7, 5));
        webhooks.by_url.insert(b.to_owned(), webhook(1, 3));
        assert_eq!(sums(&webhooks), (8, 8));
        webhooks.keep(&HashSet::from([a.into()]));
        assert_eq!(sums(&webhooks), (8, 8));
        webhooks.keep(&HashSet::new());
        assert_eq!(sums(&webhooks), (0, 0));
        webhooks.by_url.insert(a.to_owned(), webhook(0, 0));
        assert_eq!(sums(&webhooks), (0, 0));
    }
}
