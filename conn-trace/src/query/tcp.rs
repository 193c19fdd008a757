//! TCP's own figures of a row.

use serde::Serialize;

use super::row::Integer;
use crate::registry::connection::{TcpInfo, TcpState};

/// The `tcp` object. What has no sample, or no field in this kernel, is left out.
#[derive(Clone, Debug, Serialize)]
#[expect(
    missing_docs,
    reason = "the names are those of the contract, which describes them"
)]
pub struct Tcp<'a> {
    pub state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retrans: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwnd: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssthresh: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u32>,
    /// Means nothing without a round trip time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rttvar_us: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_rtt_us: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mss: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_rate: Option<Integer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rwnd_limited_ms: Option<Integer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sndbuf_limited_ms: Option<Integer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segs_in: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segs_out: Option<u32>,
    pub bytes_acked: Integer,
    pub bytes_received: Integer,
    pub bytes_retrans: Integer,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub congestion: Option<&'a str>,
}

impl<'a> Tcp<'a> {
    /// The object for these figures.
    #[must_use]
    pub fn new(info: &'a TcpInfo, state: TcpState) -> Self {
        Self {
            state: state.name(),
            retrans: info.retrans,
            lost: info.lost,
            cwnd: info.cwnd,
            ssthresh: info.ssthresh,
            rtt_us: info.rtt_us,
            rttvar_us: info.rtt_us.and(info.rttvar_us),
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
