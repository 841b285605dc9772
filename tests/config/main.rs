//! supervisor.toml: what it means, what a faulty one is answered, where it is found.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod backup;
mod deploy;
mod dotenv;
mod init;
mod meaning;
mod mistakes;
mod mistakes_of_apps;
mod places;
mod proxy;
mod release_of;
mod sources;
mod story;
