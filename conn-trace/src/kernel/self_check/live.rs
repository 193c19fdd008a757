//! Samples of a live socket, compared with `TCP_INFO`.

use std::{io, net::TcpStream, os::fd::AsFd};

use conn_trace_common::sample::{Request, Sample};
use nix::sys::stat::fstat;

use super::{
    super::{clock::Moment, loader::Tracer, offsets::CHRONO_TYPE, sampler::Detail, table::Entry},
    SelfCheckError,
    end::{Truth, text},
    option::{self, TcpInfo},
};

/// Samples until one was taken with nothing in between.
const ATTEMPTS: usize = 1000;
/// `TCP_CHRONO_BUSY` of include/net/tcp.h.
const BUSY: u8 = 1;
const US_PER_MS: u64 = 1000;
const US_PER_SECOND: u64 = 1_000_000;

/// A sample, and the kernel's own readings around it, with nothing but time in between.
pub(super) struct Reading {
    before: TcpInfo,
    pub(super) sample: Sample,
    moment: Moment,
    unacked: u32,
    unread: u32,
    after: TcpInfo,
}

impl Truth {
    /// Compares the entry and a sample.
    pub(super) fn check(
        &self,
        tracer: &mut Tracer,
        stream: &TcpStream,
    ) -> Result<Entry, SelfCheckError> {
        let entry = self.check_entry(tracer)?;
        self.check_sample(tracer, stream)?;
        Ok(entry)
    }

    /// Compares what a sample says; a field that this kernel lacks is left alone.
    pub(super) fn check_sample(
        &self,
        tracer: &mut Tracer,
        stream: &TcpStream,
    ) -> Result<(), SelfCheckError> {
        let reading = self.read(tracer, stream)?;
        let sample = &reading.sample;
        self.same(
            "bytes read (sampled)",
            &sample.in_bytes,
            &(self.read as u64),
        )?;
        self.same(
            "bytes written (sampled)",
            &sample.out_bytes,
            &(self.written as u64),
        )?;
        self.same(
            "bytes unacknowledged",
            &sample.pending_bytes,
            &reading.unacked,
        )?;
        self.same("bytes unread", &sample.recv_queue_bytes, &reading.unread)?;
        self.same("sock.skc_state", &sample.state, &self.state)?;
        self.same("sock.skc_num", &sample.local_port, &self.local.port())?;
        self.same("socket inode", &sample.inode, &inode(stream)?)?;
        let is_known = |globals: &[&str]| globals.iter().all(|name| tracer.has_field(name));
        for (global, field, found, expected) in reading.figures() {
            if is_known(&[global]) {
                self.same(field, &found, &expected)?;
            }
        }
        if is_known(&["TCP_LOST", "TCP_SEGS_OUT"]) {
            self.plausible_losses(sample)?;
        }
        if is_known(&[
            "TCP_RATE_DELIVERED",
            "TCP_RATE_INTERVAL_US",
            "TCP_MSS_CACHE",
        ]) {
            self.same(
                "delivery rate",
                &delivery_rate(sample),
                &reading.after.delivery_rate,
            )?;
        }
        if is_known(&["TCP_CONGESTION_OPS", "CONGESTION_NAME"]) {
            let name = option::congestion(stream.as_fd())?;
            self.same(
                "congestion control",
                &text(&sample.congestion),
                &text(&name),
            )?;
        }
        if is_known(&["TCP_CHRONO_START", "TCP_CHRONO_STAT", CHRONO_TYPE[0]]) {
            self.busy(&reading)?;
        }
        self.ages(&reading)
    }

    /// Compares the bytes in flight of an MPTCP socket, where the kernel tells them (since 5.17).
    pub(super) fn check_multipath_sample(
        &self,
        tracer: &mut Tracer,
        stream: &TcpStream,
    ) -> Result<(), SelfCheckError> {
        let wanted = [self.request(tracer)?];
        let mut found = None;
        tracer.sample(&wanted, Detail::Common, |_, sample| found = sample)?;
        let sample = found.ok_or(SelfCheckError::Unread { end: self.name })?;
        if let Ok(unacked) = option::unacked(stream.as_fd())
            && tracer.has_field("MPTCP_WRITE_SEQ")
            && tracer.has_field("MPTCP_SND_UNA")
        {
            self.same(
                "mptcp_sock.write_seq - snd_una",
                &sample.pending_bytes,
                &unacked,
            )?;
        }
        Ok(())
    }

    fn request(&self, tracer: &mut Tracer) -> Result<Request, SelfCheckError> {
        let entry = self.entry(tracer)?;
        Ok(Request {
            cookie: self.cookie,
            slot: entry.slot,
            generation: entry.hot.generation,
        })
    }

    /// A sample of the socket.
    pub(super) fn read(
        &self,
        tracer: &mut Tracer,
        stream: &TcpStream,
    ) -> Result<Reading, SelfCheckError> {
        let wanted = [self.request(tracer)?];
        let socket = stream.as_fd();
        let mut found = None;
        for _ in 0..ATTEMPTS {
            let before = option::tcp_info(socket)?;
            tracer.sample(&wanted, Detail::Tcp, |_, sample| found = sample)?;
            let moment = tracer.now()?;
            let (unacked, unread) = (option::unacked(socket)?, option::unread(socket)?);
            let after = option::tcp_info(socket)?;
            if let Some(sample) = found
                && before.stable() == after.stable()
            {
                return Ok(Reading {
                    before,
                    sample,
                    moment,
                    unacked,
                    unread,
                    after,
                });
            }
        }
        Err(match found {
            // The programs tell by its cookie that a socket is the one asked for.
            None => self.wrong("sock.skc_cookie", &"another", &self.cookie),
            Some(_) => SelfCheckError::Unread { end: self.name },
        })
    }

    /// How long data was in flight: the stopped time, and what runs at the moment.
    fn busy(&self, reading: &Reading) -> Result<(), SelfCheckError> {
        let sample = &reading.sample;
        let running = if reading.unacked > 0 { BUSY } else { 0 };
        self.same("tcp_sock.chrono_type", &sample.chrono_type, &running)?;
        let stopped = sample.chrono_stat.iter().map(|&ticks| u64::from(ticks));
        let mut busy_ms = reading.moment.jiffies_to_ms(stopped.sum());
        if running == BUSY {
            busy_ms = busy_ms.saturating_add(reading.ago_ms(sample.chrono_start));
        }
        self.between(
            "time busy in ms",
            busy_ms,
            reading.before.busy_time / US_PER_MS,
            reading.after.busy_time / US_PER_MS,
        )
    }

    /// When data was sent and received last.
    fn ages(&self, reading: &Reading) -> Result<(), SelfCheckError> {
        let Reading {
            before,
            sample,
            after,
            ..
        } = reading;
        self.between(
            "ms since tcp_sock.lsndtime",
            reading.ago_ms(sample.last_sent),
            before.last_data_sent.into(),
            after.last_data_sent.into(),
        )?;
        self.between(
            "ms since inet_connection_sock.icsk_ack.lrcvtime",
            reading.ago_ms(sample.last_received),
            before.last_data_recv.into(),
            after.last_data_recv.into(),
        )
    }
}

impl Reading {
    /// What is equal: the global, its field, what was sampled, and what `TCP_INFO` says.
    fn figures(&self) -> [(&'static str, &'static str, u64, u64); 13] {
        let (ours, kernel) = (&self.sample, &self.after);
        macro_rules! figures {
            ($($global:literal $field:literal $found:expr => $expected:expr;)*) => {
                [$((
                    $global,
                    concat!("tcp_sock.", $field),
                    u64::from($found),
                    u64::from($expected),
                )),*]
            };
        }
        figures! {
            "TCP_BYTES_ACKED" "bytes_acked" ours.bytes_acked => kernel.bytes_acked;
            "TCP_BYTES_RECEIVED" "bytes_received" ours.bytes_received => kernel.bytes_received;
            "TCP_BYTES_RETRANS" "bytes_retrans" ours.bytes_retrans => kernel.bytes_retrans;
            "TCP_SRTT_US" "srtt_us" ours.srtt_us >> 3 => kernel.rtt;
            "TCP_MDEV_US" "mdev_us" ours.mdev_us >> 2 => kernel.rttvar;
            "TCP_RTT_MIN" "rtt_min" ours.min_rtt_us => kernel.min_rtt;
            "TCP_SND_CWND" "snd_cwnd" ours.cwnd => kernel.snd_cwnd;
            "TCP_SND_SSTHRESH" "snd_ssthresh" ours.ssthresh => kernel.snd_ssthresh;
            "TCP_MSS_CACHE" "mss_cache" ours.mss => kernel.snd_mss;
            "TCP_TOTAL_RETRANS" "total_retrans" ours.retrans => kernel.total_retrans;
            "TCP_SEGS_IN" "segs_in" ours.segs_in => kernel.segs_in;
            "TCP_DATA_SEGS_IN" "data_segs_in" ours.data_segs_in => kernel.data_segs_in as u8;
            "TCP_SEGS_OUT" "segs_out" ours.segs_out => kernel.segs_out;
        }
    }

    /// The age of a stamp in ticks, in ms.
    fn ago_ms(&self, stamp: u32) -> u64 {
        let ticks = (self.moment.jiffies as u32).wrapping_sub(stamp);
        self.moment.jiffies_to_ms(ticks.into())
    }
}

/// As `tcp_compute_delivery_rate` (net/ipv4/tcp.c).
fn delivery_rate(sample: &Sample) -> u64 {
    let bytes = u64::from(sample.rate_delivered) * u64::from(sample.mss);
    (u128::from(bytes) * u128::from(US_PER_SECOND))
        .checked_div(sample.rate_interval_us.into())
        .map_or(0, |rate| rate as u64)
}

fn inode(stream: &TcpStream) -> io::Result<u64> {
    Ok(fstat(stream).map_err(io::Error::from)?.st_ino)
}
