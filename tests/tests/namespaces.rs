//! Processes and connections in pid and network namespaces.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command as Process, Stdio},
};

use conn_trace_tests::{
    agent::{self, Agent, free_address},
    connz::Row,
    netns::{Namespace, connected_in},
    pair::{Two, matched},
    peer::{self, Peer},
    skip::{installed, skip},
    wait::eventually,
};

/// Whether this user may make namespaces of this kind with unshare(1).
fn may_unshare(test: &str, kind: &str) -> bool {
    let Some([unshare]) = installed(test, ["unshare"]) else {
        return false;
    };
    let may = Process::new(unshare)
        .args([kind, "--fork", "true"])
        .status()
        .is_ok_and(|status| status.success());
    if !may {
        skip(test, &format!("unshare {kind} is refused"));
    }
    may
}

/// A command that runs a program in a pid namespace of its own, with its `/proc`.
fn in_pid_namespace(program: &Path) -> Process {
    let mut command = Process::new("unshare");
    command
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(program);
    command
}

/// The process that `unshare --fork` runs: its only child.
fn child_of(pid: u32) -> u32 {
    eventually("unshare has a child", || {
        let parent = format!("PPid:\t{pid}\n");
        fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
            let status = fs::read_to_string(process.path().join("status")).ok()?;
            status
                .contains(&parent)
                .then(|| process.file_name().to_str()?.parse().ok())?
        })
    })
}

/// The ids of a process in all pid namespaces that it is in, the outermost first.
fn ids_of(pid: u32) -> Vec<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process");
    let ids = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .expect("NSpid");
    ids.split_whitespace()
        .map(|id| id.parse().expect("a number"))
        .collect()
}

fn owner(row: &Row) -> (&str, Option<u32>, Option<&str>) {
    (&row.owner, row.pid, row.comm.as_deref())
}

#[test]
fn processes_in_pid_namespaces_have_the_pid_of_the_host() {
    let test = "processes_in_pid_namespaces_have_the_pid_of_the_host";
    if !may_unshare(test, "--pid") {
        return;
    }
    let inside = |name: &str| {
        let peer = Peer::start_by(in_pid_namespace(&peer::program()), name);
        let pid = child_of(peer.pid());
        (peer, pid)
    };
    let ((client, client_pid), (server, server_pid)) = (inside("client"), inside("server"));
    let mut two = Two::of(client, server, "127.0.0.1:0");
    // Each is the first process of its namespace.
    assert_eq!(ids_of(client_pid), [client_pid, 1]);
    assert_eq!(ids_of(server_pid), [server_pid, 1]);
    let silent = two.open();
    let agent = Agent::start();
    let used = two.open();
    two.forth(&used, 1, 1);
    for (pair, known) in [(&silent, "scan"), (&used, "exact")] {
        let (client, server) = (agent.open(&pair.client), agent.open(&pair.server));
        assert_eq!(owner(&client), (known, Some(client_pid), Some("client")));
        assert_eq!(owner(&server), (known, Some(server_pid), Some("server")));
    }
}

#[test]
fn agent_in_a_pid_namespace_has_the_pids_of_the_host_or_none() {
    let test = "agent_in_a_pid_namespace_has_the_pids_of_the_host_or_none";
    if !may_unshare(test, "--pid") {
        return;
    }
    let mut two = Two::start();
    let silent = two.open();
    let agent = Agent::start_by(in_pid_namespace(&agent::program()), &[]);
    let used = two.open();
    two.forth(&used, 1, 1);
    // Its /proc does not show them, or shows others under their numbers.
    assert_eq!(owner(&agent.open(&silent.client)), ("unknown", None, None));
    assert_eq!(owner(&agent.open(&silent.server)), ("unknown", None, None));
    let exact = |peer: &Peer| ("exact", Some(peer.pid()), Some(peer.name.clone()));
    for (end, peer) in [(&used.client, &two.client), (&used.server, &two.server)] {
        let row = agent.open(end);
        let (known, pid, name) = exact(peer);
        assert_eq!(owner(&row), (known, pid, name.as_deref()));
    }
    // Its own connections are known as such all the same.
    let of_itself = format!("local_port={}", agent.address.port());
    assert_eq!(agent.connz(&of_itself).total, 0);
    let shown = agent.rows(&format!("{of_itself}&self=1"));
    let host_pid = child_of(agent.pid());
    assert!(!shown.is_empty());
    assert!(
        shown.iter().all(|row| row.pid == Some(host_pid)),
        "{shown:#?}"
    );
}

/// Two peers in one network namespace that has no name, and its inode.
fn in_nameless_namespace(listen: &str) -> (Two, u64) {
    let mut command = Process::new("unshare");
    command
        .args([
            "--net",
            "sh",
            "-c",
            r#"ip link set lo up && exec "$@""#,
            "sh",
        ])
        .arg(peer::program());
    let mut server = Peer::start_by(command, "server");
    let address = server.listen(listen);
    let namespace = format!("/proc/{}/ns/net", server.pid());
    let inode = fs::metadata(&namespace).expect("the namespace").ino();
    let mut command = Process::new("nsenter");
    command
        .arg(format!("--net={namespace}"))
        .arg(peer::program());
    let client = Peer::start_by(command, "client");
    (
        Two {
            client,
            server,
            address,
        },
        inode,
    )
}

#[test]
fn connections_in_nameless_network_namespaces_are_listed_at_the_start() {
    let test = "connections_in_nameless_network_namespaces_are_listed_at_the_start";
    if installed(test, ["ip", "nsenter"]).is_none() || !may_unshare(test, "--net") {
        return;
    }
    let (mut first, first_inode) = in_nameless_namespace("127.0.0.1:0");
    let (mut second, second_inode) = in_nameless_namespace(&first.address.to_string());
    let own = fs::metadata("/proc/self/ns/net")
        .expect("a namespace")
        .ino();
    assert!(first_inode != second_inode && first_inode != own && second_inode != own);
    // The same four addresses and ports in both.
    let from = free_address();
    let open = |two: &mut Two, bytes| {
        let client = two.client.connect_from(from, two.address);
        let pair = matched(vec![client], two.server.accept(1))[0];
        two.forth(&pair, bytes, bytes);
        pair
    };
    let (old, other) = (open(&mut first, 11), open(&mut second, 22));
    assert_eq!(old.client.local, other.client.local);
    assert_eq!(old.client.peer, other.client.peer);
    let agent = Agent::start();
    for (end, count) in [(&old.client, 2), (&old.server, 2)] {
        assert_eq!(agent.rows_of(end, "open").len(), count);
    }
    for (two, inode, bytes) in [(&first, first_inode, 11), (&second, second_inode, 22)] {
        let rows = agent.rows(&format!("netns={inode}"));
        assert_eq!(rows.len(), 2, "{rows:#?}");
        for row in rows {
            assert!(row.preexisting, "{row:#?}");
            let (peer, counts) = if row.direction == "out" {
                (&two.client, (0, bytes))
            } else {
                (&two.server, (bytes, 0))
            };
            assert_eq!(owner(&row), ("scan", Some(peer.pid()), Some(&*peer.name)));
            assert_eq!((row.in_bytes, row.out_bytes), counts);
        }
    }
}

/// Starts an agent and sees that it lists both ends of a connection in a namespace where nobody is.
fn assert_listed(namespace: File, prepare: impl FnOnce(File)) {
    let inode = namespace.metadata().expect("the namespace").ino();
    let (client, _server) = connected_in(&namespace);
    prepare(namespace);
    let agent = Agent::start();
    let rows = agent.rows(&format!("netns={inode}"));
    let (local, peer) = (client.local_addr(), client.peer_addr());
    let (local, peer) = (local.expect("an address"), peer.expect("an address"));
    let mut expected = [(local, peer), (peer, local)];
    let mut seen: Vec<_> = rows.iter().map(Row::tuple).collect();
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);
    assert!(rows.iter().all(|row| row.preexisting), "{rows:#?}");
}

#[test]
fn namespaces_that_only_a_descriptor_holds_are_listed_at_the_start() {
    let test = "namespaces_that_only_a_descriptor_holds_are_listed_at_the_start";
    let Some(named) = Namespace::new("held") else {
        return skip(test, "no network namespace can be made");
    };
    let mut held = None;
    assert_listed(File::open(named.path()).expect("the namespace"), |file| {
        drop(named);
        held = Some(file);
    });
    drop(held);
}

#[test]
fn namespaces_with_a_space_in_their_name_are_listed_at_the_start() {
    let test = "namespaces_with_a_space_in_their_name_are_listed_at_the_start";
    let Some(named) = Namespace::new("a b") else {
        return skip(test, "no network namespace can be made");
    };
    assert_listed(File::open(named.path()).expect("the namespace"), drop);
}

#[test]
fn namespaces_that_are_mounted_elsewhere_are_listed_at_the_start() {
    let test = "namespaces_that_are_mounted_elsewhere_are_listed_at_the_start";
    if installed(test, ["ip"]).is_none() || !may_unshare(test, "--mount") {
        return;
    }
    let script = "mount -t tmpfs none /run && mkdir /run/netns && ip netns add hidden \
                  && ip -n hidden link set lo up && echo made && exec cat";
    let mut holder = Process::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare starts");
    let mut line = String::new();
    let mut output = BufReader::new(holder.stdout.take().expect("a pipe"));
    output.read_line(&mut line).expect("a line");
    assert_eq!(line, "made\n");
    let path = format!("/proc/{}/root/run/netns/hidden", holder.id());
    assert_listed(File::open(path).expect("the namespace"), drop);
    drop(holder.stdin.take());
    holder.wait().expect("its end");
}
