//! Lets policies act: on the live set, the sockets, and what tells of it.

use std::{fs, iter, net::SocketAddr, sync::Arc, time::Duration};

use super::{
    Notify,
    audit::{Outcome, Record},
    engine::{Finding, Seen},
    policy::{Action, Rule, Signal},
};
use crate::{
    kernel::{
        LoadError,
        clock::{Moment, boot_now_ns},
        destroy::{Closed, Closer, Target},
    },
    registry::{
        connection::{Connection, Facts, TcpState, Transport},
        flags::Flag,
        live::Key,
        state::State,
        view::{Read, open_connection},
    },
};

/// A closed socket tells its last figures when its program closes it, which those do at once that are
/// waiting for it. The record of another one is told after this time without them.
const WAIT_FOR_END: Duration = Duration::from_secs(1);
/// How often the host's memory is looked at.
const MEMORY_INTERVAL: Duration = Duration::from_secs(1);
const MEMORY: &str = "/proc/meminfo";
/// Lines of the log in a second; the others are counted.
const LINES_PER_SECOND: u32 = 20;
const SECOND_NS: u64 = 1_000_000_000;

/// What acting takes.
#[derive(Debug)]
pub(in crate::registry) struct Enforcer {
    closer: Closer,
    pub(in crate::registry) notify: Box<dyn Notify>,
    memory: Option<u64>,
    memory_read_ns: u64,
    log: Log,
}

/// Keeps a flood of actions from flooding the log.
#[derive(Debug, Default)]
struct Log {
    second: u64,
    lines: u32,
    left_out: u64,
}

impl Enforcer {
    pub(in crate::registry) fn new(notify: Box<dyn Notify>) -> Self {
        Self {
            closer: Closer::default(),
            notify,
            memory: None,
            memory_read_ns: 0,
            log: Log::default(),
        }
    }

    fn is_memory_old(&self, now_ns: u64) -> bool {
        let age = Duration::from_nanos(now_ns.saturating_sub(self.memory_read_ns));
        self.memory_read_ns == 0 || age >= MEMORY_INTERVAL
    }

    /// Memory of the host that is not available, in percent, where that can be read.
    fn memory(&mut self, now_ns: u64) -> Option<u64> {
        if self.is_memory_old(now_ns) {
            self.memory_read_ns = now_ns;
            self.memory = fs::read_to_string(MEMORY).ok().and_then(|text| used(&text));
        }
        self.memory
    }
}

/// What is not available of all memory, in percent: proc_meminfo(5).
fn used(meminfo: &str) -> Option<u64> {
    let of = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let (total, available) = (of("MemTotal:")?, of("MemAvailable:")?);
    (total.saturating_sub(available) * 100).checked_div(total)
}

impl State {
    /// Does what policies ask for by now.
    pub(in crate::registry) fn enforce(&mut self) -> Result<(), LoadError> {
        let now_ns = boot_now_ns();
        let wants_memory = self.members.wants_signal(Signal::Memory);
        let is_due = self.members.is_policy_due(now_ns)
            || (wants_memory && self.enforcer.is_memory_old(now_ns));
        if !is_due {
            return Ok(());
        }
        let moment = self.tracer.now()?;
        let memory = wants_memory.then(|| self.enforcer.memory(moment.boot_ns));
        for at in self.members.with_policies() {
            let (findings, passed) = self.look(at, memory.flatten(), &moment);
            for cid in passed {
                self.show_flags(at, cid);
            }
            self.act_on(at, findings, &moment)?;
            let (_, engine) = self.members.engine(at);
            for record in engine.due_records(moment.boot_ns) {
                self.tell(record, &moment);
            }
        }
        Ok(())
    }

    fn look(
        &mut self,
        at: usize,
        memory: Option<u64>,
        moment: &Moment,
    ) -> (Vec<Finding>, Vec<u64>) {
        let (live, table) = (&self.live, self.tracer.table());
        let (_, engine) = self.members.engine(at);
        engine.look(moment.boot_ns, memory, |cid| {
            let live = live.get(cid)?;
            let hot = table.hot(live.slot, live.key.0, live.key.1)?;
            Some(Seen {
                state: TcpState::from_kernel(hot.state),
                active_ns: match hot.last_activity_jiffies {
                    0 => live.facts.start_ns,
                    jiffies => moment.boot_of_jiffies(jiffies).max(live.facts.start_ns),
                },
            })
        })
    }

    /// Lets the facts of a connection say what was found in it.
    fn show_flags(&mut self, at: usize, cid: u64) {
        let flags = self.members.engine(at).1.flags(cid);
        if let Some(live) = self.live.get_mut_by_cid(cid) {
            Arc::make_mut(&mut live.facts).flags = flags;
        }
    }

    fn act_on(
        &mut self,
        at: usize,
        findings: Vec<Finding>,
        moment: &Moment,
    ) -> Result<(), LoadError> {
        let mut sockets: Vec<(Key, u32)> = Vec::with_capacity(findings.len());
        let mut concerned = Vec::with_capacity(findings.len());
        for finding in findings {
            let live = self.live.get(finding.cid);
            match live.filter(|live| !self.describer.own.concerns(&live.facts)) {
                Some(live) => {
                    sockets.push((live.key, live.slot));
                    concerned.push(finding);
                }
                // Whoever asks the agent is none of its concern.
                None => self.members.engine(at).1.withdraw(&finding),
            }
        }
        self.complete(&concerned, moment);
        let samples = self.sample(&sockets)?;
        for (finding, (_, sample)) in concerned.into_iter().zip(samples) {
            self.show_flags(at, finding.cid);
            let Some(live) = self.live.get(finding.cid) else {
                continue;
            };
            let Some(read) = Read::of(live, self.tracer.table()) else {
                continue;
            };
            let (key, cold) = (read.key, read.cold);
            let connection = open_connection(read, sample.as_ref(), moment, |_| None);
            let (_, engine) = self.members.engine(at);
            if is_active(&engine.policy(&finding).rule, &finding, &connection, moment) {
                engine.moved(&finding, connection.last_activity_ns);
                self.show_flags(at, finding.cid);
                continue;
            }
            let target = Target {
                cookie: key.0,
                local: (connection.facts.local.ip, connection.facts.local.port).into(),
                peer: (connection.facts.peer.ip, connection.facts.peer.port).into(),
                interface: cold.bound_interface,
            };
            self.act(at, &finding, &connection, &target, moment);
        }
        Ok(())
    }

    /// Brings facts up to what the table knows: of these connections, and of all if one of them is in
    /// another network namespace, which is entered by way of any process in it.
    fn complete(&mut self, findings: &[Finding], moment: &Moment) {
        let own_netns = self.describer.own.netns;
        let netns = |cid| self.live.get(cid).map(|live| live.facts.netns);
        let is_elsewhere = |finding: &Finding| netns(finding.cid) != Some(own_netns);
        if findings.iter().any(is_elsewhere) {
            self.complete_facts(None, moment);
            return;
        }
        for finding in findings {
            self.complete_facts(Some(finding.cid), moment);
        }
    }

    /// A process that is in a network namespace: the owner of the connection, or of another one.
    fn process_in(&self, facts: &Facts) -> Option<u32> {
        let others = self.live.iter().map(|(_, live)| &*live.facts);
        iter::once(facts)
            .chain(others.filter(|other| other.netns == facts.netns))
            .find_map(|facts| facts.owner.process())
            .map(|process| process.pid)
    }

    fn act(
        &mut self,
        at: usize,
        finding: &Finding,
        connection: &Connection,
        target: &Target,
        moment: &Moment,
    ) {
        let netns = connection.facts.netns;
        let elsewhere = (netns != self.describer.own.netns)
            .then(|| (netns, self.process_in(&connection.facts)));
        let Enforcer { closer, notify, .. } = &mut self.enforcer;
        let (service, engine) = self.members.engine(at);
        let policy = engine.policy(finding);
        let (action, is_dry_run) = (policy.action.clone(), policy.dry_run);
        let has_ended = connection.state == TcpState::Close;
        let mut outcome = match &action {
            _ if has_ended => Outcome::Gone,
            _ if is_dry_run => Outcome::DryRun,
            Action::Close => close(closer, connection, target, elsewhere),
            Action::Event | Action::Log | Action::Webhook(_) => Outcome::Done,
        };
        let now = (moment.wall, moment.boot_ns);
        let record = |outcome: &Outcome| {
            engine.record(service, finding, outcome.clone(), connection.clone(), now)
        };
        if let (Action::Webhook(url), Outcome::Done) = (&action, &outcome)
            && let Err(reason) = notify.notify(url, &record(&outcome))
        {
            outcome = Outcome::Failed(reason);
        }
        let record = record(&outcome);
        let until_ns = moment.boot_ns + WAIT_FOR_END.as_nanos() as u64;
        engine.acted(finding, record, until_ns);
    }

    /// Tells of an action: in the log, and to those who listen to events.
    fn tell(&mut self, record: Arc<Record>, moment: &Moment) {
        self.enforcer.log.write(&record, moment.boot_ns);
        self.events.push_policy(record);
    }
}

/// Whether the socket has moved data lately that no counted call did.
fn is_active(rule: &Rule, finding: &Finding, connection: &Connection, moment: &Moment) -> bool {
    let Rule::Leak(leak) = rule else { return false };
    let idle_ns = moment.boot_ns.saturating_sub(connection.last_activity_ns);
    finding.flag == Flag::IdleLeak
        && leak
            .idle
            .is_some_and(|idle| Duration::from_nanos(idle_ns) < idle)
}

/// Closes a socket: `elsewhere` is its network namespace if that is not the agent's own, and a process
/// in it.
fn close(
    closer: &mut Closer,
    connection: &Connection,
    target: &Target,
    elsewhere: Option<(u32, Option<u32>)>,
) -> Outcome {
    if connection.facts.transport == Transport::Mptcp {
        return Outcome::Failed("the kernel closes no MPTCP socket".to_owned());
    }
    let closed = match elsewhere {
        None => closer.close(target),
        Some((netns, pid)) => closer.close_elsewhere(target, netns, pid),
    };
    match closed {
        Ok(Closed::Now) => Outcome::Done,
        Ok(Closed::Before) => Outcome::Gone,
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

impl Log {
    fn write(&mut self, record: &Record, now_ns: u64) {
        let second = now_ns / SECOND_NS;
        if second != self.second {
            self.second = second;
            self.lines = 0;
        }
        if self.lines == LINES_PER_SECOND {
            self.left_out += 1;
            return;
        }
        self.lines += 1;
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            tracing::warn!(left_out, "actions of policies that are not in the log");
        }
        let Record {
            service,
            policy,
            connection,
            reason,
            ..
        } = record;
        let (action, outcome) = (record.action.name(), record.outcome.name());
        let failure = match &record.outcome {
            Outcome::Failed(reason) => Some(&**reason),
            Outcome::DryRun | Outcome::Done | Outcome::Gone => None,
        };
        let facts = &connection.facts;
        let counters = connection.counters;
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    %service,
                    %policy,
                    flag = record.flag.name(),
                    action,
                    outcome,
                    failure,
                    cid = facts.cid,
                    peer = %SocketAddr::new(facts.peer.ip, facts.peer.port),
                    local = %SocketAddr::new(facts.local.ip, facts.local.port),
                    in_bytes = counters.in_bytes,
                    out_bytes = counters.out_bytes,
                    is_final = record.is_final(),
                    "{reason}"
                )
            };
        }
        match (&record.action, &record.outcome) {
            (Action::Event, _) | (_, Outcome::DryRun | Outcome::Gone) => line!(info),
            _ => line!(warn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::used;

    #[test]
    fn memory_in_percent() {
        let text = "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    250 kB\n";
        assert_eq!(used(text), Some(75));
        assert_eq!(used("MemTotal: 0 kB\nMemAvailable: 0 kB\n"), None);
        assert_eq!(used("MemTotal: 5 kB\n"), None);
    }
}
