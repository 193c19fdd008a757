//! Arrays shared with the kernel: `BPF_F_MMAPABLE` maps, read and written in place.
//!
//! aya 0.14 does not map arrays, so the descriptor is mapped here. Minimum kernel 5.5.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd, AsRawFd},
    ptr,
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
};

use aya::maps::MapData;
use conn_trace_common::{
    lifecycle::{Closed, FirstBytes, Header},
    message::Message,
    sample::{Clock, Request, Sample},
    table::{ColdEntry, HotEntry},
};
use memmap2::{MmapOptions, MmapRaw};

/// Types that any bytes are a value of, and whose size is a multiple of eight.
///
/// # Safety
/// Only `repr(C)` structures of plain integers without padding.
pub(super) unsafe trait Plain: Copy + Default {}

// SAFETY: they are declared so in conn-trace-common, which asserts their sizes.
unsafe impl Plain for HotEntry {}
// SAFETY: as above.
unsafe impl Plain for ColdEntry {}
// SAFETY: as above.
unsafe impl Plain for Request {}
// SAFETY: as above.
unsafe impl Plain for Sample {}
// SAFETY: as above.
unsafe impl Plain for Clock {}
// SAFETY: as above.
unsafe impl Plain for Header {}
// SAFETY: as above.
unsafe impl Plain for Closed {}
// SAFETY: as above.
unsafe impl Plain for FirstBytes {}
// SAFETY: as above.
unsafe impl Plain for Message {}
// SAFETY: an integer.
unsafe impl Plain for u64 {}

/// An array map of `T`, mapped read-write.
#[derive(Debug)]
pub(super) struct SharedArray<T> {
    memory: MmapRaw,
    len: u32,
    element: PhantomData<T>,
}

impl<T: Plain> SharedArray<T> {
    /// Maps `len` elements.
    pub(super) fn new(map: &MapData, len: u32) -> io::Result<Self> {
        let bytes = size_of::<T>() * len as usize;
        let memory = MmapOptions::new()
            .len(bytes)
            .map_raw(map.fd().as_fd().as_raw_fd())?;
        Ok(Self {
            memory,
            len,
            element: PhantomData,
        })
    }

    /// Number of elements.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    fn element(&self, index: u32) -> *mut T {
        assert!(index < self.len, "slot {index} of {}", self.len);
        self.memory
            .as_mut_ptr()
            .cast::<T>()
            .wrapping_add(index as usize)
    }

    /// One 64-bit word of an element, shared with the kernel.
    pub(super) fn word(&self, index: u32, word: usize) -> &AtomicU64 {
        assert!(word < size_of::<T>() / 8, "word {word}");
        let address = self.element(index).cast::<u64>().wrapping_add(word);
        // SAFETY: inside the mapping, aligned (elements are multiples of eight bytes from the
        // page start), alive as long as `self`, and only ever accessed atomically from here.
        unsafe { AtomicU64::from_ptr(address) }
    }

    /// One byte of an element. Whoever writes it is the only thread of this process that reads the
    /// word around it: atomics of different sizes must not meet.
    pub(super) fn byte(&self, index: u32, offset: usize) -> &AtomicU8 {
        assert!(offset < size_of::<T>(), "byte {offset}");
        let address = self.element(index).cast::<u8>().wrapping_add(offset);
        // SAFETY: inside the mapping, alive as long as `self`, and only ever accessed atomically from
        // here.
        unsafe { AtomicU8::from_ptr(address) }
    }

    /// A copy of an element. Each 64-bit word is read whole; the words may be of different times.
    pub(super) fn get(&self, index: u32) -> T {
        let mut copy = T::default();
        let words = (&raw mut copy).cast::<u64>();
        for word in 0..size_of::<T>() / 8 {
            let value = self.word(index, word).load(Ordering::Acquire);
            // SAFETY: inside `copy`, whose type takes any bytes.
            unsafe { words.add(word).write_unaligned(value) };
        }
        copy
    }

    /// Writes an element that no program uses at the moment.
    pub(super) fn set(&self, index: u32, value: T) {
        // SAFETY: inside the mapping.
        unsafe { ptr::write_volatile(self.element(index), value) };
    }
}
