//! System calls that no library wraps.
#![expect(unsafe_code, reason = "no library wraps these calls")]

use std::{io, mem, os::fd::AsRawFd, ptr};

use nix::{errno::Errno, libc};
use socket2::Socket;

/// `SO_RCVLOWAT`.
pub(crate) fn set_low_water(socket: &Socket, bytes: usize) -> io::Result<()> {
    set_number(socket, libc::SOL_SOCKET, libc::SO_RCVLOWAT, bytes)
}

/// `SO_ZEROCOPY`, without which `MSG_ZEROCOPY` is ignored.
pub(crate) fn allow_zero_copy(socket: &Socket) -> io::Result<()> {
    set_number(socket, libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1)
}

/// Lets a listener take data in a SYN, for so many connections at a time.
pub(crate) fn set_fast_open(listener: &Socket, queue: usize) -> io::Result<()> {
    set_number(listener, libc::SOL_TCP, libc::TCP_FASTOPEN, queue)
}

fn set_number(socket: &Socket, level: i32, name: i32, value: usize) -> io::Result<()> {
    let value = libc::c_int::try_from(value).map_err(io::Error::other)?;
    let length = length_of::<libc::c_int>();
    // SAFETY: the kernel reads one int from `value`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            length,
        )
    };
    Ok(Errno::result(result).map(drop)?)
}

/// Whether data in this end's SYN was taken by the other one (`TCPI_OPT_SYN_DATA`).
pub(crate) fn sent_data_in_syn(socket: &Socket) -> io::Result<bool> {
    const OPTION_SYN_DATA: u8 = 32;
    // SAFETY: all of its fields are numbers.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    get(socket, libc::TCP_INFO, &mut info)?;
    Ok(info.tcpi_options & OPTION_SYN_DATA != 0)
}

/// `T` has to be the option's structure, made of numbers.
fn get<T: Copy>(socket: &Socket, name: i32, value: &mut T) -> io::Result<()> {
    let mut length = length_of::<T>();
    // SAFETY: the kernel writes at most `length` bytes, and any bytes are numbers.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_TCP,
            name,
            ptr::from_mut(value).cast(),
            &raw mut length,
        )
    };
    Ok(Errno::result(result).map(drop)?)
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("a structure is small")
}

/// Memory into which the kernel maps received pages.
pub(crate) struct Window {
    address: *mut libc::c_void,
}

/// What one `TCP_ZEROCOPY_RECEIVE` did.
pub(crate) struct Taken {
    pub(crate) mapped: u64,
    pub(crate) copied: u64,
    /// What can't be mapped and has to be copied next.
    pub(crate) to_copy: u64,
}

/// include/uapi/linux/tcp.h, the beginning of `struct tcp_zerocopy_receive`.
#[repr(C)]
#[derive(Clone, Copy)]
struct ZeroCopyReceive {
    address: u64,
    length: u32,
    recv_skip_hint: u32,
    inq: u32,
    err: i32,
    copybuf_address: u64,
    copybuf_len: i32,
    flags: u32,
}

impl Window {
    const BYTES: u32 = 1 << 20;

    pub(crate) fn new(socket: &Socket) -> io::Result<Self> {
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                Self::BYTES as usize,
                libc::PROT_READ,
                libc::MAP_SHARED,
                socket.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { address })
    }

    /// Takes at most so many bytes, in whole pages. What can't be mapped goes into `rest`.
    pub(crate) fn take(
        &mut self,
        socket: &Socket,
        most: u64,
        rest: &mut [u8],
    ) -> io::Result<Taken> {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let mut request = ZeroCopyReceive {
            address: self.address as u64,
            length: most.min(Self::BYTES),
            recv_skip_hint: 0,
            inq: 0,
            err: 0,
            copybuf_address: rest.as_mut_ptr() as u64,
            copybuf_len: i32::try_from(rest.len()).map_err(io::Error::other)?,
            flags: 0,
        };
        get(socket, libc::TCP_ZEROCOPY_RECEIVE, &mut request)?;
        if request.err != 0 {
            return Err(io::Error::from_raw_os_error(-request.err));
        }
        Ok(Taken {
            mapped: request.length.into(),
            copied: u64::try_from(request.copybuf_len).map_err(io::Error::other)?,
            to_copy: request.recv_skip_hint.into(),
        })
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: `new` mapped it, and nothing refers to it.
        unsafe { libc::munmap(self.address, Self::BYTES as usize) };
    }
}

/// A context of Linux's own asynchronous I/O.
pub(crate) struct Aio {
    context: libc::c_ulong,
}

/// include/uapi/linux/aio_abi.h, `struct iocb`, little-endian.
#[repr(C)]
#[derive(Default)]
struct Request {
    data: u64,
    key: u32,
    rw_flags: i32,
    opcode: u16,
    priority: i16,
    descriptor: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    notify: u32,
}

/// `struct io_event`.
#[repr(C)]
#[derive(Default)]
struct Event {
    data: u64,
    request: u64,
    result: i64,
    second_result: i64,
}

impl Aio {
    const READ: u16 = 0;
    const WRITE: u16 = 1;

    pub(crate) fn new() -> io::Result<Self> {
        let mut context = 0;
        // SAFETY: the kernel writes one number.
        let result = unsafe { libc::syscall(libc::SYS_io_setup, 1, &raw mut context) };
        Errno::result(result)?;
        Ok(Self { context })
    }

    pub(crate) fn write(&self, descriptor: i32, data: &[u8]) -> io::Result<usize> {
        self.run(Self::WRITE, descriptor, data.as_ptr() as u64, data.len())
    }

    pub(crate) fn read(&self, descriptor: i32, to: &mut [u8]) -> io::Result<usize> {
        self.run(Self::READ, descriptor, to.as_mut_ptr() as u64, to.len())
    }

    /// `buffer` has to have so many bytes that may be read or written until this returns.
    fn run(&self, opcode: u16, descriptor: i32, buffer: u64, bytes: usize) -> io::Result<usize> {
        let request = Request {
            opcode,
            descriptor: descriptor.cast_unsigned(),
            buffer,
            bytes: bytes as u64,
            ..Request::default()
        };
        let list = [&raw const request];
        let mut event = Event::default();
        // SAFETY: one request, whose buffer the callers keep until it is done.
        let result = unsafe { libc::syscall(libc::SYS_io_submit, self.context, 1, list.as_ptr()) };
        Errno::result(result)?;
        let forever: *const libc::timespec = ptr::null();
        let to = &raw mut event;
        // SAFETY: waits for the one event, for which there is room.
        let result =
            unsafe { libc::syscall(libc::SYS_io_getevents, self.context, 1, 1, to, forever) };
        Errno::result(result)?;
        if event.result < 0 {
            let errno = i32::try_from(-event.result).map_err(io::Error::other)?;
            return Err(io::Error::from_raw_os_error(errno));
        }
        usize::try_from(event.result).map_err(io::Error::other)
    }
}

impl Drop for Aio {
    fn drop(&mut self) {
        // SAFETY: `new` made it, and no request is under way.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.context) };
    }
}
