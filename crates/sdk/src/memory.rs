//! Giving a dropped model's memory back to the system.
//!
//! The C library keeps what was freed for the next allocation. After a swap that is a whole model, on a device that may
//! have little: with glibc, 186 MB stayed of which 33 were in use (ONNX Runtime), 119 of which 7 (the embedded engine).
//! No kept library offers this call in safe form, so it stands here, alone.

/// Asks the allocator to give unused memory back; with another C library than glibc there is nothing to ask for.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the C library's call has no safe form")]
    // SAFETY: malloc_trim takes the allocator's own locks, may be called from any thread at any time, and moves or frees
    // nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Has all threads allocate from one heap. To be called at the start of a program, before it has threads.
///
/// By default glibc gives threads heaps of their own, and of those [`give_back`] cannot return the last free piece: after a swap
/// a whole model or two, by chance, so that an app that holds one model of 5 MB took 16 to 21 MB where it takes 7 with one heap.
/// Threads that allocate large pieces at once then wait for each other a little. With another C library there is nothing to choose.
pub fn use_one_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the C library's call has no safe form")]
    // SAFETY: mallopt takes the allocator's own lock, may be called from any thread at any time, and changes only where later
    // allocations are made.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    fn resident_bytes() -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
        text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
    }

    #[test]
    fn what_was_freed_goes_back_to_the_system() {
        // Small pieces, which the allocator keeps; every hundredth stays, so that the heap's end stays in use.
        let mut pieces: Vec<Option<Vec<u8>>> = (0..64_000).map(|_| Some(vec![1; 1024])).collect();
        // Before anything is freed: tests beside this one give memory back, too.
        let held = resident_bytes();
        for (at, piece) in pieces.iter_mut().enumerate() {
            if at % 100 != 99 {
                *piece = None;
            }
        }
        give_back();
        let left = resident_bytes();
        assert!(left + (20 << 20) < held, "{held} bytes became {left}");
        assert_eq!(pieces.iter().flatten().count(), 640);
    }
}
