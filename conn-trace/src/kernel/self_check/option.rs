//! What the kernel says about a socket through its ordinary interfaces.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// The part of `struct tcp_info` (include/uapi/linux/tcp.h) that every supported kernel has.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct TcpInfo {
    pub(super) state: u8,
    bytes: [u8; 7],
    rto: u32,
    ato: u32,
    pub(super) snd_mss: u32,
    rcv_mss: u32,
    pub(super) unacked: u32,
    counts: [u32; 4],
    /// In ms; this and the other ages change with the time alone.
    pub(super) last_data_sent: u32,
    last_ack_sent: u32,
    pub(super) last_data_recv: u32,
    last_ack_recv: u32,
    pmtu: u32,
    rcv_ssthresh: u32,
    pub(super) rtt: u32,
    pub(super) rttvar: u32,
    pub(super) snd_ssthresh: u32,
    pub(super) snd_cwnd: u32,
    advmss: u32,
    reordering: u32,
    rcv_rtt: u32,
    rcv_space: u32,
    pub(super) total_retrans: u32,
    pacing: [u64; 2],
    pub(super) bytes_acked: u64,
    pub(super) bytes_received: u64,
    pub(super) segs_out: u32,
    pub(super) segs_in: u32,
    notsent_bytes: u32,
    pub(super) min_rtt: u32,
    pub(super) data_segs_in: u32,
    data_segs_out: u32,
    pub(super) delivery_rate: u64,
    /// In µs; grows with the time while data is in flight.
    pub(super) busy_time: u64,
    limited: [u64; 2],
    delivered: [u32; 2],
    bytes_sent: u64,
    pub(super) bytes_retrans: u64,
}

const _: () = assert!(size_of::<TcpInfo>() == 216);

impl TcpInfo {
    /// The figures that change only when a segment is sent, received or given up.
    pub(super) fn stable(&self) -> [u64; 12] {
        [
            self.bytes_acked,
            self.bytes_received,
            self.bytes_retrans,
            self.segs_out.into(),
            self.segs_in.into(),
            self.rtt.into(),
            self.rttvar.into(),
            self.min_rtt.into(),
            self.snd_cwnd.into(),
            self.snd_ssthresh.into(),
            self.total_retrans.into(),
            self.delivery_rate,
        ]
    }
}

pub(super) fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    fixed(socket, libc::IPPROTO_TCP, libc::TCP_INFO)
}

pub(super) fn cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    fixed(socket, libc::SOL_SOCKET, libc::SO_COOKIE)
}

/// Name of the congestion control algorithm, NUL-padded.
pub(super) fn congestion(socket: BorrowedFd<'_>) -> io::Result<[u8; 16]> {
    fixed(socket, libc::IPPROTO_TCP, libc::TCP_CONGESTION)
}

/// Bytes not acknowledged (`SIOCOUTQ`).
pub(super) fn unacked(socket: BorrowedFd<'_>) -> io::Result<u32> {
    queue(socket, libc::TIOCOUTQ)
}

/// Bytes arrived and not read (`SIOCINQ`).
pub(super) fn unread(socket: BorrowedFd<'_>) -> io::Result<u32> {
    queue(socket, libc::FIONREAD)
}

/// Holds back what does not fill a segment, or lets it go.
pub(super) fn cork(socket: BorrowedFd<'_>, hold: bool) -> io::Result<()> {
    set(
        socket,
        libc::IPPROTO_TCP,
        libc::TCP_CORK,
        &libc::c_int::from(hold),
    )
}

/// A socket of MPTCP over IPv4.
pub(super) fn multipath_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers are passed.
    let socket = unsafe { libc::socket(libc::AF_INET, kind, libc::IPPROTO_MPTCP) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// Acknowledges at once what has arrived.
pub(super) fn acknowledge(socket: BorrowedFd<'_>) -> io::Result<()> {
    let at_once: libc::c_int = 1;
    set(socket, libc::IPPROTO_TCP, libc::TCP_QUICKACK, &at_once)
}

/// Has a socket filter look at every segment that arrives.
pub(super) fn attach_filter(socket: BorrowedFd<'_>, filter: BorrowedFd<'_>) -> io::Result<()> {
    set(
        socket,
        libc::SOL_SOCKET,
        libc::SO_ATTACH_BPF,
        &filter.as_raw_fd(),
    )
}

pub(super) fn detach_filter(socket: BorrowedFd<'_>) -> io::Result<()> {
    let ignored: libc::c_int = 0;
    set(socket, libc::SOL_SOCKET, libc::SO_DETACH_BPF, &ignored)
}

/// A close of the socket is a reset from now on.
pub(super) fn reset_on_close(socket: BorrowedFd<'_>) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    set(socket, libc::SOL_SOCKET, libc::SO_LINGER, &linger)
}

fn set<T>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: `value` is as long as it says, and holds no pointers.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    ended(status)
}

/// A socket option of a fixed size; the kernel may know a longer one.
fn fixed<T: Copy + Default>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
) -> io::Result<T> {
    let mut value = T::default();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is `len` bytes long, and any bytes are a value of the types used here.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    ended(status)?;
    if len as usize != size_of::<T>() {
        return Err(io::Error::other(format!(
            "socket option {option}: {len} bytes"
        )));
    }
    Ok(value)
}

fn queue(socket: BorrowedFd<'_>, request: libc::Ioctl) -> io::Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: both requests write one int.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut bytes) };
    ended(status)?;
    u32::try_from(bytes).map_err(io::Error::other)
}

fn ended(status: libc::c_int) -> io::Result<()> {
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
