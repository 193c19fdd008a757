//! All reads of kernel structures.

use core::{
    ffi::c_void,
    ptr::{read_volatile, write_volatile},
};

use aya_ebpf::{
    Global,
    helpers::{
        bpf_get_current_task_btf,
        generated::{
            bpf_get_socket_cookie, bpf_probe_read_kernel, bpf_skc_to_tcp_sock, bpf_task_pt_regs,
        },
    },
};
use conn_trace_common::{fields::MISSING, table::ColdEntry};

use crate::fields::{
    INET_LOCAL_PORT, NET_INUM, REGS_CALL, REGS_RESULT, REGS_SECOND, SIGNAL_EXIT_CODE,
    SOCK_BOUND_IF, SOCK_BOUND_PORT, SOCK_COOKIE, SOCK_ERR, SOCK_FAMILY, SOCK_LOCAL_V4,
    SOCK_LOCAL_V6, SOCK_NET, SOCK_PEER_PORT, SOCK_PEER_V4, SOCK_PEER_V6, SOCK_PROTOCOL,
    SOCK_SHUTDOWN, SOCK_STATE, SOCK_TYPE, SOCK_UID, SUBFLOW_CONNECTION, TASK_COMM, TASK_FLAGS,
    TASK_GROUP_LEADER, TASK_SIGNAL, TCP_DATA_SEGS_IN, TCP_IS_MPTCP, TCP_TOTAL_RETRANS, ULP_DATA,
};

pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_MPTCP: u16 = 262;
const SOCK_STREAM: u16 = 1;
/// include/net/sock.h
const RCV_SHUTDOWN: u8 = 1;
const SEND_SHUTDOWN: u8 = 2;

/// include/linux/sched.h
const PF_EXITING: u32 = 0x4;
const PF_IO_WORKER: u32 = 0x10;
const PF_KTHREAD: u32 = 0x0020_0000;
/// The result of a system call that has not returned yet (`PUSH_AND_CLEAR_REGS` in
/// arch/x86/entry/entry_64.S; `fred_other` in arch/x86/entry/entry_fred.c).
const ENOSYS: u64 = 38;

/// Where kernel fields come from.
pub(crate) trait Fields {
    /// Reads the field at the offset that the global holds.
    fn get<T: Copy + Default>(&self, offset: &Global<u32>) -> T;
}

/// A pointer whose type the verifier knows (`tcp_sock`, `sock`, `task_struct`): plain loads.
#[derive(Clone, Copy)]
pub(crate) struct Trusted(pub(crate) *const u8);

impl Fields for Trusted {
    #[inline(always)]
    fn get<T: Copy + Default>(&self, offset: &Global<u32>) -> T {
        let offset = offset.load();
        if offset == MISSING {
            return T::default();
        }
        // SAFETY: the verifier proves that the constant offset lies inside the structure.
        unsafe { read_volatile(self.0.add(offset as usize).cast()) }
    }
}

impl Trusted {
    /// # Safety
    /// `into` must be valid for 16 bytes.
    #[inline(always)]
    unsafe fn write_address(self, offset: &Global<u32>, into: *mut u32) {
        let offset = offset.load();
        if offset == MISSING {
            return;
        }
        for word in 0..4 {
            // SAFETY: the verifier proves that the offset lies inside; `into` is the caller's.
            unsafe {
                let from = self.0.add(offset as usize).cast::<u32>().add(word);
                write_volatile(into.add(word), read_volatile(from));
            }
        }
    }

    /// Follows a pointer field; the verifier knows the type that it leads to.
    #[inline(always)]
    fn get_pointer(self, offset: &Global<u32>) -> *const u8 {
        // SAFETY: as in `get`.
        unsafe { read_volatile(self.0.add(offset.load() as usize).cast()) }
    }
}

/// A plain address that may be stale: a read that fails gives zeros.
#[derive(Clone, Copy)]
pub(crate) struct Probed(pub(crate) *const u8);

impl Fields for Probed {
    #[inline(always)]
    fn get<T: Copy + Default>(&self, offset: &Global<u32>) -> T {
        let offset = offset.load();
        let mut value = T::default();
        if offset == MISSING {
            return value;
        }
        let from = self.0.wrapping_add(offset as usize);
        // SAFETY: the helper checks the address, and fills `value` with zeros on a fault. The
        // result is left alone: a branch for each read would be too much for the verifier.
        unsafe {
            bpf_probe_read_kernel((&raw mut value).cast(), size_of::<T>() as u32, from.cast());
            read_volatile(&raw const value)
        }
    }
}

/// What sockets of both protocols have: the members of `struct sock`.
pub(crate) trait Socket: Copy {
    /// The socket, by a pointer whose type starts with `struct sock`.
    fn sock(self) -> Trusted;

    /// The local port.
    fn local_port(self) -> u16;

    /// The socket's cookie if it has one, else 0: then no program has entered it anywhere.
    #[inline(always)]
    fn made_cookie(self) -> u64 {
        self.sock().get(&SOCK_COOKIE)
    }

    /// The socket's cookie, made by the kernel at the first call and never 0.
    #[inline(always)]
    fn cookie(self) -> u64 {
        // SAFETY: the verifier checks the argument.
        unsafe { bpf_get_socket_cookie(self.sock().0.cast_mut().cast::<c_void>()) }
    }

    #[inline(always)]
    fn state(self) -> u8 {
        self.sock().get(&SOCK_STATE)
    }

    #[inline(always)]
    fn error(self) -> u16 {
        let error: u32 = self.sock().get(&SOCK_ERR);
        error as u16
    }

    /// Inode number of the socket's network namespace.
    #[inline(always)]
    fn netns(self) -> u32 {
        Trusted(self.sock().get_pointer(&SOCK_NET)).get(&NET_INUM)
    }

    /// Whether this end takes no more data, and whether its program sends no more.
    #[inline(always)]
    fn is_shut(self) -> (bool, bool) {
        let shutdown: u8 = self.sock().get(&SOCK_SHUTDOWN);
        (shutdown & RCV_SHUTDOWN != 0, shutdown & SEND_SHUTDOWN != 0)
    }

    /// The socket's address as a number: the verifier lets a helper copy what a program may not
    /// compare.
    #[inline(always)]
    fn address(self) -> u64 {
        let pointer = self.sock().0;
        let mut address = 0_u64;
        // SAFETY: both are on the stack; a pointer has 8 bytes here.
        unsafe {
            bpf_probe_read_kernel(
                (&raw mut address).cast(),
                size_of::<u64>() as u32,
                (&raw const pointer).cast(),
            );
            read_volatile(&raw const address)
        }
    }

    /// Stores the socket's address, whole: the verifier allows nothing else with it.
    #[inline(always)]
    fn store_address(self, into: *mut u64) {
        // SAFETY: `into` is an element of the SOCKETS array.
        unsafe { write_volatile(into.cast::<*const u8>(), self.sock().0) };
    }

    /// Writes addresses, ports and place.
    ///
    /// # Safety
    /// `cold` must be an entry that the caller owns.
    #[inline(always)]
    unsafe fn write_tuple(self, cold: *mut ColdEntry) {
        let sock = self.sock();
        let family: u16 = sock.get(&SOCK_FAMILY);
        let peer_port: u16 = sock.get(&SOCK_PEER_PORT);
        // SAFETY: the caller's promise.
        unsafe {
            (*cold).family = family;
            (*cold).peer_port = u16::from_be(peer_port);
            (*cold).local_port = self.local_port();
            (*cold).bound_interface = sock.get(&SOCK_BOUND_IF);
            (*cold).uid = sock.get(&SOCK_UID);
            let (local, peer) = (
                &raw mut (*cold).local_address,
                &raw mut (*cold).peer_address,
            );
            if family == AF_INET6 {
                sock.write_address(&SOCK_LOCAL_V6, local.cast());
                sock.write_address(&SOCK_PEER_V6, peer.cast());
            } else {
                let (local, peer) = (local.cast::<u32>(), peer.cast::<u32>());
                write_volatile(local, sock.get(&SOCK_LOCAL_V4));
                write_volatile(peer, sock.get(&SOCK_PEER_V4));
            }
        }
    }
}

/// Whether a socket is a stream of this protocol over IPv4 or IPv6. Other families and protocols
/// pass the hooks too, UNIX and UDP sockets among them, and raw sockets for the protocol TCP.
#[inline(always)]
fn is_stream_of(sock: Trusted, wanted: u16) -> bool {
    let family: u16 = sock.get(&SOCK_FAMILY);
    let protocol: u16 = sock.get(&SOCK_PROTOCOL);
    let kind: u16 = sock.get(&SOCK_TYPE);
    (family == AF_INET || family == AF_INET6) && protocol == wanted && kind == SOCK_STREAM
}

/// A TCP socket of the caller's hook.
#[derive(Clone, Copy)]
pub(crate) struct Tcp {
    pub(crate) fields: Trusted,
}

impl Socket for Tcp {
    #[inline(always)]
    fn sock(self) -> Trusted {
        self.fields
    }

    #[inline(always)]
    fn local_port(self) -> u16 {
        let port: u16 = self.fields.get(&INET_LOCAL_PORT);
        u16::from_be(port)
    }
}

impl Tcp {
    /// The socket in a hook's argument, if it is TCP over IPv4 or IPv6.
    #[inline(always)]
    pub(crate) fn from_argument(sk: *const u8) -> Option<Self> {
        if is_stream_of(Trusted(sk), IPPROTO_TCP) {
            Self::from_sock(sk)
        } else {
            None
        }
    }

    /// `sk` must have a type that the verifier knows and may be any kind of socket.
    #[inline(always)]
    pub(crate) fn from_sock(sk: *const u8) -> Option<Self> {
        // SAFETY: the verifier checks the argument; the result is null for any other socket.
        let tcp = unsafe { bpf_skc_to_tcp_sock(sk.cast_mut().cast()) };
        (!tcp.is_null()).then_some(Self {
            fields: Trusted(tcp.cast::<u8>()),
        })
    }

    /// Segments received with data, modulo 256.
    #[inline(always)]
    pub(crate) fn data_segs_in(self) -> u8 {
        let segments: u32 = self.fields.get(&TCP_DATA_SEGS_IN);
        segments as u8
    }

    #[inline(always)]
    pub(crate) fn total_retrans(self) -> u32 {
        self.fields.get(&TCP_TOTAL_RETRANS)
    }

    /// Whether the socket carries a part of an MPTCP connection and is no application's.
    #[inline(always)]
    pub(crate) fn is_subflow(self) -> bool {
        let is_mptcp: u8 = self.fields.get(&TCP_IS_MPTCP);
        is_mptcp != 0
    }
}

/// An MPTCP socket, which an application uses like one of TCP. Minimum kernel 5.6.
#[derive(Clone, Copy)]
pub(crate) struct Mptcp(Trusted);

impl Socket for Mptcp {
    #[inline(always)]
    fn sock(self) -> Trusted {
        self.0
    }

    #[inline(always)]
    fn local_port(self) -> u16 {
        self.0.get(&SOCK_BOUND_PORT)
    }
}

impl Mptcp {
    /// The socket in a hook's argument, if it is MPTCP.
    #[inline(always)]
    pub(crate) fn from_argument(sk: *const u8) -> Option<Self> {
        is_stream_of(Trusted(sk), IPPROTO_MPTCP).then_some(Self(Trusted(sk)))
    }
}

impl Tcp {
    /// Of a subflow: the cookie of the MPTCP socket that it belongs to, if that has one.
    #[inline(always)]
    pub(crate) fn cookie_above(self) -> u64 {
        let context: u64 = self.fields.get(&ULP_DATA);
        let context = Probed(core::ptr::with_exposed_provenance(context as usize));
        let socket: u64 = context.get(&SUBFLOW_CONNECTION);
        Probed(core::ptr::with_exposed_provenance(socket as usize)).get(&SOCK_COOKIE)
    }
}

/// A system call under way.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) number: u64,
    /// The second argument.
    pub(crate) second: u64,
}

/// The task on whose CPU time the hook runs; only a socket call makes it the socket's user.
#[derive(Clone, Copy)]
pub(crate) struct Task(Trusted);

impl Task {
    #[inline(always)]
    pub(crate) fn current() -> Self {
        // SAFETY: always available and never null.
        Self(Trusted(unsafe { bpf_get_current_task_btf() }.cast::<u8>()))
    }

    #[inline(always)]
    pub(crate) fn is_kernel_thread(self) -> bool {
        let flags: u32 = self.0.get(&TASK_FLAGS);
        flags & PF_KTHREAD != 0
    }

    /// The system call that the task is in, on x86-64. `None` in threads of the kernel and of an
    /// io_uring, and outside of calls, where work for an io_uring is done as well.
    #[inline(always)]
    pub(crate) fn call(self) -> Option<Call> {
        if REGS_CALL.load() == MISSING
            || REGS_RESULT.load() == MISSING
            || REGS_SECOND.load() == MISSING
        {
            return None;
        }
        let flags: u32 = self.0.get(&TASK_FLAGS);
        if flags & (PF_KTHREAD | PF_IO_WORKER) != 0 {
            return None;
        }
        // SAFETY: the verifier checks the argument. Since 5.15.
        let registers = unsafe { bpf_task_pt_regs(self.0.0.cast_mut().cast()) };
        let registers = Probed(core::ptr::with_exposed_provenance(registers as usize));
        let result: u64 = registers.get(&REGS_RESULT);
        (result == ENOSYS.wrapping_neg()).then(|| Call {
            number: registers.get(&REGS_CALL),
            second: registers.get(&REGS_SECOND),
        })
    }

    /// Name of the task's process, which is that of its first thread: a thread's own name, such
    /// as that of a runtime's worker, says little about whose socket it is.
    #[inline(always)]
    pub(crate) fn process_name(self) -> [u8; 16] {
        let leader: *const u8 = self.0.get_pointer(&TASK_GROUP_LEADER);
        Probed(leader).get(&TASK_COMM)
    }

    /// Whether a signal is ending the task's process (its exit code holds it in the low bits). The
    /// task's own code is 0 in a thread that the kernel made for an io_uring.
    #[inline(always)]
    pub(crate) fn is_being_killed(self) -> bool {
        let flags: u32 = self.0.get(&TASK_FLAGS);
        let signal: *const u8 = self.0.get_pointer(&TASK_SIGNAL);
        let exit_code: u32 = Probed(signal).get(&SIGNAL_EXIT_CODE);
        flags & PF_EXITING != 0 && exit_code & 0x7f != 0
    }
}

/// The raw second argument of `iter/tcp`: `struct bpf_iter__tcp { meta, sk_common, uid }`.
#[inline(always)]
pub(crate) fn iterated_socket(ctx: *mut c_void) -> *const u8 {
    // SAFETY: the verifier knows the context's layout.
    unsafe { read_volatile(ctx.cast::<*const u8>().add(1)) }
}
