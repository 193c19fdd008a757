//! Cgroups of owners, and the containers that these are of.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    io::Read,
    net::TcpListener,
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Command as Process, Stdio},
    thread,
};

use conn_trace_tests::{
    agent::{self, Agent},
    cgroup::{Cgroup, remove},
    connz::Row,
    http::encoded,
    pair::Two,
    peer::{self, Peer},
    skip::{installed, skip},
    slowness::fewer,
    wait::{eventually, eventually_equal},
};
use nix::{
    fcntl::AT_FDCWD,
    libc,
    sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags},
};

const ID: &str = "3f5c1b2e9a7d4c6f8e0b1a2d3c4e5f60718293a4b5c6d7e8f9012a3b4c5d6e7f";

fn cgroup(test: &str) -> Option<Cgroup> {
    let made = Cgroup::new();
    if made.is_none() {
        skip(test, "no cgroup can be made at the root of a cgroup2 mount");
    }
    made
}

/// A peer in the cgroup of this directory.
fn peer_in(directory: &Path, name: &str) -> Peer {
    let mut command = Process::new(peer::program());
    command.arg("--cgroup").arg(directory);
    Peer::start_by(command, name)
}

fn place(row: &Row) -> (Option<&str>, Option<&str>) {
    (row.cgroup.as_deref(), row.container.as_deref())
}

#[test]
fn cgroup_and_container_of_both_ends() {
    let Some(group) = cgroup("cgroup_and_container_of_both_ends") else {
        return;
    };
    let agent = Agent::start();
    let outer = format!("docker/{ID}");
    let inner = format!("{outer}/lxc.payload.inner/system.slice");
    let client = peer_in(&group.make(&inner), "client");
    let server = peer_in(&group.make(&outer), "server");
    let mut two = Two::of(client, server, "127.0.0.1:0");
    let pair = two.open();
    two.forth(&pair, 1, 1);
    let (client, server) = (agent.open(&pair.client), agent.open(&pair.server));
    let (outer, inner) = (group.path(&outer), group.path(&inner));
    assert_eq!(place(&client), (Some(&*inner), Some("inner")));
    assert_eq!(place(&server), (Some(&*outer), Some(ID)));
    for (pattern, count) in [
        (inner.clone(), 1),
        (format!("{outer}*"), 2),
        (format!("{}*", group.path("docker")), 2),
        (group.path("docker"), 0),
    ] {
        let query = format!("cgroup={pattern}");
        assert_eq!(agent.connz(&query).total, count, "{pattern}");
    }
    // The owner is known, and so is its place when all is gone.
    assert!(two.client.exit().success());
    assert!(two.server.exit().success());
    drop(group);
    for (end, path) in [(&pair.client, &inner), (&pair.server, &outer)] {
        assert_eq!(agent.closed(end).cgroup.as_ref(), Some(path));
    }
    agent.stop();
}

#[test]
fn cgroup_of_silent_owners_older_than_the_agent() {
    let test = "cgroup_of_silent_owners_older_than_the_agent";
    let Some(group) = cgroup(test) else { return };
    let scope = format!("system.slice/docker-{ID}.scope");
    let client = peer_in(&group.make(&scope), "client");
    let server = peer_in(&group.make("plain"), "server");
    let mut two = Two::of(client, server, "127.0.0.1:0");
    let pair = two.open();
    let agent = Agent::start();
    let (client, server) = (agent.open(&pair.client), agent.open(&pair.server));
    assert_eq!([&*client.owner, &*server.owner], ["scan", "scan"]);
    assert_eq!(place(&client), (Some(&*group.path(&scope)), Some(ID)));
    assert_eq!(place(&server), (Some(&*group.path("plain")), None));
}

#[test]
fn cgroups_of_any_name_give_valid_json_and_can_be_asked_for() {
    let test = "cgroups_of_any_name_give_valid_json_and_can_be_asked_for";
    let Some(group) = cgroup(test) else { return };
    let agent = Agent::start();
    let mut server = Peer::start("server");
    let address = server.listen("127.0.0.1:0");
    let names: [(&[u8], &str); 5] = [
        (b"\"quoted\" \\ <script>", "\"quoted\" \\ <script>"),
        (b"\x01\t\x1b[31m\x7f", "\u{1}\t\u{1b}[31m\u{7f}"),
        (b"\xff\xfe", "\u{fffd}\u{fffd}"),
        ("é&cgroup=x+%41".as_bytes(), "é&cgroup=x+%41"),
        (b"a (deleted)", "a (deleted)"),
    ];
    for (name, shown) in names {
        let mut client = peer_in(&group.make(OsStr::from_bytes(name)), "client");
        let end = client.connect(address, 1)[0];
        let path = group.path(shown);
        assert_eq!(agent.open(&end).cgroup.as_ref(), Some(&path));
        let found = agent.rows(&format!("cgroup={}", encoded(&path)));
        assert_eq!(found.len(), 1, "{path:?}");
        assert_eq!(found[0].tuple(), (end.local, end.peer));
    }
}

/// Runs so many processes, each in a cgroup of its own that is removed as soon as it ended, and
/// gives the path of each by what it sent.
fn run_in_cgroups(group: &Cgroup, count: usize) -> (u16, HashMap<u64, String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    let server = thread::spawn(move || {
        for _ in 0..count {
            let (mut connection, _) = listener.accept().expect("a connection");
            connection.read_to_end(&mut Vec::new()).expect("its data");
        }
    });
    let truth = (1..=count)
        .map(|bytes| {
            // Every other one below a cgroup that is removed too.
            let name = format!("kubepods/pod{bytes}/{bytes:064x}");
            let directory = group.make(&name);
            let status = Process::new(peer::program())
                .args(["--name", "moment", "--once", &address.to_string()])
                .args(["--bytes", &bytes.to_string()])
                .arg("--cgroup")
                .arg(&directory)
                .stdin(Stdio::null())
                .status();
            assert!(status.expect("the peer starts").success());
            remove(&directory);
            if bytes % 2 == 0 {
                remove(directory.parent().expect("a cgroup"));
            }
            (bytes as u64, group.path(&name))
        })
        .collect();
    server.join().expect("the server");
    (address.port(), truth)
}

#[test]
fn containers_that_live_for_a_moment_are_named() {
    let test = "containers_that_live_for_a_moment_are_named";
    let Some(group) = cgroup(test) else { return };
    if !tells_of_removed_cgroups(group.mount()) {
        return skip(test, "this kernel does not tell which cgroups are removed");
    }
    let containers = fewer(1_000, 100) as usize;
    let agent = Agent::start();
    let (port, truth) = run_in_cgroups(&group, containers);
    let query = format!("state=closed&port={port}");
    eventually_equal("all are closed", &(containers as u64), || {
        agent.connz(&query).total
    });
    let rows = agent.rows(&query);
    let wrong: Vec<_> = rows
        .iter()
        .filter(|row| {
            let container = format!("{:064x}", row.out_bytes);
            place(row) != (Some(&*truth[&row.out_bytes]), Some(&*container))
        })
        .collect();
    assert!(wrong.is_empty(), "{} wrong: {:#?}", wrong.len(), wrong[0]);
}

#[test]
fn places_that_are_not_known_are_left_out_and_never_wrong() {
    const CONTAINERS: usize = 100;
    let test = "places_that_are_not_known_are_left_out_and_never_wrong";
    let Some(group) = cgroup(test) else { return };
    let Some([setpriv]) = installed(test, ["setpriv"]) else {
        return;
    };
    // Without the rights to open cgroups by their ids and to watch the hierarchy.
    let mut command = Process::new(setpriv);
    let dropped = "-dac_read_search,-dac_override,-sys_admin";
    command
        .args(["--inh-caps", dropped, "--bounding-set", dropped, "--"])
        .arg(agent::program());
    let agent = Agent::start_by(command, &[]);
    let mut two = Two::of(
        peer_in(&group.make("stays"), "client"),
        Peer::start("server"),
        "127.0.0.1:0",
    );
    let pair = two.open();
    let row = eventually("the cgroup is found", || {
        two.forth(&pair, 1, 1);
        let row = agent.open(&pair.client);
        row.cgroup.is_some().then_some(row)
    });
    assert_eq!(row.cgroup, Some(group.path("stays")));
    let (port, truth) = run_in_cgroups(&group, CONTAINERS);
    let query = format!("state=closed&port={port}");
    eventually_equal("all are closed", &(CONTAINERS as u64), || {
        agent.connz(&query).total
    });
    for row in agent.rows(&query) {
        assert_eq!(
            (&*row.owner, row.comm.as_deref()),
            ("exact", Some("moment"))
        );
        if let Some(path) = &row.cgroup {
            assert_eq!(path, &truth[&row.out_bytes]);
        }
        assert_eq!(row.cgroup.is_some(), row.container.is_some());
    }
}

#[test]
fn cgroups_are_left_out_where_only_a_part_of_them_is_seen() {
    let test = "cgroups_are_left_out_where_only_a_part_of_them_is_seen";
    let Some(group) = cgroup(test) else { return };
    let Some([unshare]) = installed(test, ["unshare"]) else {
        return;
    };
    // As in a container with a cgroup namespace: its own cgroup seems to be the root.
    let start = |script: &str| {
        let mut command = Process::new(&unshare);
        command
            .args(["--mount", "--propagation", "private", "sh", "-c"])
            .arg(script)
            .arg("sh")
            .arg(group.mount())
            .arg(group.make("agent"))
            .arg(agent::program());
        Agent::start_by(command, &[])
    };
    let enter = r#"mount=$1 && echo 0 > "$2/cgroup.procs" && shift 2"#;
    let inside = start(&format!(
        r#"{enter} && umount "$mount" && exec unshare --cgroup sh -c 'mount -t cgroup2 none "$0" && exec "$@"' "$mount" "$@""#
    ));
    // In such a namespace with the host's hierarchy mounted, paths are those of the host.
    let mounted = start(&format!(r#"{enter} && exec unshare --cgroup "$@""#));
    let mut two = Two::of(
        peer_in(&group.make("agent"), "client"),
        peer_in(&group.make("agent/below"), "server"),
        "127.0.0.1:0",
    );
    let pair = two.open();
    two.forth(&pair, 1, 1);
    for (end, path) in [(&pair.client, "agent"), (&pair.server, "agent/below")] {
        let row = inside.open(end);
        assert_eq!((&*row.owner, place(&row)), ("exact", (None, None)));
        assert_eq!(mounted.open(end).cgroup, Some(group.path(path)));
    }
    assert!(inside.log().contains("cgroup"), "{}", inside.log());
}

#[test]
fn containers_of_version_1_are_known_while_their_processes_live() {
    let test = "containers_of_version_1_are_known_while_their_processes_live";
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the mounts");
    let Some(mount) = mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        (fields[2] == "cgroup" && fields[3].contains("pids")).then_some(fields[1])
    }) else {
        return skip(test, "no cgroup hierarchy of version 1 is mounted");
    };
    let directory = Path::new(mount).join("docker").join(ID);
    if fs::create_dir_all(&directory).is_err() {
        return skip(test, "no cgroup of version 1 can be made");
    }
    let mut two = Two::of(
        peer_in(&directory, "client"),
        peer_in(&directory, "server"),
        "127.0.0.1:0",
    );
    let silent = two.open();
    let agent = Agent::start();
    let used = two.open();
    two.forth(&used, 1, 1);
    for pair in [&silent, &used] {
        for end in [&pair.client, &pair.server] {
            let row = agent.open(end);
            assert_eq!(row.container.as_deref(), Some(ID), "{row:#?}");
        }
    }
    assert!(two.client.exit().success());
    assert!(two.server.exit().success());
    for end in [&used.client, &used.server] {
        assert_eq!(agent.closed(end).container.as_deref(), Some(ID));
    }
    remove(&directory);
    // Others may be in use.
    let _ = fs::remove_dir(directory.parent().expect("a directory"));
}

/// Whether the kernel lets the hierarchy be watched, with the names of what is removed.
fn tells_of_removed_cgroups(mount: &Path) -> bool {
    let names = libc::FAN_REPORT_DFID_NAME_TARGET;
    Fanotify::init(InitFlags::from_bits_retain(names), EventFFlags::O_RDONLY)
        .and_then(|events| {
            events.mark(
                MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM,
                MaskFlags::FAN_DELETE | MaskFlags::FAN_ONDIR,
                AT_FDCWD,
                Some(mount),
            )
        })
        .is_ok()
}
