//! The connections to one instance that wait for their next request.

/// Idle connections to one target.
#[derive(Debug, Default)]
pub(crate) struct Pool {}

impl Pool {
    /// Ends the idle connections; one that becomes idle from now on is closed instead of kept.
    pub(crate) fn close(&self) {}
}
