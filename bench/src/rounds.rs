//! Rounds: each variant once, in random order.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result, ensure};

use crate::{
    churn::{self, Request},
    load::Load,
    machine,
    random::Random,
    report::Series,
    thread::{on_cpu, on_cpu_while},
    variant::{Attached, Variant},
};

/// How the rounds are made, the same for every load.
pub(crate) struct Rounds {
    pub(crate) count: u32,
    /// Where the load runs.
    pub(crate) cpu: usize,
    pub(crate) random: Random,
    /// Events that conn-trace has counted, all of them checked.
    pub(crate) counted: u64,
}

impl Rounds {
    /// Messages on as many pairs of sockets as were asked for, or as are allowed.
    pub(crate) fn messages(
        &mut self,
        pairs: usize,
        loops: usize,
        variants: &[Variant],
    ) -> Result<Series> {
        let pairs = machine::pairs_that_fit(pairs)?;
        let mut load = Load::open(pairs, loops, &mut self.random)?;
        let name = format!(
            "messages on {pairs} pair{}",
            if pairs == 1 { "" } else { "s" }
        );
        let mut series = Series::new(name, "send or receive", variants);
        let cpu = self.cpu;
        let mut counted = 0;
        self.run(&mut series, variants, |variant| {
            let mut attached = variant.attach(pairs, load.ends())?;
            let ns = match &mut attached {
                Attached::Traced(traced) => on_cpu_while(cpu, || load.run(), || traced.read())?,
                _without_reader => on_cpu(cpu, || load.run())?,
            };
            counted += attached.finish(&load)?;
            Ok(ns)
        })?;
        let counting = variants.iter().filter(|variant| variant.counts()).count() as u64;
        let made = load.all_events() * u64::from(self.count) * counting;
        ensure!(
            counted == made,
            "conn-trace has counted {counted} of {made} events"
        );
        self.counted += counted;
        Ok(series)
    }

    /// Connections that come and go.
    pub(crate) fn connections(&mut self, request: Request) -> Result<Series> {
        let name = format!("connections opened and closed, {request}");
        let variants = request.variants();
        let mut series = Series::new(name, "socket", variants);
        let cpu = self.cpu;
        self.run(&mut series, variants, |variant| {
            churn::measure(variant, request, cpu)
        })?;
        Ok(series)
    }

    /// `measure` gives the time of one event in ns.
    fn run(
        &mut self,
        series: &mut Series,
        variants: &[Variant],
        mut measure: impl FnMut(Variant) -> Result<f64>,
    ) -> Result<()> {
        let mut order = variants.to_vec();
        for round in 1..=self.count {
            progress(&format!("{}: round {round} of {}", series.load, self.count));
            self.random.shuffle(&mut order);
            for variant in &order {
                let ns = measure(*variant)
                    .with_context(|| format!("{}, variant {variant}", series.load))?;
                series.add(*variant, ns);
            }
        }
        progress("");
        Ok(())
    }
}

/// A line that the next one replaces, for somebody who watches.
pub(crate) fn progress(what: &str) {
    let mut terminal = io::stderr();
    if terminal.is_terminal() {
        // Nobody is harmed if a terminal does not take it.
        _ = write!(terminal, "\r\x1b[K{what}");
        _ = terminal.flush();
    }
}
