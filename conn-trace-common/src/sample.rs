//! What the agent reads from a live socket when somebody asks, by running the `sample` program.

/// Slots that one run of the program reads.
pub const BATCH: u32 = 64;

/// The two clocks, read together: jiffies have an unknown rate and origin.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// `jiffies_64`.
    pub jiffies: u64,
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub boot_ns: u64,
}

/// One slot to read, as asked for by the agent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Socket cookie expected in the slot.
    pub cookie: u64,
    /// Slot in the table.
    pub slot: u32,
    /// Generation expected there.
    pub generation: u32,
}

/// The state of one live socket. Times are in jiffies modulo 2^32 or in microseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Cookie of the socket that was read; 0 if it was gone or changed while being read.
    pub cookie: u64,
    /// Bytes that the application has read.
    pub in_bytes: u64,
    /// Bytes that the application has written.
    pub out_bytes: u64,
    /// `tcpi_bytes_acked`.
    pub bytes_acked: u64,
    /// `tcpi_bytes_received`.
    pub bytes_received: u64,
    /// `tcpi_bytes_retrans`.
    pub bytes_retrans: u64,
    /// Inode of the socket's file, 0 before it is accepted or after its last close.
    pub inode: u64,
    /// Written by the application and not acknowledged, in bytes.
    pub pending_bytes: u32,
    /// Arrived and not read by the application, in bytes.
    pub recv_queue_bytes: u32,
    /// Smoothed round trip time in units of 1/8 µs; 0 without a sample.
    pub srtt_us: u32,
    /// Mean deviation of the round trip time in units of 1/4 µs.
    pub mdev_us: u32,
    /// Least round trip time in µs; `u32::MAX` without a sample.
    pub min_rtt_us: u32,
    /// Congestion window in segments.
    pub cwnd: u32,
    /// Slow start threshold in segments.
    pub ssthresh: u32,
    /// Maximum segment size in bytes.
    pub mss: u32,
    /// Segments retransmitted.
    pub retrans: u32,
    /// Segments marked lost.
    pub lost: u32,
    /// Segments delivered over `rate_interval_us`.
    pub rate_delivered: u32,
    /// Interval of the delivery rate in µs.
    pub rate_interval_us: u32,
    /// `chrono_stat`: jiffies spent busy, limited by the receive window, by the send buffer.
    pub chrono_stat: [u32; 3],
    /// Jiffies (modulo 2^32) at which the running chronograph started.
    pub chrono_start: u32,
    /// Running chronograph: 0 none, 1 busy, 2 receive window, 3 send buffer.
    pub chrono_type: u8,
    /// 1 where no process has the socket any more and none can get it (`SOCK_DEAD`), else 0.
    pub is_dead: u8,
    /// Zero.
    pub reserved: u16,
    /// Segments received.
    pub segs_in: u32,
    /// Segments sent.
    pub segs_out: u32,
    /// Jiffies (modulo 2^32) of the last data sent.
    pub last_sent: u32,
    /// Jiffies (modulo 2^32) of the last data received.
    pub last_received: u32,
    /// Local port, host byte order: known here before the handshake ends.
    pub local_port: u16,
    /// TCP state.
    pub state: u8,
    /// Segments received with data, modulo 256.
    pub data_segs_in: u8,
    /// Name of the congestion control algorithm, NUL-padded.
    pub congestion: [u8; 16],
}

const _: () = assert!(size_of::<Sample>() == 56 + 4 * 22 + 16);
