//! What is done with an app's files on the disk, by infissi-ctl and with its caller's rights.

pub mod backup;
