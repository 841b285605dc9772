//! Any bytes from a client, through the whole proxy: what reaches the origin is one request with one framing at a time,
//! each written by the proxy, and what comes back is what a client understands.
#![no_main]
#![allow(dead_code, reason = "the witnesses of tests/conformance can do more than is asked here")]

use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

#[path = "../../tests/conformance/client.rs"]
mod client;
#[path = "../../tests/conformance/machine.rs"]
mod machine;
#[path = "../../tests/conformance/origin.rs"]
mod origin;
#[path = "../../tests/conformance/proxy.rs"]
mod proxy;
#[path = "../../tests/conformance/random.rs"]
mod random;
#[path = "../../tests/conformance/wire.rs"]
mod wire;
#[path = "../../tests/conformance/worker.rs"]
mod worker;

thread_local! {
    static WORKER: RefCell<worker::Worker> = RefCell::new(start());
}

/// The worker's own role on a thread of this process, so that the fuzzer sees where it goes.
fn start() -> worker::Worker {
    let (ours, its) = UnixStream::pair().expect("a socket pair");
    nix::unistd::dup2_stdin(OwnedFd::from(its)).expect("standard input");
    std::thread::spawn(infissi::proxy::run);
    let worker = worker::Worker::attach(ours, None, |route| route.trusted.clear());
    // The worker survives a panic of one connection; here it is what is looked for.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::abort();
    }));
    worker
}

fuzz_target!(|bytes: &[u8]| {
    WORKER.with_borrow_mut(|worker| {
        if let Err(fault) = random::check(worker, bytes) {
            panic!("{fault}");
        }
    });
});
