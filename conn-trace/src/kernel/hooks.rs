//! The places in the kernel that the programs hook, and the two variants of the message hooks.

use std::fmt;

use aya::{
    Btf as AyaBtf,
    programs::{BtfTracePoint, FExit, Program, ProgramError},
};
use clap::ValueEnum;
use schemars::JsonSchema;
use serde::Serialize;
use thiserror::Error;

use super::{
    btf::{Btf, Kind},
    degradation::Degradation,
};

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    /// `tp_btf`: a tracepoint with its arguments by type. Minimum kernel 5.5.
    Tracepoint(&'static str),
    /// `fexit`: the return of a function. Minimum kernel 5.5, with `CONFIG_FUNCTION_TRACER`.
    Exit(&'static str),
}

/// Who may be held up in the programs of a hook on a CPU while somebody else gets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeldUp {
    /// Nobody.
    Nobody,
    /// A task that a softirq interrupts.
    One,
    /// Tasks that were preempted.
    Several,
}

/// A program of the object, and where it runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hook {
    /// Name of the program.
    pub(super) program: &'static str,
    /// The programs that act where the kernel skipped this one, in the order in which they run.
    others: &'static [&'static str],
    point: Point,
    /// What is not known without it, for the reason given; `None` if nothing works then.
    pub(super) without: Option<fn(String) -> Degradation>,
}

/// The hooks of connection life. Ends first: an end may be missed only of a connection whose
/// opening was missed too.
pub(super) const LIFE: [Hook; 2] = [
    tracepoint("socket_destroyed", "tcp_destroy_sock").with(&[
        "socket_destroyed_second",
        "socket_destroyed_third",
        "socket_destroyed_fourth",
        "socket_destroyed_fifth",
        "socket_destroyed_nested",
    ]),
    tracepoint("state_changed", "inet_sock_set_state").with(&[
        "state_changed_second",
        "state_changed_third",
        "state_changed_fourth",
        "state_changed_fifth",
        "state_changed_nested",
    ]),
];

const SENT: Hook = tracepoint("message_sent", "sock_send_length").with(&[
    "message_sent_second",
    "message_sent_third",
    "message_sent_fourth",
    "message_sent_fifth",
    "message_sent_nested",
]);
const RECEIVED: Hook = tracepoint("message_received", "sock_recv_length").with(&[
    "message_received_second",
    "message_received_third",
    "message_received_fourth",
    "message_received_fifth",
    "message_received_nested",
]);
const SENDMSG: Hook = exit("sendmsg_returned", "tcp_sendmsg").with(&["sendmsg_returned_nested"]);

const fn tracepoint(program: &'static str, name: &'static str) -> Hook {
    Hook {
        program,
        others: &[],
        point: Point::Tracepoint(name),
        without: None,
    }
}

const fn exit(program: &'static str, function: &'static str) -> Hook {
    Hook {
        program,
        others: &[],
        point: Point::Exit(function),
        without: None,
    }
}

impl Hook {
    const fn with(self, others: &'static [&'static str]) -> Self {
        Self { others, ..self }
    }

    const fn or(self, without: fn(String) -> Degradation) -> Self {
        Self {
            without: Some(without),
            ..self
        }
    }
}

/// How messages are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema, ValueEnum)]
pub enum Variant {
    /// The tracepoints `sock_send_length` and `sock_recv_length`. Minimum kernel 6.3.
    #[serde(rename = "tp_btf")]
    #[value(name = "tp_btf")]
    TpBtf,
    /// The return of `tcp_sendmsg`, `tcp_recvmsg` and `tcp_sendpage`. Minimum kernel 5.15.
    #[serde(rename = "fexit")]
    #[value(name = "fexit")]
    Fexit,
}

impl Variant {
    /// In order of preference.
    pub const ALL: [Self; 2] = [Self::TpBtf, Self::Fexit];

    /// Its name, as flags and answers have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TpBtf => "tp_btf",
            Self::Fexit => "fexit",
        }
    }

    /// The hooks of this variant on the kernel that `btf` describes.
    pub(super) fn hooks(self, btf: &Btf<'_>) -> Result<Vec<Hook>, Unhookable> {
        match self {
            Self::TpBtf => {
                let absent: Vec<_> = ["sock_send_length", "sock_recv_length"]
                    .into_iter()
                    .filter(|name| !btf.has_type(&format!("btf_trace_{name}"), Kind::Typedef))
                    .collect();
                if absent.is_empty() {
                    // Before 6.5, what sendfile and splice send passes the tracepoints by.
                    let mut hooks = vec![SENT, RECEIVED];
                    hooks.extend(sendpage(btf));
                    Ok(hooks)
                } else {
                    Err(Unhookable::NoTracepoint(absent.join(", ")))
                }
            }
            Self::Fexit => {
                expect_parameters(btf, "tcp_sendmsg", &[3])?;
                let mut hooks = vec![SENDMSG];
                hooks.push(match expect_parameters(btf, "tcp_recvmsg", &[4, 5, 6])? {
                    6 => exit("recvmsg_of_6_returned", "tcp_recvmsg")
                        .with(&["recvmsg_of_6_returned_nested"]),
                    5 => exit("recvmsg_of_5_returned", "tcp_recvmsg")
                        .with(&["recvmsg_of_5_returned_nested"]),
                    _ => exit("recvmsg_of_4_returned", "tcp_recvmsg")
                        .with(&["recvmsg_of_4_returned_nested"]),
                });
                hooks.extend(sendpage(btf));
                hooks.extend(mptcp(btf));
                Ok(hooks)
            }
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a variant cannot run on a kernel, by its BTF alone.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Unhookable {
    /// Tracepoints are missing.
    #[error("no tracepoint {0}: Linux has them since 6.3")]
    NoTracepoint(String),
    /// A function is missing, or the BTF does not tell.
    #[error("no function {0} in the kernel's BTF")]
    NoFunction(&'static str),
    /// A function has other parameters than any kernel that is known.
    #[error("function {function} has {found} parameters, known are {known:?}")]
    Parameters {
        /// The function.
        function: &'static str,
        /// How many it has.
        found: usize,
        /// How many it may have.
        known: &'static [usize],
    },
}

fn expect_parameters(
    btf: &Btf<'_>,
    function: &'static str,
    known: &'static [usize],
) -> Result<usize, Unhookable> {
    let found = btf
        .function_parameter_count(function)
        .map_err(|_| Unhookable::NoFunction(function))?;
    if known.contains(&found) {
        Ok(found)
    } else {
        Err(Unhookable::Parameters {
            function,
            found,
            known,
        })
    }
}

/// Up to 6.4; `sk, page, offset, size, flags` in all of them.
fn sendpage(btf: &Btf<'_>) -> Option<Hook> {
    expect_parameters(btf, "tcp_sendpage", &[5]).ok()?;
    Some(
        exit("sendpage_returned", "tcp_sendpage")
            .with(&["sendpage_returned_nested"])
            .or(Degradation::SendfileUncounted),
    )
}

/// None in a kernel without MPTCP.
fn mptcp(btf: &Btf<'_>) -> Vec<Hook> {
    let received = match expect_parameters(btf, "mptcp_recvmsg", &[4, 5, 6]) {
        Ok(6) => exit("mptcp_recvmsg_of_6_returned", "mptcp_recvmsg")
            .with(&["mptcp_recvmsg_of_6_returned_nested"]),
        Ok(5) => exit("mptcp_recvmsg_of_5_returned", "mptcp_recvmsg")
            .with(&["mptcp_recvmsg_of_5_returned_nested"]),
        Ok(_) => exit("mptcp_recvmsg_of_4_returned", "mptcp_recvmsg")
            .with(&["mptcp_recvmsg_of_4_returned_nested"]),
        Err(_) => return Vec::new(),
    };
    [
        exit("mptcp_sendmsg_returned", "mptcp_sendmsg").with(&["mptcp_sendmsg_returned_nested"]),
        received,
    ]
    .map(|hook| hook.or(Degradation::MptcpUncounted))
    .to_vec()
}

impl Hook {
    /// The programs that it takes, in the order in which to attach them so that they run in theirs.
    /// Tracepoints run the programs in the order of their attachment, the returns of functions in
    /// the opposite one (`hlist_add_head` in kernel/bpf/trampoline.c).
    pub(super) fn programs(&self, held_up: HeldUp) -> Vec<Self> {
        let others = match held_up {
            HeldUp::Nobody => &[],
            // Only the last acts in place of the one before without leaving a mark.
            HeldUp::One => &self.others[self.others.len().saturating_sub(1)..],
            HeldUp::Several => self.others,
        };
        let first = std::iter::once(*self);
        let others = others.iter().map(|&program| Self { program, ..*self });
        let mut programs: Vec<_> = first.chain(others).collect();
        if let Point::Exit(_) = self.point {
            programs.reverse();
        }
        programs
    }

    pub(super) fn load(&self, program: &mut Program, types: &AyaBtf) -> Result<(), ProgramError> {
        match self.point {
            Point::Tracepoint(name) => tracing_program(program)?.load(name, types),
            Point::Exit(name) => exit_program(program)?.load(name, types),
        }
    }

    pub(super) fn attach(&self, program: &mut Program) -> Result<(), ProgramError> {
        match self.point {
            Point::Tracepoint(_) => tracing_program(program)?.attach().map(drop),
            Point::Exit(_) => exit_program(program)?.attach().map(drop),
        }
    }

    /// Detaches and unloads it, if it was.
    pub(super) fn undo(&self, program: &mut Program) -> Result<(), ProgramError> {
        let undone = match self.point {
            Point::Tracepoint(_) => tracing_program(program)?.unload(),
            Point::Exit(_) => exit_program(program)?.unload(),
        };
        match undone {
            Err(ProgramError::NotLoaded) => Ok(()),
            other => other,
        }
    }
}

fn tracing_program(program: &mut Program) -> Result<&mut BtfTracePoint, ProgramError> {
    program.try_into()
}

fn exit_program(program: &mut Program) -> Result<&mut FExit, ProgramError> {
    program.try_into()
}
