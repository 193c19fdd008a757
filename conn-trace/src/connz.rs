//! `conn-trace connz`: asks a running agent for its connections.

mod table;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    cli::{ConnzArgs, OutputFormat},
    client::{Client, Parameters, is_broken_pipe, parameters},
    query::Format,
};

/// An agent cuts and sends its largest page in less.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Home, and clear to the end: what is there stays until the new page is drawn over it.
const REDRAW: &str = "\x1b[H\x1b[J";
const CLEAR: &str = "\x1b[2J";

/// Prints the page that was asked for, once or again and again.
///
/// # Errors
/// If the agent does not answer, refuses a parameter, or the output cannot be written. That
/// nobody reads the output any more is no error.
pub fn run(args: &ConnzArgs) -> Result<ExitCode> {
    match print(args, &mut io::stdout().lock(), io::stdout().is_terminal()) {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

fn print(args: &ConnzArgs, out: &mut impl Write, is_terminal: bool) -> Result<()> {
    let format = args.format.unwrap_or(if is_terminal {
        OutputFormat::Table
    } else {
        OutputFormat::Json
    });
    let mut query = parameters(&args.parameters)?;
    let form = match format {
        OutputFormat::Ndjson => Format::Ndjson,
        OutputFormat::Csv => Format::Csv,
        OutputFormat::Table | OutputFormat::Json => Format::Json,
    };
    query.push(("format".to_owned(), form.name().to_owned()));
    let redraws = args.watch.is_some() && is_terminal && format == OutputFormat::Table;
    if redraws {
        out.write_all(CLEAR.as_bytes())?;
    }
    loop {
        let body = ask(&args.url, &query)?;
        let text = match format {
            OutputFormat::Json | OutputFormat::Ndjson | OutputFormat::Csv => body,
            OutputFormat::Table => {
                table::of(&serde_json::from_str(&body).with_context(|| {
                    format!("what answers at {} is no conn-trace agent", args.url)
                })?)
            }
        };
        if redraws {
            out.write_all(REDRAW.as_bytes())?;
        }
        out.write_all(text.as_bytes())?;
        out.flush()?;
        let Some(seconds) = args.watch else {
            return Ok(());
        };
        thread::sleep(Duration::from_secs(seconds));
    }
}

fn ask(url: &str, query: &Parameters) -> Result<String> {
    let mut answer = Client::new(url, Some(TIMEOUT)).get("/connz", query)?;
    answer
        .body_mut()
        .with_config()
        .limit(u64::MAX)
        .read_to_string()
        .with_context(|| format!("the answer of {url} breaks off"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::{
        cli::{Cli, Command},
        client::{Parameters, parameters},
        query::Query,
    };

    fn parsed(arguments: &[&str]) -> Parameters {
        let all = ["conn-trace", "connz"].iter().chain(arguments);
        let Command::Connz(args) = Cli::try_parse_from(all).expect("arguments").command else {
            panic!("another command");
        };
        parameters(&args.parameters).expect("a query")
    }

    #[test]
    fn flags_are_the_parameters_of_the_api() {
        let flags = [
            ("--offset=7", "offset", "7"),
            ("--limit=9", "limit", "9"),
            ("--sort=bytes_to", "sort", "bytes_to"),
            ("--order=asc", "order", "asc"),
            ("--state=any", "state", "any"),
            ("--cid=3", "cid", "3"),
            ("--ip=10.0.0.0/8", "ip", "10.0.0.0/8"),
            ("--local-ip=::1", "local_ip", "::1"),
            ("--port=80,90-99", "port", "80,90-99"),
            ("--local-port=1", "local_port", "1"),
            ("--direction=in", "direction", "in"),
            ("--pid=4", "pid", "4"),
            ("--comm=a b&c*", "comm", "a b&c*"),
            ("--uid=root", "uid", "root"),
            ("--cgroup=/x", "cgroup", "/x"),
            ("--netns=5", "netns", "5"),
            ("--service=fix", "service", "fix"),
            ("--flag=idle_leak", "flag", "idle_leak"),
            ("--protocol=tls", "protocol", "tls"),
            ("--self", "self", "1"),
            ("--tcp", "tcp", "1"),
            ("--rates", "rates", "1"),
            ("--cursor=start", "cursor", "start"),
        ];
        for (flag, name, value) in flags {
            assert_eq!(parsed(&[flag]), [(name.to_owned(), value.to_owned())]);
        }
        assert_eq!(parsed(&[]), []);
        // `subs` is for clients of other servers: no connection has any. `format` has a flag of its
        // own, which knows one more.
        let known = Query::parameters().filter(|name| !["format", "subs"].contains(name));
        let mut known: Vec<_> = known.collect();
        let mut names: Vec<_> = flags.iter().map(|(_, name, _)| *name).collect();
        known.sort_unstable();
        names.sort_unstable();
        assert_eq!(names, known);
    }
}
