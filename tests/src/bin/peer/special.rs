//! Calls that are no way to move an amount of data.

use std::io::{self, IoSlice, IoSliceMut, Write};

use conn_trace_tests::protocol::Special;
use nix::{
    libc,
    sys::socket::{
        MsgFlags, TimestampingFlag, recv, recvmsg, setsockopt,
        sockopt::{TcpTlsRx, TcpTlsTx, TcpUlp, Timestamping, TlsCryptoInfo},
    },
};

use crate::{
    connection::{Connection, raw, size},
    uring,
    wait::wait_for_error,
};

impl Connection {
    pub(crate) fn special(&mut self, special: Special) -> io::Result<()> {
        match special {
            Special::SendUrgent { bytes } => self.send_parts(bytes, size(bytes), |socket, data| {
                socket.send_out_of_band(data)
            }),
            Special::ReceiveUrgent => {
                let received = recv(raw(&self.socket), &mut [0; 8], MsgFlags::MSG_OOB)?;
                self.received(received);
                Ok(())
            }
            Special::UrgentInline => self.socket.set_out_of_band_inline(true),
            Special::SendNothing => self.send_nothing(),
            Special::ReceiveAll { bytes } => {
                let mut buffer = vec![0; size(bytes)];
                let received = recv(raw(&self.socket), &mut buffer, MsgFlags::MSG_WAITALL)?;
                self.received(received);
                Ok(())
            }
            Special::ReceiveAllByUring { bytes } => uring::receive_all(self, bytes),
            Special::TimestampSends => {
                let flags = TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
                    | TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE;
                Ok(setsockopt(&self.socket, Timestamping, &flags)?)
            }
            Special::ReadErrorQueue => self.read_error_queue(),
            // It concerns two connections: see `Connections`.
            Special::Forward { .. } => Err(io::ErrorKind::Unsupported.into()),
            Special::KernelTls => self.encrypt_in_kernel(),
        }
    }

    fn send_nothing(&mut self) -> io::Result<()> {
        let sent = [
            self.socket.send(&[])?,
            self.socket.write(&[])?,
            self.socket.send_vectored(&[])?,
            self.socket.send_vectored(&[IoSlice::new(&[])])?,
        ];
        for bytes in sent {
            self.sent(bytes);
        }
        Ok(())
    }

    fn read_error_queue(&self) -> io::Result<()> {
        wait_for_error(&self.socket)?;
        let mut buffer = [0; 4096];
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_ERRQUEUE;
        if recvmsg::<()>(raw(&self.socket), &mut parts, None, flags)?.bytes == 0 {
            return Err(io::Error::other("no packet with data"));
        }
        Ok(())
    }

    /// Both ends with the same key: what a handshake would agree upon does not matter here.
    fn encrypt_in_kernel(&self) -> io::Result<()> {
        let info = TlsCryptoInfo::Aes128Gcm(libc::tls12_crypto_info_aes_gcm_128 {
            info: libc::tls_crypto_info {
                version: libc::TLS_1_2_VERSION,
                cipher_type: libc::TLS_CIPHER_AES_GCM_128,
            },
            iv: [1; 8],
            key: [2; 16],
            salt: [3; 4],
            rec_seq: [0; 8],
        });
        setsockopt(&self.socket, TcpUlp::default(), b"tls")?;
        setsockopt(&self.socket, TcpTlsTx, &info)?;
        Ok(setsockopt(&self.socket, TcpTlsRx, &info)?)
    }
}
