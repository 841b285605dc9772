//! A process that talks to strangers gives up whatever it does not need.
#![expect(unsafe_code, reason = "capset and signal dispositions have no safe wrapper")]

use super::limits::Nofile;
use nix::libc;
use nix::sys::prctl::{set_dumpable, set_name, set_no_new_privs};
use nix::sys::signal::{SigHandler, Signal, signal};
use std::ffi::CStr;
use std::io;

/// For good: no privileges by executing anything, no capabilities (capabilities(7)), no core dump and no look into its
/// memory by others of its user. Raises the limit of descriptors to the hard one and returns that. For a process of
/// one thread.
///
/// # Errors
/// When the kernel refuses one of them, which it has no reason to.
pub fn confine() -> io::Result<u64> {
    set_no_new_privs()?;
    drop_capabilities()?;
    // Last of the three: it takes /proc/self away from us.
    set_dumpable(false)?;
    Ok(Nofile::raise_own()?.hard)
}

/// Under this name, of at most 15 bytes, it stands in `ps` and `top`; started as /proc/self/exe it would be `exe`.
pub fn be_named(name: &CStr) {
    // A wrong name harms nobody.
    let _refused = set_name(name);
}

/// What a terminal or a supervisor that goes away would send; SIGTERM still ends the process.
///
/// # Errors
/// None for these two signals.
pub fn ignore_hangup_and_interrupt() -> io::Result<()> {
    for ignored in [Signal::SIGHUP, Signal::SIGINT] {
        // SAFETY: to ignore a signal runs no code of ours.
        unsafe { signal(ignored, SigHandler::SigIgn) }?;
    }
    Ok(())
}

/// The permitted, effective and inheritable ones; the ambient ones go with them.
fn drop_capabilities() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let none = [[0_u32; 3]; 2];
    // SAFETY: version 3 of capset(2) reads two structures of three words, and the header; all outlive the call.
    match unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
