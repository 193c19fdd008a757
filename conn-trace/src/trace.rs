//! `conn-trace trace`: follows what connections do, message by message.

mod text;

use std::{
    io::{self, BufRead, BufReader, BufWriter, IsTerminal, Write},
    process::ExitCode,
    thread,
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};

use crate::{
    cli::{TraceArgs, TraceFormat},
    client::{Client, Parameters, is_broken_pipe, parameters},
    terminal::wait_for_no_reader,
};

/// Lines that wait to be written.
const WAITING: usize = 1024;

/// Writes each event on a line of its own, until SIGINT or SIGTERM.
///
/// # Errors
/// If the agent does not answer, refuses a parameter or ends, or the output cannot be written. That
/// nobody reads the output any more is no error.
pub fn run(args: &TraceArgs) -> Result<ExitCode> {
    let is_text = match args.format {
        Some(format) => format == TraceFormat::Text,
        None => io::stdout().is_terminal(),
    };
    let mut query = parameters(&args.conditions)?;
    query.extend(
        [("messages", "1"), ("format", "ndjson")]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let followed = runtime.block_on(follow(args.url.clone(), query, is_text));
    match followed {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

async fn follow(url: String, query: Parameters, is_text: bool) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (lines, mut received) = mpsc::channel(WAITING);
    thread::spawn(move || {
        if let Err(error) = read(&url, &query, &lines) {
            // The other side may have ended.
            let _ = lines.blocking_send(Err(error));
        }
    });
    let (last, mut gone) = oneshot::channel();
    thread::spawn(move || {
        wait_for_no_reader();
        // As above.
        let _ = last.send(());
    });
    let mut out = BufWriter::new(io::stdout().lock());
    loop {
        tokio::select! {
            line = received.recv() => {
                let Some(line) = line.transpose()? else {
                    bail!("the agent has ended");
                };
                match is_text {
                    true => writeln!(out, "{}", text::line(&line)?)?,
                    false => writeln!(out, "{line}")?,
                }
                if received.is_empty() {
                    out.flush()?;
                }
            }
            _ = &mut gone => return Ok(()),
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    Ok(out.flush()?)
}

/// Gives the lines of the stream on.
fn read(url: &str, query: &Parameters, lines: &mpsc::Sender<Result<String>>) -> Result<()> {
    let answer = Client::new(url, None).get("/connz/events", query)?;
    let reader = BufReader::new(answer.into_body().into_reader());
    for line in reader.lines() {
        let line = line.with_context(|| format!("the stream of {url} breaks off"))?;
        if lines.blocking_send(Ok(line)).is_err() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::{
        cli::{Cli, Command},
        client::parameters,
    };

    #[test]
    fn conditions_are_those_of_connz() {
        let arguments = [
            "conn-trace",
            "trace",
            "--comm=a*",
            "--local-port=80",
            "--self",
        ];
        let Command::Trace(args) = Cli::try_parse_from(arguments).expect("arguments").command
        else {
            panic!("another command");
        };
        let mut given = parameters(&args.conditions).expect("parameters");
        given.sort();
        let expected = [("comm", "a*"), ("local_port", "80"), ("self", "1")];
        assert_eq!(
            given,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        Cli::try_parse_from(["conn-trace", "trace", "--limit=1"]).expect_err("no page");
    }
}
