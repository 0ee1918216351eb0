//! What callers hand over, checked as far as it can be: null, UTF-8, sizes. The rest is their promise, which the header
//! states.

use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;

use crate::status::Failure;

/// What a pointer leads to.
///
/// # Safety
/// It is null, or leads to a valid `T` that nobody changes while `'a` lasts.
pub(crate) unsafe fn given<'a, T>(pointer: *const T, what: &str) -> Result<&'a T, Failure> {
    if !pointer.is_aligned() {
        return Err(Failure::argument(format!("{what} is not aligned to {} bytes", align_of::<T>())));
    }
    // SAFETY: the caller's promise is this function's own.
    unsafe { pointer.as_ref() }.ok_or_else(|| is_null(what))
}

/// A text.
///
/// # Safety
/// It is null, or leads to bytes that end with a zero and that nobody changes while `'a` lasts.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, what: &str) -> Result<&'a str, Failure> {
    // SAFETY: the caller's promise is this function's own.
    unsafe { optional_text(pointer, what) }?.ok_or_else(|| is_null(what))
}

/// A text that may be left out.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn optional_text<'a>(
    pointer: *const c_char,
    what: &str,
) -> Result<Option<&'a str>, Failure> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not null, so by the caller's promise it leads to bytes that end with a zero.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|_| Failure::argument(format!("{what} is not UTF-8")))
}

/// `count` values in a row; the pointer of none may be null.
///
/// # Safety
/// It is null, or leads to `count` valid values that nobody changes while `'a` lasts.
pub(crate) unsafe fn array<'a, T>(pointer: *const T, count: usize, what: &str) -> Result<&'a [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(is_null(what));
    }
    if count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(Failure::argument(format!("{what} has {count} values, which fit no memory")));
    }
    if !pointer.is_aligned() {
        return Err(Failure::argument(format!("{what} is not aligned to {} bytes", align_of::<T>())));
    }
    // SAFETY: not null, aligned, no longer than memory, and by the caller's promise valid for `count` values.
    Ok(unsafe { slice::from_raw_parts(pointer, count) })
}

/// Puts a result where the caller wants it.
///
/// # Safety
/// It is null, or leads to memory for a `T`.
pub(crate) unsafe fn put<T>(place: *mut T, value: T, what: &str) -> Result<(), Failure> {
    if place.is_null() {
        return Err(is_null(what));
    }
    if !place.is_aligned() {
        return Err(Failure::argument(format!("{what} is not aligned to {} bytes", align_of::<T>())));
    }
    // SAFETY: not null and aligned, so by the caller's promise there is memory for a T; what was there is not dropped.
    unsafe { place.write(value) };
    Ok(())
}

/// Hands an object to the caller, who gives it back to [`free`].
///
/// # Safety
/// As [`put`].
pub(crate) unsafe fn hand_over<T>(place: *mut *mut T, value: T, what: &str) -> Result<(), Failure> {
    // SAFETY: the caller's promise is this function's own.
    unsafe { put(place, std::ptr::null_mut(), what) }?;
    let object = Box::into_raw(Box::new(value));
    // SAFETY: as above; it is not null, as the line before found.
    unsafe { put(place, object, what) }
}

/// Ends an object that was handed over; null is nothing.
///
/// # Safety
/// It is null, or was handed over by [`hand_over`] and is not used any more.
pub(crate) unsafe fn free<T>(object: *mut T) {
    if object.is_null() {
        return;
    }
    // SAFETY: `hand_over` made it with Box::into_raw, and by the caller's promise nobody else has it.
    let object = unsafe { Box::from_raw(object) };
    // Nobody is left who could be told of a panic.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(object))) {
        std::mem::forget(panic);
    }
}

fn is_null(what: &str) -> Failure {
    Failure::argument(format!("{what} is null"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let words = |failure: Failure| failure.words;
        // SAFETY: null is allowed.
        let null = unsafe { text(std::ptr::null(), "the folder") };
        assert_eq!(null.map_err(words), Err("the folder is null".to_owned()));
        // SAFETY: the literal ends with a zero.
        let broken = unsafe { text(c"\xff".as_ptr(), "the folder") };
        assert_eq!(broken.map_err(words), Err("the folder is not UTF-8".to_owned()));
        // SAFETY: refused before anything is read.
        let endless = unsafe { array(std::ptr::dangling::<u64>(), usize::MAX, "the shape") };
        assert!(endless.map_err(words).unwrap_err().contains("fit no memory"));
        let values = [0_u64; 2];
        // SAFETY: refused before anything is read.
        let askew = unsafe { array(values.as_ptr().wrapping_byte_add(1), 1, "the shape") };
        assert!(askew.map_err(words).unwrap_err().contains("aligned"));
    }
}
