//! Counts the calls that wait for the disk: this program's own `fsync` and its kin stand before those of the C library.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static COUNT: AtomicU64 = AtomicU64::new(0);

pub fn count() -> u64 {
    COUNT.load(Relaxed)
}

fn call(number: libc::c_long, args: [libc::c_long; 4]) -> libc::c_int {
    COUNT.fetch_add(1, Relaxed);
    // SAFETY: the arguments are those of the caller, for the call of the same name.
    unsafe { libc::syscall(number, args[0], args[1], args[2], args[3]) as libc::c_int }
}

#[unsafe(no_mangle)]
pub extern "C" fn fsync(file: libc::c_int) -> libc::c_int {
    call(libc::SYS_fsync, [file.into(), 0, 0, 0])
}

#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(file: libc::c_int) -> libc::c_int {
    call(libc::SYS_fdatasync, [file.into(), 0, 0, 0])
}

#[unsafe(no_mangle)]
pub extern "C" fn sync_file_range(
    file: libc::c_int,
    offset: libc::off64_t,
    len: libc::off64_t,
    flags: libc::c_uint,
) -> libc::c_int {
    call(
        libc::SYS_sync_file_range,
        [file.into(), offset, len, flags.into()],
    )
}

#[unsafe(no_mangle)]
pub extern "C" fn msync(at: *mut libc::c_void, len: usize, flags: libc::c_int) -> libc::c_int {
    call(
        libc::SYS_msync,
        [at as libc::c_long, len as libc::c_long, flags.into(), 0],
    )
}
