//! The way back to the program before this one, as long as this one has not shown that it works: taken when it gives up,
//! panics, crashes or takes too long.
//!
//! Its process is the one that all apps are children of: a program that ended in the middle of its start would leave them
//! to nobody.
#![expect(unsafe_code, reason = "a program that crashes is left from within a signal handler")]

use super::exec::{Exec, Program};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction};
use std::fs::File;
use std::io::{self, Write};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};
use std::time::Duration;

/// How a program crashes.
const CRASHES: [Signal; 6] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT, Signal::SIGSYS];
/// What operators and service managers say to a supervisor.
const ORDERS: [Signal; 5] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGCHLD];

const NO_TIME: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 0 };

/// The thread with which orders wait.
static HOLDER: AtomicI32 = AtomicI32::new(0);
static ARMED: AtomicPtr<WayBack> = AtomicPtr::new(ptr::null_mut());

struct WayBack {
    exec: Exec,
    program: Program,
    /// Where it is told why: behind what it holds already.
    note: File,
    /// For each of these signals.
    reasons: Vec<(i32, String)>,
    /// What was done at each of them before.
    before: Vec<(Signal, SigAction)>,
}

/// From here on a crash, and `patience` (whole seconds) without [`disarm`], lead back to `program`, which finds the reason
/// at the end of `note`.
///
/// # Errors
/// None that a Linux of today gives.
pub fn arm(exec: Exec, program: Program, note: File, patience: Duration) -> io::Result<()> {
    let crash = |signal: &Signal| (*signal as i32, format!("it crashed ({signal})"));
    let late = format!("it was not ready within {} s", patience.as_secs());
    let reasons = CRASHES.iter().map(crash).chain([(Signal::SIGALRM as i32, late)]).collect();
    // Once: who crashes in the handler has crashed. A program that is executed from it must not find its signal blocked.
    let flags = SaFlags::SA_NODEFER | SaFlags::SA_RESETHAND | SaFlags::SA_ONSTACK;
    let action = SigAction::new(SigHandler::Handler(crashed), flags, SigSet::empty());
    let mut before = Vec::new();
    for signal in CRASHES.into_iter().chain([Signal::SIGALRM]) {
        // SAFETY: the handler calls only what may be called from one.
        before.push((signal, unsafe { sigaction(signal, &action) }?));
    }
    let way = Box::new(WayBack { exec, program, note, reasons, before });
    ARMED.store(Box::into_raw(way), Ordering::SeqCst);
    set_alarm(u32::try_from(patience.as_secs()).unwrap_or(u32::MAX));
    Ok(())
}

/// This program works: whatever it does from here on is its own affair.
pub fn disarm() {
    forget_alarm();
    let Some(way) = take() else { return };
    for (signal, before) in &way.before {
        // One that is on its way must not find the default action.
        let ignored = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        let action = if *signal == Signal::SIGALRM { &ignored } else { before };
        // SAFETY: it is as it was before, or ignored.
        let _as_before = unsafe { sigaction(*signal, action) };
    }
}

/// There is a way back: nothing may be done yet that it could not undo.
pub fn is_armed() -> bool {
    !ARMED.load(Ordering::SeqCst).is_null()
}

/// Becomes the program before this one. Returns only where there is none, or why it cannot be.
pub fn go_back(why: &str) -> Option<io::Error> {
    take().map(|way| go(&way, why))
}

/// An alarm outlives an exec, and what was to be done at it does not.
pub fn forget_alarm() {
    set_alarm(0);
}

/// Patience has nearly ended: for a story that does not wait for it.
#[cfg(debug_assertions)]
pub fn hurry() {
    if is_armed() {
        set_alarm(1);
    }
}

fn set_alarm(seconds: u32) {
    // SAFETY: a number.
    unsafe { libc::alarm(seconds) };
}

fn take() -> Option<Box<WayBack>> {
    let way = ARMED.swap(ptr::null_mut(), Ordering::SeqCst);
    // SAFETY: it came out of a box, and whoever swaps it out is the only one who has it.
    (!way.is_null()).then(|| unsafe { Box::from_raw(way) })
}

extern "C" fn crashed(signal: libc::c_int) {
    let Some(way) = take() else { return };
    // Freeing memory is not for a handler.
    let way = std::mem::ManuallyDrop::new(way);
    let why = way.reasons.iter().find(|(of, _)| *of == signal).map_or("", |(_, why)| why);
    let _cannot = go(&way, why);
}

/// Calls nothing that is not async-signal-safe.
fn go(way: &WayBack, why: &str) -> io::Error {
    // What it cannot be told it goes without.
    let _untold = (&way.note).write_all(why.as_bytes());
    forget_alarm();
    hold_orders();
    way.exec.go(&way.program)
}

/// Orders that come from here on wait, also for the program that this thread executes: until it has [`take_orders`]. Whoever
/// listened to them hears nothing more; this process is about to be another program.
pub fn hold_orders() {
    HOLDER.store(nix::unistd::gettid().as_raw(), Ordering::SeqCst);
    let_orders_wait();
    let action = SigAction::new(SigHandler::Handler(pass_to_holder), SaFlags::SA_RESTART, SigSet::empty());
    for signal in ORDERS {
        // SAFETY: the handler calls only what may be called from one.
        let _cannot_fail = unsafe { sigaction(signal, &action) };
    }
}

/// Of another thread, which is gone once the other program is executed: what waits with the one that executes it stays.
extern "C" fn pass_to_holder(signal: libc::c_int) {
    // SAFETY: numbers.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), HOLDER.load(Ordering::SeqCst), signal) };
}

/// Orders wait from here on, as long as nobody listens to them: also with every thread that this one makes.
pub fn let_orders_wait() {
    let _cannot_fail = orders().thread_swap_mask(SigmaskHow::SIG_BLOCK);
}

/// Nobody will listen: an order to end, one that has waited, too, ends this process as it does any other.
pub fn end_at_orders() {
    let ends = [Signal::SIGTERM, Signal::SIGINT];
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in ends {
        // SAFETY: no handler is put there.
        let _cannot_fail = unsafe { sigaction(signal, &default) };
    }
    let _cannot_fail = ends.into_iter().collect::<SigSet>().thread_swap_mask(SigmaskHow::SIG_UNBLOCK);
}

/// Orders that waited come now, and others as they are given.
pub fn take_orders() {
    let _cannot_fail = orders().thread_swap_mask(SigmaskHow::SIG_UNBLOCK);
}

fn orders() -> SigSet {
    ORDERS.into_iter().collect()
}

/// What waits with this thread waits with the whole process from here on, for whichever thread executes another program.
/// To be called with the orders held.
pub fn share_orders() {
    let all = orders();
    // SAFETY: sigtimedwait(2) reads the set and the time, and writes nothing where it gets no place for it.
    let next = || unsafe { libc::sigtimedwait(all.as_ref(), ptr::null_mut(), &NO_TIME) };
    let waiting: Vec<i32> = std::iter::from_fn(|| Some(next()).filter(|signal| *signal > 0)).collect();
    for signal in waiting {
        // SAFETY: numbers.
        let _cannot_fail = unsafe { libc::kill(libc::getpid(), signal) };
    }
}

/// A signal that came and that nobody has acted on: it comes again, to this thread.
pub fn give_again(signal: i32) {
    // SAFETY: a number; raise(3) sends it to the calling thread, which holds it back.
    let _cannot_fail = unsafe { libc::raise(signal) };
}
