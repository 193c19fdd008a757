//! The measuring floor of the benchmark: empty programs on the two message tracepoints.
//!
//! Whatever a program does there, it costs at least this much. The agent never loads it.

use aya::{Btf, Ebpf, include_bytes_aligned, programs::BtfTracePoint};

use super::error::LoadError;

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/floor.bpf.o"));

const HOOKS: [(&str, &str); 2] = [
    ("nothing_sent", "sock_send_length"),
    ("nothing_received", "sock_recv_length"),
];

/// The attached empty programs. Dropping it detaches them.
#[derive(Debug)]
pub struct Floor {
    /// Held for the links in it.
    _ebpf: Ebpf,
}

impl Floor {
    /// Loads and attaches the empty programs. Minimum kernel: 6.3, as for conn-trace's own.
    ///
    /// # Errors
    /// If the kernel refuses a program; nothing stays behind.
    pub fn attach() -> Result<Self, LoadError> {
        let types = Btf::from_sys_fs()?;
        let mut ebpf = Ebpf::load(OBJECT)?;
        for (name, tracepoint) in HOOKS {
            let failed = |source| LoadError::Program { name, source };
            let program: &mut BtfTracePoint = ebpf
                .program_mut(name)
                .ok_or(LoadError::Object(name))?
                .try_into()
                .map_err(failed)?;
            program.load(tracepoint, &types).map_err(failed)?;
            program.attach().map_err(failed)?;
        }
        Ok(Self { _ebpf: ebpf })
    }
}
