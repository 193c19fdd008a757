//! Runs that the kernel skipped: a tracing program does not run on a CPU that it is running on
//! already, as when a softirq interrupts it.

use std::{
    io,
    mem::{size_of, zeroed},
    os::fd::{AsRawFd, BorrowedFd},
};

use aya_obj::generated::{bpf_attr, bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, bpf_prog_info};

/// Runs skipped since the program was loaded. Minimum kernel 5.12 (`recursion_misses`).
pub(super) fn of(program: BorrowedFd<'_>) -> io::Result<u64> {
    info(program).map(|info| info.recursion_misses)
}

/// What the kernel says of a program.
pub(super) fn info(program: BorrowedFd<'_>) -> io::Result<bpf_prog_info> {
    // SAFETY: plain integers, for which zero is a value; the kernel demands zeros where it is not
    // asked for anything.
    let (mut info, mut attr): (bpf_prog_info, bpf_attr) = unsafe { (zeroed(), zeroed()) };
    attr.info.bpf_fd = program.as_raw_fd().unsigned_abs();
    attr.info.info_len = size_of::<bpf_prog_info>() as u32;
    attr.info.info = (&raw mut info).expose_provenance() as u64;
    // SAFETY: `attr` is a whole `bpf_attr`, and points to `info_len` bytes that live until then.
    let status = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_OBJ_GET_INFO_BY_FD,
            &raw mut attr,
            size_of::<bpf_attr>(),
        )
    };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info)
}
