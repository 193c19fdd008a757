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

/// A hook and the programs of the object for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hook {
    /// The program where nobody is held up, if it is another than the first of those below.
    alone: Option<&'static str>,
    /// Each acts where the kernel skipped those before, in the order in which they run.
    turns: &'static [&'static str],
    /// What they act by; `None` if each does so itself.
    acting: Option<Acting>,
    point: Point,
    /// What is not known without it, for the reason given; `None` if nothing works then.
    pub(super) without: Option<fn(String) -> Degradation>,
}

/// The program as which others go on, and the array in which they find it.
#[derive(Clone, Copy, Debug)]
struct Acting {
    program: &'static str,
    array: &'static str,
}

/// A program of the object, and where it runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hooked {
    /// Its name.
    pub(super) name: &'static str,
    point: Point,
}

/// The hooks of connection life. Ends first: an end may be missed only of a connection whose
/// opening was missed too.
pub(super) const LIFE: [Hook; 2] = [
    Hook {
        acting: Some(Acting {
            program: "socket_destroyed",
            array: "SOCKET_DESTROYED",
        }),
        ..hook(
            Point::Tracepoint("tcp_destroy_sock"),
            &[
                "socket_destroyed_first",
                "socket_destroyed_second",
                "socket_destroyed_third",
                "socket_destroyed_fourth",
                "socket_destroyed_fifth",
                "socket_destroyed_last",
            ],
        )
    },
    Hook {
        acting: Some(Acting {
            program: "state_changed",
            array: "STATE_CHANGED",
        }),
        ..hook(
            Point::Tracepoint("inet_sock_set_state"),
            &[
                "state_changed_first",
                "state_changed_second",
                "state_changed_third",
                "state_changed_fourth",
                "state_changed_fifth",
                "state_changed_last",
            ],
        )
    },
];

const SENT: Hook = Hook {
    alone: Some("message_sent"),
    acting: Some(Acting {
        program: "message_sent_in_turn",
        array: "MESSAGE_SENT",
    }),
    ..hook(
        Point::Tracepoint("sock_send_length"),
        &[
            "message_sent_first",
            "message_sent_second",
            "message_sent_third",
            "message_sent_fourth",
            "message_sent_fifth",
            "message_sent_last",
        ],
    )
};
const RECEIVED: Hook = Hook {
    alone: Some("message_received"),
    acting: Some(Acting {
        program: "message_received_in_turn",
        array: "MESSAGE_RECEIVED",
    }),
    ..hook(
        Point::Tracepoint("sock_recv_length"),
        &[
            "message_received_first",
            "message_received_second",
            "message_received_third",
            "message_received_fourth",
            "message_received_fifth",
            "message_received_last",
        ],
    )
};
const SENDMSG: Hook = exit(
    "tcp_sendmsg",
    &["sendmsg_returned", "sendmsg_returned_nested"],
);

const fn hook(point: Point, turns: &'static [&'static str]) -> Hook {
    Hook {
        alone: None,
        turns,
        acting: None,
        point,
        without: None,
    }
}

const fn exit(function: &'static str, turns: &'static [&'static str]) -> Hook {
    hook(Point::Exit(function), turns)
}

impl Hook {
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
                    6 => exit(
                        "tcp_recvmsg",
                        &["recvmsg_of_6_returned", "recvmsg_of_6_returned_nested"],
                    ),
                    5 => exit(
                        "tcp_recvmsg",
                        &["recvmsg_of_5_returned", "recvmsg_of_5_returned_nested"],
                    ),
                    _ => exit(
                        "tcp_recvmsg",
                        &["recvmsg_of_4_returned", "recvmsg_of_4_returned_nested"],
                    ),
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
        exit(
            "tcp_sendpage",
            &["sendpage_returned", "sendpage_returned_nested"],
        )
        .or(Degradation::SendfileUncounted),
    )
}

/// None in a kernel without MPTCP.
fn mptcp(btf: &Btf<'_>) -> Vec<Hook> {
    let received = match expect_parameters(btf, "mptcp_recvmsg", &[4, 5, 6]) {
        Ok(6) => exit(
            "mptcp_recvmsg",
            &[
                "mptcp_recvmsg_of_6_returned",
                "mptcp_recvmsg_of_6_returned_nested",
            ],
        ),
        Ok(5) => exit(
            "mptcp_recvmsg",
            &[
                "mptcp_recvmsg_of_5_returned",
                "mptcp_recvmsg_of_5_returned_nested",
            ],
        ),
        Ok(_) => exit(
            "mptcp_recvmsg",
            &[
                "mptcp_recvmsg_of_4_returned",
                "mptcp_recvmsg_of_4_returned_nested",
            ],
        ),
        Err(_) => return Vec::new(),
    };
    [
        exit(
            "mptcp_sendmsg",
            &["mptcp_sendmsg_returned", "mptcp_sendmsg_returned_nested"],
        ),
        received,
    ]
    .map(|hook| hook.or(Degradation::MptcpUncounted))
    .to_vec()
}

impl Hook {
    /// The first to run where these may be held up.
    pub(super) fn first(&self, held_up: HeldUp) -> &'static str {
        match (held_up, self.alone) {
            (HeldUp::Nobody, Some(alone)) => alone,
            _ => self.turns[0],
        }
    }

    /// The programs to attach, in the order in which to do that so that they run in theirs.
    /// Tracepoints run the programs in the order of their attachment, the returns of functions in
    /// the opposite one (`hlist_add_head` in kernel/bpf/trampoline.c).
    pub(super) fn programs(&self, held_up: HeldUp) -> Vec<Hooked> {
        let others = match held_up {
            HeldUp::Nobody => &[],
            // Only the last acts in place of the one before without leaving a mark.
            HeldUp::One => &self.turns[self.turns.len() - 1..],
            HeldUp::Several => &self.turns[1..],
        };
        let first = std::iter::once(self.first(held_up));
        let mut programs: Vec<_> = first
            .chain(others.iter().copied())
            .map(|name| self.hooked(name))
            .collect();
        if let Point::Exit(_) = self.point {
            programs.reverse();
        }
        programs
    }

    /// The program as which these go on, which is not attached, and the name of the array for it.
    pub(super) fn acting(&self, held_up: HeldUp) -> Option<(Hooked, &'static str)> {
        if held_up == HeldUp::Nobody {
            return None;
        }
        self.acting
            .map(|Acting { program, array }| (self.hooked(program), array))
    }

    fn hooked(&self, name: &'static str) -> Hooked {
        let point = self.point;
        Hooked { name, point }
    }
}

impl Hooked {
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
