//! `doctor`.

use super::failure::Failure;
use super::pm2::later;
use super::session::Session;

pub(crate) fn doctor(_session: &mut Session) -> Result<u8, Failure> {
    Err(later("doctor"))
}
