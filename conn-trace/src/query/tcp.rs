//! TCP's own figures of a row.

use schemars::JsonSchema;
use serde::Serialize;

use super::row::Integer;
use crate::registry::connection::{TcpInfo, TcpState};

/// The `tcp` object. What has no sample, or no field in this kernel, is left out.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Tcp<'a> {
    /// State of TCP, as that of the row.
    #[schemars(extend("enum" = TcpState::ALL.map(TcpState::name)))]
    pub state: &'static str,
    /// Segments retransmitted over the connection's life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retrans: Option<u32>,
    /// Segments marked lost over the connection's life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u32>,
    /// Congestion window, in segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwnd: Option<u32>,
    /// Slow start threshold, in segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssthresh: Option<u32>,
    /// Smoothed round trip time, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u32>,
    /// Its deviation, in microseconds. Means nothing without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rttvar_us: Option<u32>,
    /// Smallest round trip time, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_rtt_us: Option<u32>,
    /// Maximum segment size, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mss: Option<u32>,
    /// Delivery rate, in bytes per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_rate: Option<Integer>,
    /// Time limited by the peer's receive window, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rwnd_limited_ms: Option<Integer>,
    /// Time limited by the send buffer, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sndbuf_limited_ms: Option<Integer>,
    /// Segments received, modulo 2^32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segs_in: Option<u32>,
    /// Segments sent, modulo 2^32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segs_out: Option<u32>,
    /// Sequence numbers acknowledged: the SYN of an active open and a FIN count one each.
    pub bytes_acked: Integer,
    /// Sequence numbers received: a FIN counts one.
    pub bytes_received: Integer,
    /// Bytes retransmitted.
    pub bytes_retrans: Integer,
    /// Congestion control algorithm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub congestion: Option<&'a str>,
}

impl<'a> Tcp<'a> {
    /// The object for these figures.
    #[must_use]
    pub fn new(info: &'a TcpInfo, state: TcpState, rtt_us: Option<u32>) -> Self {
        Self {
            state: state.name(),
            retrans: info.retrans,
            lost: info.lost,
            cwnd: info.cwnd,
            ssthresh: info.ssthresh,
            rtt_us,
            rttvar_us: rtt_us.and(info.rttvar_us),
            min_rtt_us: info.min_rtt_us,
            mss: info.mss,
            delivery_rate: info.delivery_rate.map(Integer),
            rwnd_limited_ms: info.rwnd_limited_ms.map(Integer),
            sndbuf_limited_ms: info.sndbuf_limited_ms.map(Integer),
            segs_in: info.segs_in,
            segs_out: info.segs_out,
            bytes_acked: Integer(info.bytes_acked),
            bytes_received: Integer(info.bytes_received),
            bytes_retrans: Integer(info.bytes_retrans),
            congestion: info.congestion.as_deref(),
        }
    }
}
