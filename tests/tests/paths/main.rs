//! Whatever path the bytes take, the rows show what the two programs wrote and read: every way to
//! send against every way to receive, live and in the history.
//!
//! Each path prints a line: `path | bytes difference (in,out) | messages difference (in,out)`.

mod compare;
mod fast_open;
mod kernel;
mod large;
mod rules;
mod special;

use conn_trace_tests::{
    agent::Agent,
    pair::Two,
    protocol::{ReceiveWay, UringMode, UringReceive, UringSend, Way},
};

use crate::compare::{Differences, Route};

const PLAIN: UringMode = UringMode::Plain;

/// A named test for each way to send, against all ways to receive.
macro_rules! sending {
    ($($name:ident: $way:expr;)*) => {
        $(
            #[test]
            fn $name() {
                send_to_all(stringify!($name), $way);
            }
        )*
    };
}

sending! {
    send_by_send: Way::Send { chunk: 4321 };
    send_by_write: Way::Write;
    send_by_writev: Way::Writev;
    send_by_pwritev2: Way::Pwritev2;
    send_by_sendto: Way::SendTo;
    send_by_sendmsg: Way::ThreeBuffers;
    send_by_sendmmsg: Way::TwoMessages;
    send_by_nonblocking_send: Way::NonBlocking;
    send_with_more: Way::More;
    send_under_cork: Way::Cork;
    send_zero_copy: Way::ZeroCopy;
    send_over_duplicates: Way::Duplicate;
    send_by_sixteen_threads: Way::Threads { count: 16 };
    send_by_sendfile: Way::Sendfile;
    send_by_splice: Way::Splice;
    send_by_tee_and_splice: Way::Tee;
    send_by_vmsplice_and_splice: Way::Vmsplice;
    send_by_aio: Way::Aio;
    send_by_uring_send: Way::Uring { request: UringSend::Send, mode: PLAIN };
    send_by_uring_sendmsg: Way::Uring { request: UringSend::SendMsg, mode: PLAIN };
    send_by_uring_send_zc: Way::Uring { request: UringSend::SendZc, mode: PLAIN };
    send_by_uring_sendmsg_zc: Way::Uring { request: UringSend::SendMsgZc, mode: PLAIN };
    send_by_uring_write: Way::Uring { request: UringSend::Write, mode: PLAIN };
    send_by_uring_writev: Way::Uring { request: UringSend::Writev, mode: PLAIN };
    send_by_uring_write_fixed: Way::Uring { request: UringSend::WriteFixed, mode: PLAIN };
    send_by_uring_splice: Way::Uring { request: UringSend::Splice, mode: PLAIN };
}

/// A named test for each way to receive, over each kind of address.
macro_rules! receiving {
    ($($name:ident: $way:expr;)*) => {
        const RECEIVE_WAYS: &[ReceiveWay] = &[$($way),*];

        $(
            #[test]
            fn $name() {
                receive_over_ipv6(stringify!($name), $way);
            }
        )*
    };
}

receiving! {
    receive_by_recv: ReceiveWay::Recv;
    receive_by_read: ReceiveWay::Read;
    receive_by_readv: ReceiveWay::Readv;
    receive_by_preadv2: ReceiveWay::Preadv2;
    receive_by_recvfrom: ReceiveWay::RecvFrom;
    receive_by_recvmsg: ReceiveWay::ThreeBuffers;
    receive_by_recvmmsg: ReceiveWay::TwoMessages;
    receive_by_nonblocking_recv: ReceiveWay::NonBlocking;
    receive_after_peeks: ReceiveWay::AfterPeeks;
    receive_by_truncation: ReceiveWay::Truncate;
    receive_by_waiting_for_all: ReceiveWay::WaitAll;
    receive_above_low_water: ReceiveWay::LowWater;
    receive_over_duplicates: ReceiveWay::Duplicate;
    receive_by_four_threads: ReceiveWay::Threads { count: 4 };
    receive_by_splice: ReceiveWay::Splice;
    receive_zero_copy: ReceiveWay::ZeroCopy;
    receive_zero_copy_or_copied: ReceiveWay::ZeroCopyOrCopy;
    receive_by_aio: ReceiveWay::Aio;
    receive_by_uring_recv: ReceiveWay::Uring { request: UringReceive::Recv, mode: PLAIN };
    receive_by_uring_recvmsg: ReceiveWay::Uring { request: UringReceive::RecvMsg, mode: PLAIN };
    receive_by_uring_multishot: ReceiveWay::Uring { request: UringReceive::RecvMultishot, mode: PLAIN };
    receive_by_uring_read: ReceiveWay::Uring { request: UringReceive::Read, mode: PLAIN };
    receive_by_uring_readv: ReceiveWay::Uring { request: UringReceive::Readv, mode: PLAIN };
    receive_by_uring_read_fixed: ReceiveWay::Uring { request: UringReceive::ReadFixed, mode: PLAIN };
    receive_by_uring_splice: ReceiveWay::Uring { request: UringReceive::Splice, mode: PLAIN };
}

/// A named test for each further way to make requests: every request both ways.
macro_rules! requesting {
    ($($name:ident: $mode:expr;)*) => {
        $(
            #[test]
            fn $name() {
                request_by(stringify!($name), $mode);
            }
        )*
    };
}

requesting! {
    uring_with_registered_descriptor: UringMode::Registered;
    uring_with_linked_timeout: UringMode::LinkedTimeout;
    uring_with_worker: UringMode::Worker;
    uring_with_kernel_thread: UringMode::KernelThread;
}

fn send_to_all(test: &str, way: Way) {
    let agent = Agent::start();
    let mut two = Two::start();
    let mut differences = Differences::new(test);
    for &receive_way in RECEIVE_WAYS {
        differences.exchange(&agent, &mut two, Route::IPV4, (way, receive_way));
    }
    differences.assert_none();
}

fn receive_over_ipv6(test: &str, receive_way: ReceiveWay) {
    let agent = Agent::start();
    let mut two = Two::start_on("[::]:0");
    let mut differences = Differences::new(test);
    for route in [Route::IPV6, Route::MAPPED] {
        for way in [Way::Send { chunk: 4321 }, Way::Splice] {
            differences.exchange(&agent, &mut two, route, (way, receive_way));
        }
    }
    differences.assert_none();
}

fn request_by(test: &str, mode: UringMode) {
    let agent = Agent::start();
    let mut two = Two::start();
    let mut differences = Differences::new(test);
    for request in [
        UringSend::Send,
        UringSend::SendMsg,
        UringSend::SendZc,
        UringSend::SendMsgZc,
        UringSend::Write,
        UringSend::Writev,
        UringSend::WriteFixed,
        UringSend::Splice,
    ] {
        let ways = (Way::Uring { request, mode }, ReceiveWay::Recv);
        differences.exchange(&agent, &mut two, Route::IPV4, ways);
    }
    for request in [
        UringReceive::Recv,
        UringReceive::RecvMsg,
        UringReceive::RecvMultishot,
        UringReceive::Read,
        UringReceive::Readv,
        UringReceive::ReadFixed,
    ] {
        let ways = (
            Way::Send { chunk: 4321 },
            ReceiveWay::Uring { request, mode },
        );
        differences.exchange(&agent, &mut two, Route::IPV4, ways);
    }
    differences.assert_none();
}
