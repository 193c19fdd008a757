//! The kernel's part of an answer: the program that reads sockets, run over all of them.

use std::time::Instant;

use anyhow::{Result, ensure};
use conn_trace::kernel::sampler::{Detail, Request};

use super::report::Samples;
use crate::{thread::cpu_time, variant::conn_trace};

/// Reads the table, then all sockets in it, once in each round.
pub(super) fn measure(rounds: u32, at_least: u64) -> Result<Vec<Samples>> {
    let mut tracer = conn_trace()?;
    tracer.list_existing()?;
    let mut requests = Vec::new();
    let mut samples = Vec::new();
    for round in 0..=rounds {
        requests.clear();
        let (start, cpu) = (Instant::now(), cpu_time()?);
        tracer.table().scan(
            |entry| {
                requests.push(Request {
                    cookie: entry.hot.cookie,
                    slot: entry.slot,
                    generation: entry.hot.generation,
                });
            },
            |_| {},
        );
        let scanned = (start.elapsed(), cpu_time()? - cpu);
        let mut taken = Vec::new();
        for detail in [Detail::Common, Detail::Tcp] {
            let mut read = 0;
            let (start, cpu) = (Instant::now(), cpu_time()?);
            tracer.sample(&requests, detail, |_, sample| {
                read += u64::from(sample.is_some());
            })?;
            taken.push((start.elapsed(), cpu_time()? - cpu));
            ensure!(read >= at_least, "{read} of {at_least} sockets were read");
        }
        if round == 0 {
            samples = [
                ("all of the table", requests.len()),
                ("all of their sockets", requests.len()),
                ("the same with TCP's figures", requests.len()),
            ]
            .map(|(what, count)| Samples::new(format!("{what}, {count}"), 0))
            .into();
            continue;
        }
        samples[0].add(scanned.0, scanned.1);
        for (samples, (time, cpu)) in samples[1..].iter_mut().zip(taken) {
            samples.add(time, cpu);
        }
    }
    Ok(samples)
}
