//! `check` and `init`.

use super::failure::Failure;
use super::pm2::later;
use super::session::Session;
use std::path::Path;

pub(crate) fn check(_session: &mut Session, _file: Option<&Path>) -> Result<u8, Failure> {
    Err(later("check"))
}

pub(crate) fn init(_session: &mut Session, _dir: &Path, _port: Option<u16>) -> Result<u8, Failure> {
    Err(later("init"))
}
