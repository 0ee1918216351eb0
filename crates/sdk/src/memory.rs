//! Giving memory back to the system: a dropped model's, and that of code which only starting up needed.
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

/// A block from this size on is the system's own mapping, and a heap's free end from this size on goes back to the system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BYTES: libc::c_int = 1 << 20;

/// Has threads allocate from few heaps, each of which keeps little that is free. To be called at the start of a program, before it
/// has threads.
///
/// By default glibc gives threads heaps of their own, up to eight per processor, and raises the size from which on it gives memory
/// back to twice that of the largest block that was ever freed: after a swap a whole model or two stayed, by chance, so that an app
/// that holds one model of 5 MB took 16 to 21 MB where it takes 8 so. There is one heap for each thread that can run at once, and
/// one more: with fewer, threads wait for each other. With another C library there is nothing to choose.
pub fn use_few_heaps() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let heaps = libc::c_int::try_from(processors + 1).unwrap_or(libc::c_int::MAX);
        #[expect(unsafe_code, reason = "the C library's call has no safe form")]
        // SAFETY: mallopt takes the allocator's own lock, may be called from any thread at any time, and changes only where later
        // allocations are made and when what was freed is given back.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, heaps);
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
            libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE_BYTES);
        }
    }
}

/// Lets go of the program's code and constants that are in memory: what is needed is mapped again when it next runs. To be called once
/// a program that stays has started up, which runs code all over the file that it never needs again.
///
/// The system would take these pages when it wants memory; until then they count as the program's, two thirds of what an idle agent
/// takes. Elsewhere than on Linux nothing happens.
pub fn let_go_of_code() {
    #[cfg(target_os = "linux")]
    for (start, len) in unwritten_mappings() {
        #[expect(unsafe_code, reason = "the system's call has no safe form")]
        // SAFETY: the range is a private mapping of the program's own file that may not be written, so that each page of it is
        // what the file says, and the system reads it from there again.
        unsafe {
            libc::madvise(std::ptr::with_exposed_provenance_mut(start), len, libc::MADV_DONTNEED);
        }
    }
}

/// Start and length of the mappings of the program's file up to its code. What follows the code was written when the program was
/// loaded, even where it may not be written any more.
#[cfg(target_os = "linux")]
fn unwritten_mappings() -> Vec<(usize, usize)> {
    let Ok(program) = std::fs::read_link("/proc/self/exe") else { return Vec::new() };
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return Vec::new() };
    let name = program.to_string_lossy();
    let mapping = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        rest.ends_with(&*name).then(|| (start, end - start, rest.get(..4).unwrap_or_default().to_owned()))
    };
    let own: Vec<_> = maps.lines().filter_map(mapping).collect();
    let Some(code) = own.iter().position(|(.., rights)| rights == "r-xp") else { return Vec::new() };
    let unwritten = own[..=code].iter().filter(|(.., rights)| !rights.contains('w'));
    unwritten.map(|(start, len, _)| (*start, *len)).collect()
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    fn resident_bytes() -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
        text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
    }

    #[test]
    fn code_that_was_let_go_runs_again() {
        let mappings = unwritten_mappings();
        let here = code_that_was_let_go_runs_again as fn() as usize;
        assert!(mappings.iter().any(|(start, len)| (*start..start + len).contains(&here)), "{mappings:?}");
        assert_eq!((let_go_of_code(), "as before".len()), ((), 9));
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
