//! `conn-trace agent`: load, attach, check, serve, detach.

mod listeners;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};
use uuid::Uuid;

use self::listeners::Listeners;
use crate::{
    api::{self, Reload, ServerIdentity},
    cli::AgentArgs,
    config::Configuration,
    kernel::{
        LoadError, Options, Tracer,
        cgroups::Cgroups,
        hooks::Variant,
        preflight::{self, Outcome},
        self_check,
    },
    registry::{Handle, Own, Registry, Settings, policies::Action},
    webhook::Webhooks,
};

/// The programs' log is for people who watch: often enough for them.
const KERNEL_LOG_INTERVAL: Duration = Duration::from_millis(100);
/// Names the derived server ids; any constant does.
const SERVER_ID_NAMESPACE: Uuid = Uuid::from_u128(0x6f1c_52a0_9d3b_4e7f_8a61_c04d_77e2_b915);
/// Reloads that may wait for the one that is made.
const WAITING_RELOADS: usize = 8;

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
    allow_closing(&configuration)?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("SIGHUP")?;
    let (publish, services) = watch::channel(Arc::new(configuration));
    let (reloads, mut asked) = mpsc::channel(WAITING_RELOADS);
    let config = api_config(&args, services.clone(), reloads);
    // Before loading: a port in use is found while nothing has to be undone.
    let server = api::Server::bind(config.clone()).await?;
    let main_port = server.local_addr().port();
    let mut listeners = Listeners::new(config, identity());
    let bound = listeners.bind(&services.borrow().clone()).await?;
    let ports = listeners.ports(main_port, &bound);
    let registry =
        start(&args, &services.borrow().clone(), ports).context("starting the tracer")?;
    let handle = registry.handle();
    tracing::info!(listen = %server.local_addr(), "ready; try curl http://{}/connz", server.local_addr());
    listeners.serve(bound, &handle);

    let stop = {
        let handle = handle.clone();
        async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = handle.stopped() => {}
            }
        }
    };
    let reload = async {
        loop {
            let reply: Option<Reload> = tokio::select! {
                _ = hangup.recv() => None,
                Some(reply) = asked.recv() => Some(reply),
            };
            let path = args.config.clone();
            let outcome = reload(path, &publish, &mut listeners, &handle, main_port).await;
            match &outcome {
                Ok(services) => tracing::info!(services, "configuration read"),
                Err(error) => tracing::error!("configuration not taken: {error:#}"),
            }
            if let Some(reply) = reply {
                // The client may have gone.
                let _ = reply.send(outcome.map(drop).map_err(|error| format!("{error:#}")));
            }
        }
    };
    tokio::select! {
        () = server.serve(registry.handle(), identity(), stop) => {}
        () = reload => {}
    }
    listeners.stop().await;
    tokio::task::spawn_blocking(|| registry.stop())
        .await?
        .context("the registry ended")?;
    tracing::info!("detached");
    Ok(())
}

/// Reads the configuration anew; how many services it has. Where it is not sound, or cannot be had,
/// everything stays as it was. What `[agent]` says holds from the next start on.
async fn reload(
    path: Option<PathBuf>,
    publish: &watch::Sender<Arc<Configuration>>,
    listeners: &mut Listeners,
    handle: &Handle,
    main_port: u16,
) -> Result<usize> {
    let configuration = Arc::new(Configuration::load(path.as_deref())?);
    allow_closing(&configuration)?;
    let bound = listeners.bind(&configuration).await?;
    let ports = listeners.ports(main_port, &bound);
    let matcher = Box::new(configuration.matcher());
    handle.reconfigure(matcher, ports).await?;
    let services = configuration.services.len();
    if configuration.agent != publish.borrow().agent {
        tracing::warn!("[agent] has changed, which holds from the next start on");
    }
    publish.send_replace(Arc::clone(&configuration));
    listeners.keep(&configuration).await;
    listeners.serve(bound, handle);
    Ok(services)
}

/// Sees whether the agent may close connections, if a policy does.
fn allow_closing(configuration: &Configuration) -> Result<()> {
    let closing = configuration.services.iter().find_map(|section| {
        let (service, _) = section.watched();
        let mut policies = service.policies.iter();
        let policy = policies.find(|policy| policy.action == Action::Close && !policy.dry_run)?;
        Some((Arc::clone(&service.name), Arc::clone(&policy.name)))
    });
    match closing {
        Some((service, policy)) if !preflight::may_close() => bail!(
            "service \"{service}\": policy \"{policy}\": action close needs CAP_NET_ADMIN; grant it, or \
             set dry_run = true"
        ),
        _ => Ok(()),
    }
}

/// Loads and attaches the programs, proves them on a known connection, lists what exists.
fn start(args: &AgentArgs, configuration: &Configuration, ports: Vec<u16>) -> Result<Registry> {
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
        services = configuration.services.len(),
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
                ports,
            },
            classify: Box::new(configuration.matcher()),
            notify: Box::new(Webhooks::default()),
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

fn api_config(
    args: &AgentArgs,
    services: watch::Receiver<Arc<Configuration>>,
    reloads: mpsc::Sender<Reload>,
) -> api::Config {
    api::Config {
        listen: args.listen,
        cors: args.cors,
        services,
        reloads: args.reload.then_some(reloads),
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
