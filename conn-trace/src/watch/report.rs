//! The report at the end.

use std::{
    fs::Permissions,
    io::Write,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use tempfile::Builder;

use super::{entry::Entry, state::State, target::Target};

/// Read and write for everybody whom the umask lets.
const MODE: u32 = 0o666;

/// What there was, from `since` to `timestamp`.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    timestamp: Timestamp,
    since: Timestamp,
    downstream_server: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_port: Option<u16>,
    ended_by: &'static str,
    /// When the figures of the active connections were right.
    counted_at: Timestamp,
    stats: Stats,
    gaps: Gaps,
    active_connections: Vec<Entry<'a>>,
    recent_disconnected: Vec<Entry<'a>>,
    recent_failed: Vec<Entry<'a>>,
}

/// How many there were. Failed attempts are no connections.
#[derive(Debug, Serialize)]
pub(super) struct Stats {
    total_connections: u64,
    current_connections: u64,
    peak_connections: u64,
    peak_time: Timestamp,
    open_at_start: u64,
    opened: u64,
    ended: u64,
    failed_attempts: u64,
}

impl Stats {
    pub(super) fn of(state: &State) -> Self {
        let counts = state.counts;
        let peak = state.peak();
        Self {
            total_connections: counts.total(),
            current_connections: state.current(),
            peak_connections: peak.connections,
            peak_time: peak.time,
            open_at_start: counts.at_start,
            opened: counts.opened,
            ended: counts.ended,
            failed_attempts: counts.failed,
        }
    }
}

/// What the agent could not tell: how often, how many events, and how often nobody knows how many.
#[derive(Debug, Serialize)]
struct Gaps {
    times: u64,
    lost_events: u64,
    unknown: u64,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        state: &'a State,
        target: &'a Target,
        ended_by: &'static str,
        now: Timestamp,
    ) -> Self {
        let active = state.active.values();
        Self {
            timestamp: now,
            since: state.since,
            downstream_server: &target.ip,
            port: target.port,
            min_port: target.ports.map(|(low, _)| low),
            max_port: target.ports.map(|(_, high)| high),
            ended_by,
            counted_at: state.counted_at,
            stats: Stats::of(state),
            gaps: Gaps {
                times: state.gaps.times,
                lost_events: state.gaps.events,
                unknown: state.gaps.unknown,
            },
            active_connections: active.map(|row| Entry::active(row, now)).collect(),
            recent_disconnected: state.ended.iter().map(Entry::ended).collect(),
            recent_failed: state.failed.iter().map(Entry::ended).collect(),
        }
    }

    /// Writes it: the file is there as a whole, or as it was.
    ///
    /// # Errors
    /// If it cannot be written, with its name.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        self.replace(path)
            .with_context(|| format!("cannot write the report {}", path.display()))
    }

    fn replace(&self, path: &Path) -> Result<()> {
        let mut file = Builder::new()
            .permissions(Permissions::from_mode(MODE))
            .tempfile_in(directory(path))?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }
}

/// Where the report goes: where it is said, or into the current directory under the time of its end.
pub(super) fn path(given: Option<&Path>, now: Timestamp) -> PathBuf {
    let name = || {
        let time = now.to_zoned(TimeZone::UTC);
        time.strftime("fix_connections_%Y%m%d_%H%M%S.json")
            .to_string()
            .into()
    };
    given.map_or_else(name, Path::to_owned)
}

/// Says at the start what would be in vain at the end.
///
/// # Errors
/// If the directory of the report is none, with its name.
pub(super) fn check(path: &Path) -> Result<()> {
    ensure!(
        directory(path).is_dir() && !path.is_dir(),
        "cannot write the report {}: no such directory, or it is one itself",
        path.display()
    );
    Ok(())
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::{Report, check, path};
    use crate::watch::{state::tests::busy, target::Target};

    fn target() -> Target {
        Target {
            ip: "10.0.0.1".to_owned(),
            port: None,
            ports: Some((9000, 10_000)),
        }
    }

    #[test]
    fn report_has_the_keys_that_its_readers_know_and_what_is_exact_besides() {
        let state = busy();
        let now = "2026-11-21T12:00:10Z".parse().expect("a time");
        let target = target();
        let report = Report::new(&state, &target, "SIGINT", now);
        let value = serde_json::to_value(&report).expect("JSON");
        assert_eq!(
            (&value["timestamp"], &value["downstream_server"]),
            (&json!("2026-11-21T12:00:10Z"), &json!("10.0.0.1"))
        );
        assert_eq!(
            value["stats"],
            json!({
                "total_connections": 3, "current_connections": 2, "peak_connections": 3,
                "peak_time": "2026-11-21T12:00:02Z", "open_at_start": 1, "opened": 2, "ended": 1,
                "failed_attempts": 1,
            })
        );
        let ids = |list: &Value| -> Vec<u64> {
            let list = list.as_array().expect("a list");
            let numbers = list.iter().map(|entry| entry["cid"].as_u64());
            numbers.map(|number| number.expect("a number")).collect()
        };
        assert_eq!(ids(&value["active_connections"]), [1, 3]);
        assert_eq!(
            value["recent_disconnected"],
            json!([{
                "connection_id": "10.0.0.5:40002->10.0.0.1:9878", "cid": 2, "direction": "out",
                "start_time": "2026-11-21T12:00:01Z", "end_time": "2026-11-21T12:00:03.5Z",
                "duration_seconds": 2.5, "local_addr": "10.0.0.5:40002",
                "remote_addr": "10.0.0.1:9878", "local_port": 40_002, "remote_port": 9878,
                "in_bytes": 7, "out_bytes": 9, "in_msgs": 1, "out_msgs": 2,
                "close_cause": "peer_fin", "owner": "exact", "pid": 812, "comm": "gateway",
            }])
        );
        let active = &value["active_connections"][0];
        assert_eq!(
            (&active["duration_seconds"], &active["end_time"]),
            (&json!(10.0), &Value::Null)
        );
        assert_eq!(ids(&value["recent_failed"]), [4]);
        assert_eq!(
            value["gaps"],
            json!({"times": 0, "lost_events": 0, "unknown": 0})
        );
    }

    #[test]
    fn file_is_replaced_as_a_whole() {
        let directory = TempDir::new().expect("a directory");
        let now = "2026-01-02T03:04:05.9Z".parse().expect("a time");
        let name = directory.path().join("report.json");
        fs::write(&name, "before").expect("a file");
        let (state, target) = (busy(), target());
        let report = Report::new(&state, &target, "SIGTERM", now);
        report.write(&name).expect("a report");
        let text = fs::read_to_string(&name).expect("a report");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["ended_by"], "SIGTERM");
        assert_eq!(fs::read_dir(&directory).expect("files").count(), 1);

        let nowhere = directory.path().join("none/report.json");
        for error in [
            report.write(&nowhere).expect_err("no directory"),
            check(&nowhere).expect_err("no directory"),
            check(directory.path()).expect_err("a directory"),
        ] {
            let message = format!("{error:#}");
            let name = directory.path().display().to_string();
            assert!(message.contains(&name), "{message}");
        }
        check(&name).expect("a file");
        assert_eq!(
            path(None, now),
            Path::new("fix_connections_20260102_030405.json")
        );
        assert_eq!(path(Some(&name), now), name);
        check(Path::new("report.json")).expect("here");
    }
}
