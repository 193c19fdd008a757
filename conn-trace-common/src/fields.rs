//! The kernel structure fields that the programs read, named once for both sides.
//!
//! Rust cannot emit CO-RE relocations yet, so the agent looks each field up in the running
//! kernel's BTF and passes its byte offset to the object as a read-only global of the name given
//! here. The verifier treats such a global as a constant.

/// The value of an offset global whose field this kernel does not have.
///
/// The branch that tests for it is dead code to the verifier wherever the field is missing.
pub const MISSING: u32 = u32::MAX;

/// Calls the macro `$with` once with every field: `NAME: "structure", "member.path", size, need;`
///
/// * `NAME` is the global in the object.
/// * `member.path` may cross anonymous members; every dot enters a named embedded structure.
/// * `size` is the member's size in bytes, checked against the BTF.
/// * `need` is `required` (the agent refuses to start without it) or `optional` (the global keeps
///   [`MISSING`]).
#[macro_export]
macro_rules! kernel_fields {
    ($with:ident) => {
        $with! {
            SOCK_FAMILY: "sock", "__sk_common.skc_family", 2, required;
            SOCK_STATE: "sock", "__sk_common.skc_state", 1, required;
            SOCK_COOKIE: "sock", "__sk_common.skc_cookie", 8, required;
            SOCK_PEER_PORT: "sock", "__sk_common.skc_dport", 2, required;
            SOCK_BOUND_PORT: "sock", "__sk_common.skc_num", 2, required;
            SOCK_PEER_V4: "sock", "__sk_common.skc_daddr", 4, required;
            SOCK_LOCAL_V4: "sock", "__sk_common.skc_rcv_saddr", 4, required;
            SOCK_PEER_V6: "sock", "__sk_common.skc_v6_daddr", 16, optional;
            SOCK_LOCAL_V6: "sock", "__sk_common.skc_v6_rcv_saddr", 16, optional;
            SOCK_NET: "sock", "__sk_common.skc_net", 8, required;
            SOCK_FLAGS: "sock", "__sk_common.skc_flags", 8, required;
            SOCK_BOUND_IF: "sock", "__sk_common.skc_bound_dev_if", 4, required;
            SOCK_TYPE: "sock", "sk_type", 2, required;
            SOCK_SHUTDOWN: "sock", "sk_shutdown", 1, required;
            SOCK_PROTOCOL: "sock", "sk_protocol", 2, required;
            SOCK_ERR: "sock", "sk_err", 4, required;
            SOCK_SOCKET: "sock", "sk_socket", 8, required;
            SOCK_UID: "sock", "sk_uid", 4, required;
            INET_LOCAL_PORT: "inet_sock", "inet_sport", 2, required;
            NET_INUM: "net", "ns.inum", 4, required;
            TASK_FLAGS: "task_struct", "flags", 4, required;
            TASK_SIGNAL: "task_struct", "signal", 8, required;
            SIGNAL_EXIT_CODE: "signal_struct", "group_exit_code", 4, required;
            TASK_GROUP_LEADER: "task_struct", "group_leader", 8, required;
            TASK_COMM: "task_struct", "comm", 16, required;
            REGS_RESULT: "pt_regs", "ax", 8, optional;
            REGS_CALL: "pt_regs", "orig_ax", 8, optional;
            REGS_SECOND: "pt_regs", "si", 8, optional;
            SOCKET_ALLOC_INODE: "socket_alloc", "vfs_inode.i_ino", 8, required;
            TCP_BYTES_ACKED: "tcp_sock", "bytes_acked", 8, required;
            TCP_BYTES_RECEIVED: "tcp_sock", "bytes_received", 8, required;
            TCP_BYTES_SENT: "tcp_sock", "bytes_sent", 8, required;
            TCP_BYTES_RETRANS: "tcp_sock", "bytes_retrans", 8, required;
            TCP_WRITE_SEQ: "tcp_sock", "write_seq", 4, required;
            TCP_SND_UNA: "tcp_sock", "snd_una", 4, required;
            TCP_SND_NXT: "tcp_sock", "snd_nxt", 4, required;
            TCP_RCV_NXT: "tcp_sock", "rcv_nxt", 4, required;
            TCP_COPIED_SEQ: "tcp_sock", "copied_seq", 4, required;
            TCP_DATA_SEGS_IN: "tcp_sock", "data_segs_in", 4, required;
            TCP_SRTT_US: "tcp_sock", "srtt_us", 4, required;
            TCP_MDEV_US: "tcp_sock", "mdev_us", 4, optional;
            TCP_RTT_MIN: "tcp_sock", "rtt_min", 24, optional;
            TCP_SND_CWND: "tcp_sock", "snd_cwnd", 4, optional;
            TCP_SND_SSTHRESH: "tcp_sock", "snd_ssthresh", 4, optional;
            TCP_MSS_CACHE: "tcp_sock", "mss_cache", 4, optional;
            TCP_IS_MPTCP: "tcp_sock", "is_mptcp", 1, optional;
            ULP_DATA: "inet_connection_sock", "icsk_ulp_data", 8, optional;
            SUBFLOW_CONNECTION: "mptcp_subflow_context", "conn", 8, optional;
            MPTCP_WRITE_SEQ: "mptcp_sock", "write_seq", 8, optional;
            MPTCP_SND_UNA: "mptcp_sock", "snd_una", 8, optional;
            TCP_TOTAL_RETRANS: "tcp_sock", "total_retrans", 4, optional;
            TCP_LOST: "tcp_sock", "lost", 4, optional;
            TCP_RATE_DELIVERED: "tcp_sock", "rate_delivered", 4, optional;
            TCP_RATE_INTERVAL_US: "tcp_sock", "rate_interval_us", 4, optional;
            TCP_CHRONO_START: "tcp_sock", "chrono_start", 4, optional;
            TCP_CHRONO_STAT: "tcp_sock", "chrono_stat", 12, optional;
            TCP_SEGS_IN: "tcp_sock", "segs_in", 4, optional;
            TCP_SEGS_OUT: "tcp_sock", "segs_out", 4, optional;
            TCP_LAST_SENT: "tcp_sock", "lsndtime", 4, required;
            TCP_LAST_RECEIVED: "inet_connection_sock", "icsk_ack.lrcvtime", 4, required;
            TCP_CONGESTION_OPS: "inet_connection_sock", "icsk_ca_ops", 8, optional;
            CONGESTION_NAME: "tcp_congestion_ops", "name", 16, optional;
        }
    };
}
