//! The proxy worker as a process: the real binary in its role, a listener, origins, clients, and a supervisor that is
//! this test.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "who skips a test says why")]

mod changes;
mod client;
mod drains;
mod hostile;
mod origin;
mod pressure;
mod process;
mod supervisors;
