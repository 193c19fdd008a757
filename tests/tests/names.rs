//! Names of processes: hostile ones, and those of processes that live for a moment.

use std::{
    collections::HashMap,
    ffi::OsStr,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::ffi::OsStrExt,
    process::{Command, Stdio},
    thread,
};

use conn_trace_tests::{
    agent::Agent,
    connz::{Page, Row},
    http::encoded,
    peer,
    skip::installed,
    slowness::fewer,
    wait::eventually_equal,
};

/// Listens, and reads so many connections to their end.
fn serve(connections: usize) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    let server = thread::spawn(move || {
        for _ in 0..connections {
            let (mut connection, _) = listener.accept().expect("a connection");
            connection.read_to_end(&mut Vec::new()).expect("its data");
        }
    });
    (address, server)
}

/// Runs a process of this name that connects, sends and ends; gives its id.
fn connect_once(name: &[u8], address: SocketAddr, bytes: usize) -> u32 {
    let mut child = Command::new(peer::program())
        .arg("--name")
        .arg(OsStr::from_bytes(name))
        .args(["--once", &address.to_string()])
        .args(["--bytes", &bytes.to_string()])
        .stdin(Stdio::null())
        .spawn()
        .expect("the peer starts");
    let pid = child.id();
    assert!(child.wait().expect("its end").success());
    pid
}

#[test]
fn hostile_names_give_valid_json_and_can_be_asked_for() {
    // Each with what is shown: bytes that are not UTF-8 become U+FFFD.
    let names: [(&[u8], &str); 16] = [
        (b"\"quoted\"", "\"quoted\""),
        (b"\\", "\\"),
        (b"back\\slash\\", "back\\slash\\"),
        (b"two\nlines\r", "two\nlines\r"),
        (b"tab\t\x01\x1b[31m\x7f", "tab\t\u{1}\u{1b}[31m\u{7f}"),
        (b"\xff\xfe", "\u{fffd}\u{fffd}"),
        ("é€".as_bytes(), "é€"),
        // Cut off after 15 bytes, in the middle of a character.
        ("fifteen bytes €".as_bytes(), "fifteen bytes \u{fffd}"),
        (b"</script>", "</script>"),
        (b"exactly15bytes!", "exactly15bytes!"),
        (b"", ""),
        (b" ", " "),
        (b"a b+c&d=e%", "a b+c&d=e%"),
        (b"null", "null"),
        ("\u{2028}\u{feff}".as_bytes(), "\u{2028}\u{feff}"),
        (b"{}[],:", "{}[],:"),
    ];
    let agent = Agent::start();
    let (address, server) = serve(names.len());
    let pids: Vec<u32> = names
        .iter()
        .map(|(name, _)| connect_once(name, address, 1))
        .collect();
    server.join().expect("the server");
    let query = format!("state=closed&port={}", address.port());
    eventually_equal("all are closed", &(names.len() as u64), || {
        agent.connz(&query).total
    });
    for ((_, shown), pid) in names.iter().zip(pids) {
        let row = &agent.rows(&format!("{query}&pid={pid}"))[0];
        assert_eq!((row.comm.as_deref(), &*row.owner), (Some(*shown), "exact"));
        // An empty value is refused, since it is a mistake more often than a name.
        if shown.is_empty() {
            continue;
        }
        let found = agent.rows(&format!("{query}&comm={}", encoded(shown)));
        assert_eq!(found.len(), 1, "{shown:?}");
        assert_eq!(found[0].pid, Some(pid), "{shown:?}");
    }
    let prefix = agent.connz(&format!("{query}&comm={}*", encoded("</scr")));
    assert_eq!(prefix.total, 1);

    let body = agent.get(&format!("/connz?{query}&limit=100")).body;
    serde_json::from_str::<Page>(&body).expect("JSON");
    let Some([jq]) = installed("hostile_names_give_valid_json_and_can_be_asked_for", ["jq"]) else {
        return;
    };
    // Another reader of JSON sees the same names.
    let mut child = Command::new(jq)
        .args(["-j", ".connections[] | .comm, \"\\u0000\""])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("jq starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(body.as_bytes()).expect("jq reads");
    drop(input);
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("a text");
    let mut seen: Vec<&str> = text.split_terminator('\0').collect();
    let mut expected: Vec<&str> = names.iter().map(|(_, shown)| *shown).collect();
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);
}

#[test]
fn processes_that_live_for_a_moment_are_named() {
    let processes = fewer(3_000, 300) as usize;
    let agent = Agent::start();
    let (address, server) = serve(processes);
    let mut truth = HashMap::new();
    for number in 1..=processes {
        let name = format!("moment{number}");
        let pid = connect_once(name.as_bytes(), address, number);
        truth.insert(number as u64, (Some(pid), Some(name)));
    }
    server.join().expect("the server");
    let query = format!("state=closed&port={}", address.port());
    eventually_equal("all are closed", &(processes as u64), || {
        agent.connz(&query).total
    });
    let rows = agent.rows(&query);
    assert!(rows.iter().all(|row| row.owner == "exact"));
    let named = |row: Row| (row.out_bytes, (row.pid, row.comm));
    assert_eq!(
        rows.into_iter().map(named).collect::<HashMap<_, _>>(),
        truth
    );
}
