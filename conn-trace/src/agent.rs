//! `conn-trace agent`: load, attach, check, serve, detach.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::{
    api::{self, ServerIdentity},
    cli::AgentArgs,
    config::Configuration,
    kernel::{
        LoadError, Options, Tracer,
        cgroups::Cgroups,
        hooks::Variant,
        preflight::{self, Outcome},
        self_check,
    },
    registry::{Own, Registry, Settings},
};

/// The programs' log is for people who watch: often enough for them.
const KERNEL_LOG_INTERVAL: Duration = Duration::from_millis(100);
/// Names the derived server ids; any constant does.
const SERVER_ID_NAMESPACE: Uuid = Uuid::from_u128(0x6f1c_52a0_9d3b_4e7f_8a61_c04d_77e2_b915);

/// Runs the agent until SIGINT or SIGTERM.
///
/// # Errors
/// If it cannot start, or the registry ends by itself.
pub async fn run(args: AgentArgs, configuration: Configuration) -> Result<()> {
    let failed: Vec<_> = preflight::run()
        .into_iter()
        .filter(|check| check.outcome == Outcome::Failed)
        .map(|check| format!("{}: {}", check.name, check.detail))
        .collect();
    if !failed.is_empty() {
        bail!("{}\n(`conn-trace doctor` tells more)", failed.join("\n"));
    }
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    // Before loading: a port in use is found while nothing has to be undone.
    let server = api::Server::bind(api_config(&args)).await?;
    let registry =
        start(&args, &configuration, server.local_addr().port()).context("starting the tracer")?;
    let handle = registry.handle();
    tracing::info!(listen = %server.local_addr(), "ready; try curl http://{}/connz", server.local_addr());

    let stop = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = handle.stopped() => {}
        }
    };
    server.serve(registry.handle(), identity(), stop).await;
    tokio::task::spawn_blocking(|| registry.stop())
        .await?
        .context("the registry ended")?;
    tracing::info!("detached");
    Ok(())
}

/// Loads and attaches the programs, proves them on a known connection, lists what exists.
fn start(args: &AgentArgs, configuration: &Configuration, port: u16) -> Result<Registry> {
    let options = Options {
        max_connections: args.max_connections,
        kernel_log: args.kernel_log,
        variant: args.hooks,
    };
    let cgroups = Cgroups::find()
        .inspect_err(|error| tracing::warn!(%error, "cgroups and containers are left out"));
    let mut tracer = Tracer::load(options)?;
    if args.kernel_log {
        follow_kernel_log(&mut tracer)?;
    }
    // Before the listing, which may fill the table.
    let passed = self_check::attach(&mut tracer)?;
    tracer.list_existing()?;
    for degradation in tracer.degradations() {
        tracing::warn!(code = degradation.code(), "{degradation}");
    }
    tracing::info!(
        variant = tracer.variant().map(Variant::name),
        max_connections = args.max_connections,
        slots = tracer.table().slots(),
        kernel_memory_mib = tracer.kernel_memory_bytes().div_ceil(1 << 20),
        "attached"
    );
    Ok(Registry::start(
        tracer,
        Settings {
            cgroups: cgroups.ok(),
            closed_history: usize::try_from(args.closed_history)?,
            closed_history_age: args.closed_history_age,
            max_connections: args.max_connections,
            own: Own {
                pid: passed.host_pid,
                netns: passed.netns,
                ports: vec![port],
            },
            classify: Box::new(configuration.matcher()),
        },
    )?)
}

fn follow_kernel_log(tracer: &mut Tracer) -> Result<(), LoadError> {
    let mut log = tracer.take_log()?;
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(KERNEL_LOG_INTERVAL);
        loop {
            tick.tick().await;
            log.flush();
        }
    });
    Ok(())
}

fn api_config(args: &AgentArgs) -> api::Config {
    api::Config {
        listen: args.listen,
        cors: args.cors,
        ..api::Config::default()
    }
}

/// The same id at every start on one host. The machine id itself is not to be shown
/// (machine-id(5)), so the id is derived from it.
fn identity() -> ServerIdentity {
    let host = nix::unistd::gethostname().map_or_else(
        |_| "localhost".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let seed = if machine.trim().is_empty() {
        host.clone()
    } else {
        machine
    };
    ServerIdentity {
        server_id: Uuid::new_v5(&SERVER_ID_NAMESPACE, seed.trim().as_bytes())
            .simple()
            .to_string(),
        server_name: host,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        start: Timestamp::now(),
    }
}
