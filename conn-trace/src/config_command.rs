//! `conn-trace config`: checks and shows the configuration, and explains it on a connection.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::CommandFactory;
use serde_json::Value;

use crate::{
    cli::{Cli, ConfigArgs, ConfigCommand, ExplainArgs},
    client::Client,
    config::{Configuration, DEFAULT_PATH, ServiceSection},
    query::address_or_prefix,
    registry::policies::{Action, Bounds, Policy, Rule},
};

/// Does what is asked for.
///
/// # Errors
/// If the configuration is not sound, with file, line and reason; or if the agent does not answer.
pub fn run(args: &ConfigArgs) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    match &args.command {
        ConfigCommand::Check(file) => {
            let configuration = Configuration::load(file.config.as_deref())?;
            let services = match configuration.services.len() {
                1 => "1 service".to_owned(),
                several => format!("{several} services"),
            };
            writeln!(out, "{}: sound, {services}", described(&configuration))?;
        }
        ConfigCommand::Show(file) => show(&Configuration::load(file.config.as_deref())?, &mut out)?,
        ConfigCommand::Explain(args) => explain(args, &mut out)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn described(configuration: &Configuration) -> String {
    configuration.path.as_ref().map_or_else(
        || format!("no {DEFAULT_PATH}"),
        |path| path.display().to_string(),
    )
}

/// Every flag of the agent with its value and where that is from, and every service with its selectors.
fn show(configuration: &Configuration, out: &mut impl Write) -> Result<()> {
    writeln!(out, "# {}", described(configuration))?;
    let command = Cli::command();
    let agent = command
        .find_subcommand("agent")
        .context("no command agent")?;
    for argument in agent.get_arguments() {
        let Some(variable) = argument.get_env() else {
            continue;
        };
        let flag = argument.get_id().as_str();
        let default = argument.get_default_values().first();
        let from_file = configuration.agent.flags().find(|(name, _)| *name == flag);
        let (value, source) = match (std::env::var_os(variable), from_file) {
            (Some(value), _) => (
                value.to_string_lossy().into_owned(),
                variable.to_string_lossy().into_owned(),
            ),
            (None, Some((_, value))) => (value.to_owned(), "file".to_owned()),
            (None, None) => (
                default.map_or_else(|| "-".into(), |value| value.to_string_lossy().into_owned()),
                "default".to_owned(),
            ),
        };
        writeln!(out, "{flag} = {value}    # {source}")?;
    }
    for (service, selectors) in configuration.services.iter().map(ServiceSection::watched) {
        writeln!(out, "\nservice {}", service.name)?;
        for selector in selectors {
            writeln!(out, "  {} = {}", selector.key(), selector.wanted())?;
        }
        for policy in &service.policies {
            show_policy(policy, out)?;
        }
    }
    Ok(())
}

/// What a policy looks for, and what it does then.
fn show_policy(policy: &Policy, out: &mut impl Write) -> Result<()> {
    let (kind, action) = (policy.rule.kind(), policy.action.name());
    let dry_run = if policy.dry_run { ", dry run" } else { "" };
    writeln!(out, "  policy {}: {kind}, {action}{dry_run}", policy.name)?;
    if let Action::Webhook(url) = &policy.action {
        writeln!(out, "    url = {url}")?;
    }
    match &policy.rule {
        Rule::Leak(leak) => {
            let times = [("idle", leak.idle), ("close_wait", leak.close_wait)];
            for (key, time) in times
                .into_iter()
                .filter_map(|(key, time)| Some((key, time?)))
            {
                writeln!(out, "    {key} = {}s", time.as_secs_f64())?;
            }
        }
        Rule::Limit(limit) => {
            show_bounds(limit.bounds, "", out)?;
            let (v4, v6) = limit.client_prefix;
            writeln!(
                out,
                "    client_prefix_v4 = {v4}\n    client_prefix_v6 = {v6}"
            )?;
            if let Some(adaptive) = &limit.adaptive {
                let (high, low) = (adaptive.high, adaptive.low);
                writeln!(out, "    adaptive.signal = {}", adaptive.signal.name())?;
                writeln!(out, "    adaptive.high = {high}\n    adaptive.low = {low}")?;
                show_bounds(adaptive.bounds, "adaptive.", out)?;
            }
        }
        Rule::Watchlist(watchlist) => {
            for (key, networks) in [("deny", &watchlist.deny), ("allow", &watchlist.allow)] {
                let networks: Vec<_> = networks.iter().map(address_or_prefix).collect();
                if !networks.is_empty() {
                    writeln!(out, "    {key} = {}", networks.join(", "))?;
                }
            }
        }
    }
    Ok(())
}

fn show_bounds(bounds: Bounds, before: &str, out: &mut impl Write) -> Result<()> {
    let Bounds {
        connections,
        connections_per_client,
        new_per_second,
    } = bounds;
    for (key, bound) in [
        ("connections", connections),
        ("connections_per_client", connections_per_client),
        ("new_per_second", new_per_second),
    ] {
        if let Some(bound) = bound {
            writeln!(out, "    {before}{key} = {bound}")?;
        }
    }
    Ok(())
}

/// Asks the agent, which knows the connection and the configuration in force.
fn explain(args: &ExplainArgs, out: &mut impl Write) -> Result<()> {
    let path = format!("/connz/{}/services", args.cid);
    let answer = Client::new(&args.url, None).get(&path, &Vec::new())?;
    let text = answer.into_body().read_to_string()?;
    let explained: Value = serde_json::from_str(&text).context("the answer is no JSON")?;
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    writeln!(
        out,
        "connection {}: {}",
        args.cid,
        match &explained["service"] {
            Value::String(service) => format!("service {service}"),
            _ => "no service".to_owned(),
        }
    )?;
    for service in explained["services"].as_array().into_iter().flatten() {
        let chosen = if service["chosen"] == true {
            ", the first that matches"
        } else {
            ""
        };
        writeln!(
            out,
            "  {}: {}{chosen}",
            word(&service["service"]),
            word(&service["matches"])
        )?;
        for selector in service["selectors"].as_array().into_iter().flatten() {
            writeln!(
                out,
                "    {} = {}: {}",
                word(&selector["key"]),
                word(&selector["wanted"]),
                word(&selector["holds"])
            )?;
        }
    }
    Ok(())
}
