//! Loading and attaching the programs.

use std::{
    mem,
    os::fd::{AsFd, OwnedFd},
};

use aya::{
    Btf as AyaBtf, Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{MapData, RingBuf},
    programs::{Iter, Program, ProgramError, SocketFilter},
};
use conn_trace_common::{
    message::Message,
    sample::{Request, Sample},
    table::{ColdEntry, HotEntry},
};

use super::{
    btf::Btf,
    clock::{Clocks, Moment, boot_now_ns},
    degradation::Degradation,
    error::{ITERATOR, KERNEL_BTF, LoadError},
    existing,
    hooks::{HeldUp, Hook, LIFE, Variant},
    misses,
    offsets::Offsets,
    preemption,
    ring::{self, Lifecycle, Record},
    runs::{self, ProgramRuns},
    sampler::{Detail, Sampler},
    table::{Table, slots_for},
};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/conn-trace.bpf.o"));

const DEAF: &str = "deaf";

/// What the agent can choose.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Connections that the table takes.
    pub max_connections: u32,
    /// Whether the programs log every state change (costs time; for debugging).
    pub kernel_log: bool,
    /// How messages are seen; `None` for the first variant that the kernel takes.
    pub variant: Option<Variant>,
}

/// The loaded programs and their maps. Dropping it detaches everything and leaves nothing behind.
pub struct Tracer {
    table: Table,
    lifecycle: Lifecycle,
    messages_ring: RingBuf<MapData>,
    sampler: Sampler,
    clocks: Clocks,
    degradations: Vec<Degradation>,
    wanted: Option<Variant>,
    /// Who is held up in message hooks.
    held_up: HeldUp,
    messages: Option<(Variant, Vec<Hook>)>,
    kernel_memory_bytes: u64,
    counting_since_ns: Option<u64>,
    listed_ns: u64,
    missed_at_last_look: u64,
    /// Skipped while hooks were being attached: nothing was counted then.
    missed_before: u64,
    // Last: the links go when everything that uses them is gone.
    ebpf: Ebpf,
}

impl Tracer {
    /// Loads the programs and maps.
    ///
    /// # Errors
    /// If the kernel lacks something or refuses a program; nothing stays behind.
    pub fn load(options: Options) -> Result<Self, LoadError> {
        let kernel_types = std::fs::read(KERNEL_BTF).map_err(LoadError::NoBtf)?;
        let btf = Btf::parse(&kernel_types)?;
        let offsets = Offsets::resolve(&btf)?;
        let library_types = AyaBtf::parse(&kernel_types, aya::Endianness::default())?;
        let slots = slots_for(options.max_connections);
        let ring_bytes = ring_bytes(options.max_connections);

        let values: Vec<_> = offsets.iter().collect();
        let bits = slots.ilog2();
        let log_level = u8::from(options.kernel_log) * LOG_LEVEL_INFO;
        let variants = options
            .variant
            .map_or(Variant::ALL.to_vec(), |one| vec![one]);
        let likely = variants.into_iter().find(|it| it.hooks(&btf).is_ok());
        let held_up = if likely.is_some_and(preemption::reaches) {
            HeldUp::Several
        } else {
            HeldUp::Nobody
        };
        let marks = u32::from(held_up == HeldUp::Several);
        let mut loader = EbpfLoader::new();
        loader
            .btf(Some(&library_types))
            .override_global("TABLE_BITS", &bits, true)
            .override_global("TABLE_CAPACITY", &options.max_connections, true)
            .override_global("MARKS_MESSAGES", &marks, true)
            .override_global("AYA_LOG_LEVEL", &log_level, true)
            .map_max_entries("LIFECYCLE", ring_bytes)
            .map_max_entries("MESSAGES", MESSAGES_RING_BYTES);
        for table in ["HOT", "COLD", "SOCKETS"] {
            loader.map_max_entries(table, slots);
        }
        for (name, value) in &values {
            loader.override_global(name, value, true);
        }
        let mut ebpf = loader.load(OBJECT)?;

        let mut sampler = Sampler::new(&mut ebpf)?;
        let clocks = Clocks::measure(|| sampler.clock(&ebpf))?;
        let table = Table::new(&ebpf, slots)?;
        let lifecycle = Lifecycle::new(take_ring(&mut ebpf, "LIFECYCLE")?);
        let messages_ring = take_ring(&mut ebpf, "MESSAGES")?;
        Ok(Self {
            table,
            lifecycle,
            messages_ring,
            sampler,
            clocks,
            degradations: offsets
                .missing()
                .iter()
                .cloned()
                .map(Degradation::FieldMissing)
                .collect(),
            wanted: options.variant,
            held_up,
            messages: None,
            kernel_memory_bytes: memory(slots, ring_bytes),
            counting_since_ns: None,
            listed_ns: 0,
            missed_at_last_look: 0,
            missed_before: 0,
            ebpf,
        })
    }

    /// Attaches the hooks, those of life first.
    ///
    /// # Errors
    /// If the kernel refuses a program.
    pub fn attach(&mut self) -> Result<(), LoadError> {
        let kernel_types = std::fs::read(KERNEL_BTF).map_err(LoadError::NoBtf)?;
        let types = AyaBtf::parse(&kernel_types, aya::Endianness::default())?;
        let held_up = if preemption::reaches(Variant::TpBtf) {
            HeldUp::Several
        } else {
            HeldUp::One
        };
        let life = LIFE.map(|hook| hook.programs(held_up)).concat();
        for hook in &life {
            self.load_hook(hook, &types)?;
        }
        self.program::<Iter>(ITERATOR)?
            .load("tcp", &types)
            .map_err(|source| LoadError::Program {
                name: ITERATOR,
                source,
            })?;
        for hook in &life {
            self.attach_hook(hook)?;
        }
        self.attach_messages(&Btf::parse(&kernel_types)?, &types)?;
        self.missed_before = self.skipped_runs()?;
        self.table.activate();
        self.counting_since_ns = Some(boot_now_ns());
        Ok(())
    }

    /// The first variant that this kernel takes: only loading the real programs tells.
    fn attach_messages(&mut self, btf: &Btf<'_>, types: &AyaBtf) -> Result<(), LoadError> {
        let candidates = self
            .wanted
            .map_or(Variant::ALL.to_vec(), |wanted| vec![wanted]);
        let mut refusals = Vec::new();
        for variant in candidates {
            let tried = match variant.hooks(btf) {
                Ok(hooks) => self.attach_variant(hooks, types),
                Err(reason) => Err(LoadError::NoVariant(reason.to_string())),
            };
            match tried {
                Ok(hooks) => {
                    self.messages = Some((variant, hooks));
                    return Ok(());
                }
                Err(LoadError::NoVariant(reason)) => refusals.push(format!("{variant}: {reason}")),
                Err(error) => refusals.push(format!("{variant}: {error}")),
            }
        }
        Err(LoadError::NoVariant(refusals.join("; ")))
    }

    /// All hooks, or none and the reason. Gives those that are attached.
    fn attach_variant(&mut self, hooks: Vec<Hook>, types: &AyaBtf) -> Result<Vec<Hook>, LoadError> {
        let mut attached = Vec::new();
        for hook in hooks {
            let programs = hook.programs(self.held_up);
            let tried = programs.iter().try_for_each(|program| {
                self.load_hook(program, types)?;
                self.attach_hook(program)
            });
            match tried {
                Ok(()) => attached.push(hook),
                Err(error) => {
                    if let Some(without) = hook.without {
                        self.undo(&hook)?;
                        self.degradations.push(without(error.to_string()));
                        continue;
                    }
                    for hook in attached.iter().chain([&hook]) {
                        self.undo(hook)?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(attached)
    }

    fn load_hook(&mut self, hook: &Hook, types: &AyaBtf) -> Result<(), LoadError> {
        let name = hook.program;
        hook.load(self.raw_program(name)?, types)
            .map_err(|source| LoadError::Program { name, source })
    }

    fn attach_hook(&mut self, hook: &Hook) -> Result<(), LoadError> {
        let name = hook.program;
        hook.attach(self.raw_program(name)?)
            .map_err(|source| LoadError::Program { name, source })
    }

    fn undo(&mut self, hook: &Hook) -> Result<(), LoadError> {
        for program in hook.programs(self.held_up) {
            let name = program.program;
            program
                .undo(self.raw_program(name)?)
                .map_err(|source| LoadError::Program { name, source })?;
        }
        Ok(())
    }

    /// Enters the connections that exist already. Those that open, close or move data meanwhile
    /// are seen by the hooks; hooks and listing meet in the table by socket cookie.
    ///
    /// Network namespaces whose connections could not be listed are among the
    /// [`degradations`](Self::degradations) then.
    ///
    /// # Errors
    /// If the kernel refuses the program.
    pub fn list_existing(&mut self) -> Result<(), LoadError> {
        let unlisted = existing::list(self.program(ITERATOR)?)?;
        self.degradations
            .extend(unlisted.into_iter().map(Degradation::NamespaceUnlisted));
        self.listed_ns = boot_now_ns();
        Ok(())
    }

    /// A socket filter that lets nothing through.
    pub(super) fn deaf_filter(&mut self) -> Result<OwnedFd, LoadError> {
        let failed = |source| LoadError::Program { name: DEAF, source };
        let filter: &mut SocketFilter = self.program(DEAF)?;
        filter.load().map_err(failed)?;
        let fd = filter.fd().map_err(failed)?;
        fd.as_fd()
            .try_clone_to_owned()
            .map_err(|source| LoadError::Map { name: DEAF, source })
    }

    fn program<'a, P>(&'a mut self, name: &'static str) -> Result<&'a mut P, LoadError>
    where
        &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
    {
        self.raw_program(name)?
            .try_into()
            .map_err(|source| LoadError::Program { name, source })
    }

    fn raw_program(&mut self, name: &'static str) -> Result<&mut Program, LoadError> {
        self.ebpf.program_mut(name).ok_or(LoadError::Object(name))
    }

    /// Takes every record out of the lifecycle ring; gives the number that could not be read.
    pub fn drain(&mut self, take: impl FnMut(Record)) -> u64 {
        self.lifecycle.drain(take)
    }

    /// Takes every record out of the ring of messages; gives the number that could not be read. If it
    /// is looked at after the lifecycle ring, all messages of the ended connections that were in that
    /// one are in it.
    pub fn drain_messages(&mut self, take: impl FnMut(Message)) -> u64 {
        ring::drain_messages(&mut self.messages_ring, take)
    }

    /// Makes room in the ring, and in the table where the ring had none; [`drain`](Self::drain)
    /// gives what was there.
    pub(super) fn keep_ended(&mut self) {
        self.lifecycle.keep_ended(&self.table);
    }

    /// The first bytes of a connection among what was kept so.
    pub(super) fn first_bytes(&self, cookie: u64) -> Vec<u8> {
        self.lifecycle.first_bytes(cookie)
    }

    /// What the programs could not see or take up: a number that grows with each.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub(super) fn unseen(&self) -> Result<u64, LoadError> {
        let stats = self.table.stats();
        let lost = stats.untracked + stats.untracked_messages + stats.ring_lost_first_bytes;
        Ok(self.skipped_runs()? + lost)
    }

    /// The connection table.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Reads live sockets; `take` gets the position in `wanted` and what was read, `None` where
    /// the socket was gone.
    ///
    /// # Errors
    /// If the kernel refuses to run the program.
    pub fn sample(
        &mut self,
        wanted: &[Request],
        detail: Detail,
        take: impl FnMut(usize, Option<Sample>),
    ) -> Result<(), LoadError> {
        self.sampler.sample(&self.ebpf, wanted, detail, take)
    }

    /// This moment on all clocks.
    ///
    /// # Errors
    /// If the kernel refuses to run the program.
    pub fn now(&mut self) -> Result<Moment, LoadError> {
        Ok(self.clocks.moment(self.sampler.clock(&self.ebpf)?))
    }

    /// What is not known on this kernel.
    #[must_use]
    pub fn degradations(&self) -> &[Degradation] {
        &self.degradations
    }

    /// Whether this kernel has the field of that global; without it, what is read there is 0.
    #[must_use]
    pub fn has_field(&self, global: &str) -> bool {
        !self.degradations.iter().any(|degradation| {
            matches!(degradation, Degradation::FieldMissing(field) if field.global() == global)
        })
    }

    /// How messages are seen; `None` before all hooks are attached.
    #[must_use]
    pub fn variant(&self) -> Option<Variant> {
        self.messages.as_ref().map(|(variant, _)| *variant)
    }

    /// Kernel memory that table and rings occupy.
    #[must_use]
    pub fn kernel_memory_bytes(&self) -> u64 {
        self.kernel_memory_bytes
    }

    /// When the connections that existed had been entered (`CLOCK_BOOTTIME`).
    #[must_use]
    pub fn listed_ns(&self) -> u64 {
        self.listed_ns
    }

    /// What each program took, where the kernel measures it.
    #[must_use]
    pub fn program_runs(&self) -> Vec<ProgramRuns> {
        runs::of(&self.ebpf)
    }

    /// Runs that the kernel skipped and no other program made up for.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn missed_runs(&mut self) -> Result<u64, LoadError> {
        let skipped = self.skipped_runs()?;
        // After the skipped runs: a run is skipped before it is made up for. One that is being made
        // up for right now is not at the next look, and those that are lost stay lost.
        let made_up = self.table.stats().nested_runs;
        let missed = (skipped - self.missed_before).saturating_sub(made_up);
        Ok(missed.min(mem::replace(&mut self.missed_at_last_look, missed)))
    }

    /// Runs of the first programs of the hooks that the kernel skipped.
    fn skipped_runs(&self) -> Result<u64, LoadError> {
        let messages = self.messages.iter().flat_map(|(_, hooks)| hooks);
        LIFE.iter().chain(messages).try_fold(0, |sum, hook| {
            let name = hook.program;
            let program = self.ebpf.program(name).ok_or(LoadError::Object(name))?;
            let fd = program
                .fd()
                .map_err(|source| LoadError::Program { name, source })?;
            let missed =
                misses::of(fd.as_fd()).map_err(|source| LoadError::Map { name, source })?;
            if missed > 0 {
                tracing::debug!(program = name, missed, "runs skipped by the kernel");
            }
            Ok(sum + missed)
        })
    }

    /// Since when messages are counted (`CLOCK_BOOTTIME`); `None` before all hooks are attached.
    #[must_use]
    pub fn counting_since_ns(&self) -> Option<u64> {
        self.counting_since_ns
    }

    /// The programs' log, if they were loaded with it. To be polled by the caller.
    ///
    /// # Errors
    /// If the object has no log.
    pub fn take_log(&mut self) -> Result<aya_log::EbpfLogger<&'static dyn log::Log>, LoadError> {
        aya_log::EbpfLogger::init(&mut self.ebpf).map_err(|_| LoadError::Object("AYA_LOGS"))
    }
}

/// aya-log's level for `info!` and everything above.
const LOG_LEVEL_INFO: u8 = 3;

/// Room for 4,681 messages (48 bytes and a header of 8) between two looks of the reader, which comes
/// every 20 ms while somebody asks for messages: 234,000 in a second.
const MESSAGES_RING_BYTES: u32 = 1 << 18;

fn take_ring(ebpf: &mut Ebpf, name: &'static str) -> Result<RingBuf<MapData>, LoadError> {
    let map = ebpf.take_map(name).ok_or(LoadError::Object(name))?;
    Ok(RingBuf::try_from(map)?)
}

/// Room for one closing record (216 bytes and a header of 8) of every second connection, so that
/// half of a full table may end between two looks of the reader; a power of two as the kernel asks.
fn ring_bytes(max_connections: u32) -> u32 {
    (u64::from(max_connections) * 112)
        .next_power_of_two()
        .clamp(1 << 20, 1 << 26) as u32
}

fn memory(slots: u32, ring_bytes: u32) -> u64 {
    let slot = size_of::<HotEntry>() + size_of::<ColdEntry>() + size_of::<u64>();
    u64::from(slots) * slot as u64 + u64::from(ring_bytes) + u64::from(MESSAGES_RING_BYTES)
}
