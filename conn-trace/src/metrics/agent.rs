//! The agent about itself.

use std::fmt;

use jiff::Timestamp;

use super::{
    Exposition, Process,
    writer::{PLAIN, Writer},
};
use crate::{
    kernel::degradation::Degradation,
    registry::snapshot::{Losses, Status, Tracing},
};

/// Writes what there is of the agent alone.
pub(super) fn write(writer: &mut Writer<'_>, exposition: &Exposition) -> fmt::Result {
    let Exposition {
        report,
        version,
        process,
        last_scrape,
        ..
    } = exposition;
    writer.info(
        "conntrace_build",
        "Version of the agent.",
        &[("version", version)],
    )?;
    gauge(
        writer,
        "conntrace_undecided_connections",
        "Open connections of which it is not known yet where they belong; they count at the host alone.",
        report.undecided,
    )?;
    of_status(writer, &report.status)?;
    of_losses(writer, &report.status)?;
    writer.counters(
        "conntrace_program_runs",
        "Runs of each kernel program, where kernel.bpf_stats_enabled is on.",
        report
            .programs
            .iter()
            .map(|one| ([("program", &*one.program)], one.runs)),
    )?;
    writer.counters(
        "conntrace_program_run_seconds",
        "Time that each kernel program took, where kernel.bpf_stats_enabled is on.",
        report
            .programs
            .iter()
            .map(|one| ([("program", &*one.program)], one.run_time_ns as f64 / 1e9)),
    )?;
    writer.gauges(
        "conntrace_scrape_duration_seconds",
        "How long the answer before this one took.",
        last_scrape.map(|took| (PLAIN, took.as_secs_f64())),
    )?;
    of_process(writer, process)
}

fn of_status(writer: &mut Writer<'_>, status: &Status) -> fmt::Result {
    let Tracing {
        readers,
        connections,
        messages,
        lost,
    } = status.tracing;
    for (name, help, value) in [
        (
            "conntrace_hooks_attached",
            "Whether all hooks are attached.",
            u64::from(status.attached),
        ),
        (
            "conntrace_table_capacity_connections",
            "Connections that the table in the kernel takes.",
            status.capacity,
        ),
        (
            "conntrace_table_used_connections",
            "Of these, taken.",
            status.used,
        ),
        (
            "conntrace_kernel_memory_bytes",
            "Memory of the maps in the kernel.",
            status.kernel_memory_bytes,
        ),
        (
            "conntrace_history_connections",
            "Closed connections that are remembered.",
            status.history,
        ),
        (
            "conntrace_history_capacity_connections",
            "Of these, at most.",
            status.history_capacity,
        ),
        (
            "conntrace_trace_readers",
            "Readers of the messages of single connections.",
            readers,
        ),
        (
            "conntrace_traced_connections",
            "Connections whose messages they get.",
            connections,
        ),
    ] {
        gauge(writer, name, help, value)?;
    }
    for (name, help, value) in [
        (
            "conntrace_ring_records",
            "Records of openings and ends that were taken from the ring.",
            status.ring_records,
        ),
        (
            "conntrace_traced_messages",
            "Messages that the kernel has told readers of.",
            messages,
        ),
        (
            "conntrace_traced_messages_lost",
            "Messages that had no room in the ring, or in front of a reader: one for each such reader.",
            lost,
        ),
        (
            "conntrace_first_bytes_lost",
            "Records of first bytes that had no room in the ring: what the connection speaks stays unknown.",
            status.first_bytes.lost,
        ),
        (
            "conntrace_first_bytes_unseen",
            "Receive calls whose first bytes were wanted and could not be found.",
            status.first_bytes.unseen,
        ),
        (
            "conntrace_messages_after_end",
            "Messages that belong to no connection and are no loss.",
            status.messages_after_end,
        ),
    ] {
        counter(writer, name, help, value)?;
    }
    writer.gauges(
        "conntrace_degradations",
        "What is not known on this kernel, by code.",
        Degradation::CODES.map(|code| {
            let all = status.degradations.iter();
            let count = all.filter(|one| one.code() == code).count() as u64;
            ([("code", code)], count)
        }),
    )
}

fn of_losses(writer: &mut Writer<'_>, status: &Status) -> fmt::Result {
    let Losses {
        untracked,
        untracked_messages,
        ring_records,
        ring_closed,
        missed_runs,
        missed_ends,
    } = status.losses;
    for (name, help, value) in [
        (
            "conntrace_untracked_connections",
            "Connections without a slot in the table.",
            untracked,
        ),
        (
            "conntrace_untracked_messages",
            "Messages on such connections.",
            untracked_messages,
        ),
        (
            "conntrace_missed_runs",
            "Events that the kernel did not show, and that no other program made up for.",
            missed_runs,
        ),
        (
            "conntrace_missed_ends",
            "Connections whose end the kernel did not show.",
            missed_ends,
        ),
    ] {
        counter(writer, name, help, value)?;
    }
    writer.counters(
        "conntrace_ring_lost_records",
        "Records that found no room in the ring; made up for from the table.",
        [("opening", ring_records), ("end", ring_closed)]
            .map(|(record, count)| ([("record", record)], count)),
    )?;
    writer.gauges(
        "conntrace_last_loss_timestamp_seconds",
        "When a loss was last noticed.",
        status.last_loss.map(|at| (PLAIN, seconds(at))),
    )
}

/// Under the names that every exporter has.
fn of_process(writer: &mut Writer<'_>, process: &Process) -> fmt::Result {
    writer.gauges(
        "process_resident_memory_bytes",
        "Resident memory of the agent.",
        process.resident_bytes.map(|bytes| (PLAIN, bytes)),
    )?;
    writer.counters(
        "process_cpu_seconds",
        "User and system time of the agent.",
        process.cpu_time.map(|time| (PLAIN, time.as_secs_f64())),
    )?;
    writer.gauges(
        "process_open_fds",
        "Open file descriptors of the agent.",
        process.open_fds.map(|count| (PLAIN, count)),
    )?;
    writer.gauges(
        "process_start_time_seconds",
        "When the agent started.",
        [(PLAIN, seconds(process.start))],
    )
}

fn gauge(writer: &mut Writer<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    writer.gauges(name, help, [(PLAIN, value)])
}

fn counter(writer: &mut Writer<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    writer.counters(name, help, [(PLAIN, value)])
}

fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}
