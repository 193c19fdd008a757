//! `conn-trace watch`: watches the connections to one peer, and reports at the end what there was.

mod agent;
mod args;
mod ending;
mod entry;
mod follow;
mod item;
mod line;
mod output;
mod report;
mod row;
mod state;
mod target;
mod text;
mod timeline;
mod told;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

use anyhow::Result;
use jiff::Timestamp;
use tokio::runtime;

pub use self::args::WatchArgs;
use self::{
    agent::{Agent, Which},
    ending::{Ended, Ending},
    follow::Watch,
    item::Item,
    output::Output,
    report::Report,
    state::State,
    target::Target,
};
use crate::cli::TraceFormat;

/// Prints connections as they come and go, and statistics every few seconds, until SIGINT, SIGTERM,
/// the end of a pipe on standard input, or the end of the agent. Then writes the report.
///
/// # Errors
/// If it is not said what to watch, a file cannot be written, or the agent does not answer at the
/// start or refuses.
pub fn run(args: &WatchArgs) -> Result<ExitCode> {
    let format = args.format.unwrap_or(match io::stdout().is_terminal() {
        true => TraceFormat::Text,
        false => TraceFormat::Ndjson,
    });
    let output = Output::open(format, args.log_file.as_deref())?;
    let target = Target::of(args)?;
    if let Some(path) = &args.report {
        report::check(path)?;
    }
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(watch(args, &target, output))?;
    Ok(ExitCode::SUCCESS)
}

async fn watch(args: &WatchArgs, target: &Target, output: Output) -> Result<()> {
    let mut ending = Ending::listen()?;
    let agent = Agent::new(&args.url, target);
    // Before what is open is asked for, so that nothing falls between the two.
    let begun = async {
        let events = agent.listen(None).await?;
        anyhow::Ok((events, agent.page(Which::All).await?))
    };
    let (events, page) = tokio::select! {
        begun = begun => begun?,
        // There is nothing to report.
        _ = ending.wait() => return Ok(()),
    };
    let (state, changes) = State::begin(page);
    let mut watch = Watch::new(agent, args.patience, state, output);
    let what = format!("{target}, every {} s, as {} tells", args.interval, args.url);
    let follow = async {
        watch.output.write(&Item::Begins {
            state: &watch.state,
            what: &what,
        })?;
        watch.print(&changes)?;
        let interval = Duration::from_secs(args.interval);
        watch.follow(events, interval).await
    };
    let mut outcome = tokio::select! {
        ended = follow => ended,
        ended = ending.wait() => Ok(ended),
    };
    if let Ok(ended) = outcome
        && ended != Ended::Agent
        && let Err(error) = watch.finish().await
    {
        outcome = Err(error);
    }
    // Whatever has gone wrong, what is known is not thrown away.
    let now = Timestamp::now();
    let path = report::path(args.report.as_deref(), now);
    let ended_by = outcome.as_ref().map_or("error", |ended| ended.name());
    Report::new(&watch.state, target, ended_by, now).write(&path)?;
    outcome?;
    watch.output.write(&Item::Statistics(&watch.state, now))?;
    let path = path.display().to_string();
    watch.output.write(&Item::Report(&path, now))
}
