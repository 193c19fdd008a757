//! The state against sequences of events and pages.

use jiff::Timestamp;

use super::{Change, Counts, Gaps, Page, REMEMBERED, Row, State, What};
use crate::watch::row::tests::row;

fn at(seconds: &str) -> Timestamp {
    let text = format!("2026-11-21T12:00:{seconds}Z");
    text.parse().expect("a time")
}

fn page(now: &str, connections: Vec<Row>) -> Page {
    Page {
        run: at("00"),
        now: at(now),
        connections,
    }
}

fn started(cid: u64, start: &str) -> Row {
    Row {
        start: at(start),
        ..row(cid)
    }
}

fn attempt(cid: u64, start: &str) -> Row {
    Row {
        state: "SYN_SENT".to_owned(),
        ..started(cid, start)
    }
}

fn closed(row: Row, stop: &str, cause: &str) -> Row {
    Row {
        state: "CLOSED".to_owned(),
        stop: Some(at(stop)),
        close_cause: Some(cause.to_owned()),
        ..row
    }
}

fn open(state: &mut State, cid: u64, start: &str) -> Option<Change> {
    let told = state.apply(What::Opened {
        connection: attempt(cid, start),
    });
    assert!(told.is_none(), "{told:?}");
    state.apply(What::Established {
        connection: started(cid, start),
    })
}

fn close(state: &mut State, row: Row) -> Option<Change> {
    state.apply(What::Closed { connection: row })
}

/// One open since before the watch, one that came and went, one that came, one that was refused.
pub(in crate::watch) fn busy() -> State {
    let (mut state, _) = State::begin(page("00", vec![row(1)]));
    open(&mut state, 2, "01");
    open(&mut state, 3, "02");
    let moved = Row {
        in_bytes: 7,
        in_msgs: 1,
        out_bytes: 9,
        out_msgs: 2,
        ..started(2, "01")
    };
    close(&mut state, closed(moved, "03.5", "peer_fin"));
    state.apply(What::Opened {
        connection: attempt(4, "04"),
    });
    close(&mut state, closed(attempt(4, "04"), "04", "refused"));
    state
}

/// What changes say, in short.
fn short(changes: &[Change]) -> Vec<(&'static str, u64)> {
    let short = |change: &Change| match change {
        Change::Open(row) => ("open", row.cid),
        Change::New(row) => ("new", row.cid),
        Change::Ended(ended) if ended.is_unseen => ("vanished", ended.row.cid),
        Change::Ended(ended) => ("ended", ended.row.cid),
        Change::Failed(failed) => ("failed", failed.row.cid),
    };
    changes.iter().map(short).collect()
}

#[test]
fn total_counts_openings_and_those_open_at_the_start_but_no_failures() {
    let state = busy();
    let expected = Counts {
        at_start: 1,
        opened: 2,
        ended: 1,
        failed: 1,
    };
    assert_eq!((state.counts, state.counts.total()), (expected, 3));
    assert_eq!(state.current(), 2);
    assert_eq!((state.peak().connections, state.peak().time), (3, at("02")));
    assert_eq!(state.gaps, Gaps::default());
}

#[test]
fn begin_takes_what_is_open_and_waits_for_attempts() {
    let before = closed(started(1, "00"), "00.5", "local_fin");
    let (mut state, changes) = State::begin(page(
        "01",
        vec![before.clone(), started(2, "00"), attempt(3, "00.9")],
    ));
    assert_eq!(short(&changes), [("open", 2)]);
    assert_eq!((state.peak().connections, state.peak().time), (1, at("01")));
    // What the page has said already is no news, in whichever order events come.
    assert!(open(&mut state, 2, "00").is_none());
    assert!(open(&mut state, 1, "00").is_none());
    assert!(close(&mut state, before).is_none());
    let established = state.apply(What::Established {
        connection: started(3, "00.9"),
    });
    assert!(matches!(established, Some(Change::New(row)) if row.cid == 3));
    let ended = close(&mut state, closed(started(2, "00"), "02", "local_fin"));
    let Some(Change::Ended(ended)) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(ended.duration().as_secs(), 2);
    assert_eq!((state.counts.total(), state.current()), (2, 1));
}

#[test]
fn history_is_bounded() {
    let (mut state, _) = State::begin(page("00", Vec::new()));
    for cid in 1..=30 {
        open(&mut state, cid, "01");
        close(&mut state, closed(started(cid, "01"), "02", "local_fin"));
        let cid = 100 + cid;
        state.apply(What::Opened {
            connection: attempt(cid, "02"),
        });
        close(&mut state, closed(attempt(cid, "02"), "02", "timeout"));
    }
    let last = |list: &std::collections::VecDeque<super::Ended>| {
        (list.len(), list.back().map(|ended| ended.row.cid))
    };
    assert_eq!(last(&state.ended), (REMEMBERED, Some(30)));
    assert_eq!(last(&state.failed), (REMEMBERED, Some(130)));
    assert_eq!((state.counts.opened, state.counts.failed), (30, 30));
    assert_eq!((state.current(), state.attempts.len()), (0, 0));
}

#[test]
fn what_is_older_than_the_agent_and_shows_late_was_open_at_the_start() {
    let (mut state, _) = State::begin(page("01", vec![row(1)]));
    let old = |cid| Row {
        preexisting: true,
        ..row(cid)
    };
    let moved = Row {
        in_bytes: 5,
        ..row(1)
    };
    // The opening of 3 is still to be told.
    let changes = state.refresh(page("02", vec![moved, old(2), started(3, "01.5")]));
    assert_eq!(short(&changes), [("open", 2)]);
    assert_eq!(state.active[&1].in_bytes, 5);
    assert!(open(&mut state, 3, "01.5").is_some());
    let ended = close(&mut state, closed(old(4), "03", "peer_fin"));
    assert!(matches!(ended, Some(Change::Ended(_))));
    let counts = state.counts;
    assert_eq!((counts.at_start, counts.opened, counts.ended), (3, 1, 1));
    // It is not found again on a page.
    let known = vec![
        row(1),
        old(2),
        started(3, "01.5"),
        closed(old(4), "03", "peer_fin"),
    ];
    assert!(state.catch_up(page("04", known)).is_empty());
    assert_eq!(state.counts, counts);
}

#[test]
fn page_makes_up_for_lost_events() {
    let mut state = busy();
    state.apply(What::Opened {
        connection: attempt(5, "04"),
    });
    state.apply(What::Lost { lost: Some(9) });
    let moved = |row| Row {
        out_bytes: 1,
        ..row
    };
    let rows = vec![
        // Both known, and told as ended.
        closed(started(2, "01"), "03.5", "peer_fin"),
        closed(attempt(4, "04"), "04", "refused"),
        // Open before, ended in between.
        closed(started(3, "02"), "05", "peer_reset"),
        // The attempt has become a connection, and others came and went.
        closed(moved(started(5, "04")), "05", "timeout"),
        closed(moved(started(6, "05")), "05.1", "local_fin"),
        closed(attempt(7, "05"), "05", "refused"),
        started(8, "05"),
        attempt(9, "05"),
    ];
    let changes = state.catch_up(page("06", rows));
    let expected = [
        ("ended", 3),
        ("new", 5),
        ("ended", 5),
        ("new", 6),
        ("ended", 6),
        ("failed", 7),
        ("new", 8),
        // Open before, and nowhere any more.
        ("vanished", 1),
    ];
    assert_eq!(short(&changes), expected);
    let counts = Counts {
        at_start: 1,
        opened: 5,
        ended: 5,
        failed: 2,
    };
    assert_eq!((state.counts, state.current()), (counts, 1));
    assert_eq!((state.gaps.times, state.gaps.events), (1, 9));
    // Events that came in between are those that the page has shown.
    assert!(open(&mut state, 6, "05").is_none());
    assert!(close(&mut state, closed(started(6, "05"), "05.1", "local_fin")).is_none());
    assert!(open(&mut state, 8, "05").is_none());
    let established = state.apply(What::Established {
        connection: started(9, "05"),
    });
    assert!(established.is_some());
    assert!(open(&mut state, 10, "06").is_some());
    assert_eq!((state.counts.opened, state.current()), (7, 3));
}

#[test]
fn another_run_of_the_agent_is_known_by_both_ends_of_connections() {
    let mut state = busy();
    state.apply(What::Lost { lost: None });
    let ends_of = |cid: u64, of: u64, start| Row {
        local_port: row(of).local_port,
        preexisting: true,
        start_estimated: true,
        ..started(cid, start)
    };
    let rows = vec![
        // 1 and 3 under other numbers; and what opened while nobody looked, or just now.
        ends_of(2, 1, "05"),
        closed(ends_of(3, 3, "05"), "06", "killed"),
        ends_of(4, 20, "05"),
        started(5, "06"),
        closed(started(6, "06"), "06.5", "peer_fin"),
    ];
    let next = Page {
        run: at("05"),
        ..page("07", rows)
    };
    let changes = state.catch_up(next);
    let expected = [
        ("ended", 3),
        ("new", 6),
        ("ended", 6),
        ("new", 4),
        ("new", 5),
    ];
    assert_eq!(short(&changes), expected);
    assert_eq!(state.active.keys().copied().collect::<Vec<_>>(), [2, 4, 5]);
    assert_eq!((state.gaps.times, state.gaps.unknown), (1, 1));
    assert_eq!((state.counts.at_start, state.counts.opened), (1, 5));
    // The agent tells again what it remembers.
    assert!(open(&mut state, 6, "06").is_none());
    assert!(open(&mut state, 7, "07").is_some());
    // The figures of an agent that is not followed yet are not taken.
    let page = page("08", vec![row(9)]);
    assert!(state.refresh(page).is_empty() && state.counted_at == at("07"));
}
