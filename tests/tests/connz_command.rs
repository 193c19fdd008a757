//! `conn-trace connz`: the connections on the command line.

use std::process::{Command, ExitStatus};

use conn_trace_tests::{
    agent::{Agent, free_address, program, run},
    connz::Page,
    pair::Two,
};

/// Exit status, output and errors of the command, asked of an agent.
fn ask(agent: &Agent, arguments: &[&str]) -> (ExitStatus, String, String) {
    let url = format!("http://{}", agent.address);
    let all: Vec<_> = ["connz", "--url", &url]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    run(Command::new(program()), &all)
}

#[test]
fn json_is_the_answer_of_the_agent() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pairs = two.open_many(3);
    for (pair, bytes) in pairs.iter().zip([10, 20, 30]) {
        two.forth(pair, bytes, 5);
    }
    let port = format!("--local-port={}", two.address.port());
    let arguments = [&port, "--sort=bytes_from", "--limit=2", "--direction=in"];
    // Nobody's terminal is on the other end, so JSON needs not be asked for.
    let (status, output, errors) = ask(&agent, &arguments);
    assert!(status.success(), "{errors}");
    let page: Page = serde_json::from_str(&output).expect("a page");
    assert_eq!((page.total, page.connections.len()), (3, 2));
    for (row, pair) in page.connections.iter().zip(pairs.iter().rev()) {
        assert_eq!(row.counts(), two.server.report(&pair.server));
    }
}

#[test]
fn table_has_a_line_for_each_connection() {
    let agent = Agent::start();
    let mut two = Two::start();
    let pair = two.open();
    two.forth(&pair, 1234, 1234);
    let port = format!("--port={}", two.address.port());
    let (status, output, errors) = ask(&agent, &["--format=table", &port]);
    assert!(status.success(), "{errors}");
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines.len(), 4, "{output}");
    assert!(lines[0].starts_with("CID"), "{output}");
    let cells: Vec<_> = lines[1].split_whitespace().collect();
    let (peer, local) = (pair.client.peer.to_string(), pair.client.local.to_string());
    assert_eq!(cells[1..5], ["ESTABLISHED", "out", &peer, &local]);
    assert_eq!(cells[5..7], [&*two.client.pid().to_string(), "client"]);
    let calls = two.client.report(&pair.client).out_calls.to_string();
    assert_eq!(cells[9..13], ["0", "0", &*calls, "1234"], "{output}");
    assert!(lines[3].starts_with("1 of 1 connections at "), "{output}");
}

#[test]
fn what_cannot_be_answered_is_an_error_that_says_why() {
    let agent = Agent::start();
    let (status, output, errors) = ask(&agent, &["--ip=nowhere"]);
    assert_eq!((status.code(), &*output), (Some(1), ""));
    assert!(
        errors.contains("ip: expected") && errors.contains("nowhere"),
        "{errors}"
    );

    let nobody = format!("http://{}", free_address());
    let (status, output, errors) = run(Command::new(program()), &["connz", "--url", &nobody]);
    assert_eq!((status.code(), &*output), (Some(1), ""));
    assert!(
        errors.contains(&nobody) && errors.contains("running"),
        "{errors}"
    );
}

#[test]
fn reader_that_has_seen_enough_is_no_error() {
    let agent = Agent::start();
    let command = format!(
        "'{}' connz --url http://{} --format json --watch 1 | head --lines 2 | wc --lines; echo ${{PIPESTATUS[0]}}",
        program().display(),
        agent.address
    );
    let (status, output, errors) = run(Command::new("bash"), &["-c", &command]);
    assert!(status.success() && errors.is_empty(), "{errors}");
    assert_eq!(output.split_whitespace().collect::<Vec<_>>(), ["2", "0"]);
}
