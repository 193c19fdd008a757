//! Reading live sockets on demand, by running the `sample` program over a list of slots.

use aya::{
    Ebpf,
    programs::{ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun},
};
use conn_trace_common::sample::{BATCH, Clock};
pub use conn_trace_common::sample::{Request, Sample};

use super::{error::LoadError, map::SharedArray, table::shared};

const PROGRAM: &str = "sample";

/// What is read of each socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// State, bytes, queues, round trip time, retransmitted segments, when data went, port, file.
    Common,
    /// TCP's other figures as well, for half as much again; without it they are 0.
    Tcp,
}

/// The program's inputs and outputs.
#[derive(Debug)]
pub(super) struct Sampler {
    requests: SharedArray<Request>,
    samples: SharedArray<Sample>,
    clock: SharedArray<Clock>,
}

impl Sampler {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let program: &mut RawTracePoint = ebpf
            .program_mut(PROGRAM)
            .ok_or(LoadError::Object(PROGRAM))?
            .try_into()
            .map_err(failed)?;
        program.load().map_err(failed)?;
        Ok(Self {
            requests: shared(ebpf, "REQUESTS", BATCH)?,
            samples: shared(ebpf, "SAMPLES", BATCH)?,
            clock: shared(ebpf, "CLOCK", 1)?,
        })
    }

    /// Reads the clocks.
    pub(super) fn clock(&mut self, ebpf: &Ebpf) -> Result<Clock, LoadError> {
        run(ebpf, 0, Detail::Common)?;
        Ok(self.clock.get(0))
    }

    /// Reads the sockets of all requests, in their order. `None` where the socket was gone.
    pub(super) fn sample(
        &mut self,
        ebpf: &Ebpf,
        wanted: &[Request],
        detail: Detail,
        mut take: impl FnMut(usize, Option<Sample>),
    ) -> Result<(), LoadError> {
        let mut first = 0;
        for batch in wanted.chunks(BATCH as usize) {
            for (index, request) in (0..).zip(batch) {
                self.requests.set(index, *request);
            }
            run(ebpf, batch.len() as u64, detail)?;
            for (index, request) in (0..).zip(batch) {
                let sample = self.samples.get(index);
                take(
                    first + index as usize,
                    (sample.cookie == request.cookie).then_some(sample),
                );
            }
            first += batch.len();
        }
        Ok(())
    }
}

fn failed(source: ProgramError) -> LoadError {
    LoadError::Program {
        name: PROGRAM,
        source,
    }
}

fn run(ebpf: &Ebpf, count: u64, detail: Detail) -> Result<(), LoadError> {
    let program: &RawTracePoint = ebpf
        .program(PROGRAM)
        .ok_or(LoadError::Object(PROGRAM))?
        .try_into()
        .map_err(failed)?;
    let mut options = RawTracePointRunOptions::new();
    options.args[0] = count;
    options.args[1] = u64::from(detail == Detail::Tcp);
    program.test_run(options).map(|_| ()).map_err(failed)
}
