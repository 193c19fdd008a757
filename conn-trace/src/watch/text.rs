//! What is printed, as lines for people.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};

use super::{
    item::Item,
    row::Row,
    state::{Change, Ended, State},
};
use crate::terminal::printable;

/// The lines of an item.
pub(super) fn lines(item: &Item<'_>) -> String {
    let now_line = |now, word, rest: &str| format!("{} {word:<6} {rest}\n", time(now));
    match *item {
        Item::Begins { state, what } => now_line(state.since, "watch", what),
        Item::Change(change) => match change {
            Change::Open(row) => now_line(
                row.start,
                "open",
                &format!("{}, since {:.6}{}", about(row), row.start, estimated(row)),
            ),
            Change::New(row) => now_line(row.start, "new", &about(row)),
            Change::Ended(ended) => now_line(ended.stop, "ended", &end(ended)),
            Change::Failed(failed) => now_line(failed.stop, "failed", &failure(failed)),
        },
        Item::Statistics(state, now) => statistics(state, now),
        Item::Lost(lost, now) => {
            let count = lost.map_or_else(
                || "an unknown number of".to_owned(),
                |lost| lost.to_string(),
            );
            let rest = format!("{count} events of any connection; what they changed is read anew");
            now_line(now, "lost", &rest)
        }
        Item::Gone(patience, now) => {
            let rest = format!("does not answer; waiting for {patience} s");
            now_line(now, "agent", &rest)
        }
        Item::Back(now) => now_line(now, "agent", "answers again"),
        Item::Report(path, now) => now_line(now, "report", &printable(path)),
    }
}

fn statistics(state: &State, now: Timestamp) -> String {
    let counts = state.counts;
    let peak = state.peak();
    let mut text = format!(
        "{} stats  {} now, {} in total ({} open at the start, {} opened since), peak {} at {}, {} failed attempts",
        time(now),
        state.current(),
        counts.total(),
        counts.at_start,
        counts.opened,
        peak.connections,
        time(peak.time),
        counts.failed,
    );
    let gaps = state.gaps;
    if gaps.times > 0 {
        let unknown = if gaps.unknown > 0 { " or more" } else { "" };
        // Writing to a string does not fail.
        let _ = write!(
            text,
            ", {}{unknown} events lost in {} gaps",
            gaps.events, gaps.times
        );
    }
    text.push('\n');
    for row in state.active.values() {
        let age = age(now.duration_since(row.start), false);
        let _ = writeln!(
            text,
            "    active {}, for {age}, since {:.6}{}, {}",
            about(row),
            row.start,
            estimated(row),
            moved(row),
        );
    }
    for ended in state.last_ended() {
        let _ = writeln!(text, "    ended  {}", end(ended));
    }
    text
}

fn about(row: &Row) -> String {
    match (&row.comm, row.pid) {
        (Some(comm), Some(pid)) => format!("{}  {}[{pid}]", row.id(), printable(comm)),
        _ => row.id(),
    }
}

fn estimated(row: &Row) -> &'static str {
    match row.start_estimated {
        true => " or before",
        false => "",
    }
}

fn end(ended: &Ended) -> String {
    let cause = match ended.is_unseen {
        true => "not seen to end",
        false => cause(&ended.row),
    };
    let lived = age(ended.duration(), true);
    format!(
        "{}, after {lived}, {cause}, {}",
        about(&ended.row),
        moved(&ended.row)
    )
}

fn failure(failed: &Ended) -> String {
    let tried = age(failed.duration(), true);
    format!(
        "{}, {}, after {tried}",
        about(&failed.row),
        cause(&failed.row)
    )
}

fn cause(row: &Row) -> &str {
    row.close_cause.as_deref().unwrap_or("unknown")
}

fn moved(row: &Row) -> String {
    format!(
        "in {} bytes #{}, out {} bytes #{}",
        row.in_bytes, row.in_msgs, row.out_bytes, row.out_msgs
    )
}

fn time(time: Timestamp) -> impl std::fmt::Display {
    time.strftime("%H:%M:%S%.6fZ")
}

/// Hours, minutes, seconds, and microseconds if `is_exact`. Clocks may have been set.
fn age(age: SignedDuration, is_exact: bool) -> String {
    let seconds = age.as_secs().max(0);
    let text = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    match is_exact {
        true => format!("{text}.{:06}", age.subsec_micros().max(0)),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use crate::cli::TraceFormat;
    use crate::watch::{
        item::Item,
        row::{Row, tests::row},
        state::{Change, Ended, tests::busy},
    };

    fn now() -> Timestamp {
        "2026-11-21T13:01:05.25Z".parse().expect("a time")
    }

    fn text(item: &Item<'_>) -> String {
        item.lines(TraceFormat::Text).expect("lines")
    }

    fn json(item: &Item<'_>) -> Value {
        let line = item.lines(TraceFormat::Ndjson).expect("a line");
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        serde_json::from_str(&line).expect("JSON")
    }

    #[test]
    fn statistics_are_a_block_for_people_and_a_line_for_programs() {
        let mut state = busy();
        state.note_gap(Some(12));
        state.note_gap(None);
        let item = Item::Statistics(&state, now());
        let expected = "\
13:01:05.250000Z stats  2 now, 3 in total (1 open at the start, 2 opened since), peak 3 at 12:00:02.000000Z, 1 failed attempts, 12 or more events lost in 2 gaps
    active 10.0.0.5:40001->10.0.0.1:9878  gateway[812], for 01:01:05, since 2026-11-21T12:00:00.000000Z, in 0 bytes #0, out 0 bytes #0
    active 10.0.0.5:40003->10.0.0.1:9878  gateway[812], for 01:01:03, since 2026-11-21T12:00:02.000000Z, in 0 bytes #0, out 0 bytes #0
    ended  10.0.0.5:40002->10.0.0.1:9878  gateway[812], after 00:00:02.500000, peer_fin, in 7 bytes #1, out 9 bytes #2
";
        assert_eq!(text(&item), expected);
        let value = json(&item);
        assert_eq!(
            (&value["event"], &value["stats"]["failed_attempts"]),
            (&json!("statistics"), &json!(1))
        );
        assert_eq!(value["active_connections"][1]["cid"], 3);
        assert_eq!(value["recent_disconnected"][0]["duration_seconds"], 2.5);
    }

    #[test]
    fn each_change_is_a_line() {
        let named = Row {
            comm: Some("a\x1bb".to_owned()),
            start_estimated: true,
            ..row(7)
        };
        let ended = |is_unseen, cause: &str| Ended {
            row: Row {
                close_cause: Some(cause.to_owned()),
                pid: None,
                ..row(7)
            },
            stop: "2026-11-21T12:00:00.001234Z".parse().expect("a time"),
            is_unseen,
        };
        let both = "10.0.0.5:40007->10.0.0.1:9878";
        for (change, line, event) in [
            (
                Change::Open(named.clone()),
                format!(
                    "12:00:00.000000Z open   {both}  a\\u{{1b}}b[812], since 2026-11-21T12:00:00.000000Z or before\n"
                ),
                "open",
            ),
            (
                Change::New(named),
                format!("12:00:00.000000Z new    {both}  a\\u{{1b}}b[812]\n"),
                "new",
            ),
            (
                Change::Ended(ended(false, "local_fin")),
                format!(
                    "12:00:00.001234Z ended  {both}, after 00:00:00.001234, local_fin, in 0 bytes #0, out 0 bytes #0\n"
                ),
                "ended",
            ),
            (
                Change::Ended(ended(true, "unknown")),
                format!(
                    "12:00:00.001234Z ended  {both}, after 00:00:00.001234, not seen to end, in 0 bytes #0, out 0 bytes #0\n"
                ),
                "ended",
            ),
            (
                Change::Failed(ended(false, "refused")),
                format!("12:00:00.001234Z failed {both}, refused, after 00:00:00.001234\n"),
                "failed",
            ),
        ] {
            let item = Item::Change(&change);
            assert_eq!(text(&item), line);
            let value = json(&item);
            assert_eq!(
                (&value["event"], &value["connection_id"]),
                (&json!(event), &json!(both))
            );
        }
    }

    #[test]
    fn gaps_are_told() {
        for (item, part, expected) in [
            (
                Item::Lost(Some(5), now()),
                "lost   5 events",
                json!({"event": "lost", "time": now(), "lost": 5}),
            ),
            (
                Item::Lost(None, now()),
                "lost   an unknown number of events",
                json!({"event": "lost", "time": now()}),
            ),
            (
                Item::Gone(10, now()),
                "agent  does not answer; waiting for 10 s",
                json!({"event": "agent_gone", "time": now(), "patience_seconds": 10}),
            ),
            (
                Item::Back(now()),
                "agent  answers again",
                json!({"event": "agent_back", "time": now()}),
            ),
        ] {
            assert!(text(&item).contains(part), "{}", text(&item));
            assert_eq!(json(&item), expected);
        }
    }
}
