//! The pipe that carries one output stream of an app to the supervisor.
#![expect(unsafe_code, reason = "pipe sizes and capabilities are asked for by raw system calls")]

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{Gid, Uid};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Room for a burst of output while the supervisor is busy: Linux' default of `/proc/sys/fs/pipe-max-size`.
const LARGE: i32 = 1024 * 1024;
/// What an unprivileged supervisor takes: its user's pipes share `/proc/sys/fs/pipe-user-pages-soft`.
const MODEST: i32 = 256 * 1024;
/// Bits of capabilities(7), both of which lift the kernel's limit on a user's pipes (`fs/pipe.c`).
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_RESOURCE: u32 = 24;

/// Both ends of a pipe, closed on exec.
#[derive(Debug)]
pub struct OutputPipe {
    /// Non-blocking. End of file comes when the last process of the app's tree that holds the pipe is gone.
    pub read: OwnedFd,
    /// For the child; blocking. Opened for reading and writing, so that the app outlives its reader: no EPIPE, and
    /// opening `/proc/PID/fd/1` continues without a gap. To be closed by us once the child is started.
    pub write: OwnedFd,
    /// Finds the pipe again among the descriptors of a process: `pipe:[inode]`.
    pub inode: u64,
}

impl OutputPipe {
    /// A pipe that belongs to `owner` (uid, gid): an app that opens `/dev/stdout` anew needs to own it.
    ///
    /// Its capacity is 1 MiB for a privileged supervisor, 256 KiB for another while its user's pipes are few, else
    /// whatever the kernel gives.
    ///
    /// # Errors
    /// When descriptors run out, /proc is missing or the owner cannot be set.
    pub fn new(owner: Option<(u32, u32)>) -> io::Result<OutputPipe> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        if let Some((uid, gid)) = owner {
            nix::unistd::fchown(&write, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        enlarge(write.as_fd());
        let path = format!("/proc/self/fd/{}", write.as_raw_fd());
        let reopened = OpenOptions::new().read(true).write(true).open(path)?;
        let inode = reopened.metadata()?.ino();
        fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(OutputPipe { read, write: reopened.into(), inode })
    }
}

/// The read end of a pipe whose first reader is gone, by its inode: opened anew from whichever of these processes has it
/// among its descriptors. What is in the pipe is still there (pipe(7)), and what comes is read from here on. None: none
/// of them has it any more.
///
/// # Errors
/// `PermissionDenied` where it was not found and some of them may not be looked into.
pub fn reopen(inode: u64, pids: &[i32]) -> io::Result<Option<OwnedFd>> {
    let name = format!("pipe:[{inode}]");
    let mut hidden = None;
    for pid in pids {
        let descriptors = match std::fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(descriptors) => descriptors,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                hidden = Some(error);
                continue;
            }
            // It has ended.
            Err(_) => continue,
        };
        for path in descriptors.flatten().map(|entry| entry.path()) {
            let is_it = std::fs::read_link(&path).is_ok_and(|target| target.as_os_str() == name.as_str());
            if is_it && let Ok(Some(pipe)) = reopen_at(&path, inode) {
                return Ok(Some(pipe));
            }
        }
    }
    hidden.map_or(Ok(None), Err)
}

/// How many bytes can be read from a pipe now; 0 from what is none. Where nobody else reads, they stay until we do.
pub fn waiting(pipe: impl AsFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD stores one int (ioctl_tty(2)), which outlives the call.
    let result = unsafe { libc::ioctl(pipe.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    if result == 0 { usize::try_from(bytes).unwrap_or_default() } else { 0 }
}

/// Whatever the process has put there meanwhile is looked at before it is opened: the opening of some things does something.
fn reopen_at(path: &Path, inode: u64) -> io::Result<Option<OwnedFd>> {
    let looked_at = OpenOptions::new().read(true).custom_flags(OFlag::O_PATH.bits()).open(path)?;
    let found = looked_at.metadata()?;
    if !found.file_type().is_fifo() || found.ino() != inode || found.dev() != device_of_pipes()? {
        return Ok(None);
    }
    let same = format!("/proc/self/fd/{}", looked_at.as_raw_fd());
    Ok(Some(OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(same)?.into()))
}

/// All pipes that have no name are of one file system.
fn device_of_pipes() -> io::Result<u64> {
    let (read, _write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    Ok(std::fs::File::from(read).metadata()?.dev())
}

/// A refusal is no error: a smaller pipe only makes a bursting app wait sooner.
fn enlarge(pipe: BorrowedFd<'_>) {
    let size = if is_exempt_from_pipe_limits() {
        LARGE
    } else if half_of_the_users_pages_is_free() {
        MODEST
    } else {
        return;
    };
    let _refused = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(size));
}

fn is_exempt_from_pipe_limits() -> bool {
    effective_capabilities() & (1 << CAP_SYS_ADMIN | 1 << CAP_SYS_RESOURCE) != 0
}

/// The lower 32 capabilities in force for this thread; none when the kernel does not tell.
fn effective_capabilities() -> u32 {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Default, Clone, Copy)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 of capget(2) writes two of these structures, and both outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    if result == 0 { data[0].effective } else { 0 }
}

/// Beyond the soft limit an unprivileged user gets pipes of 8 KiB only, for everything: ours must leave room.
///
/// The kernel tells nobody how much is taken, so the pipes open in this process stand for it; the other half is
/// for everything else that the user runs.
fn half_of_the_users_pages_is_free() -> bool {
    let Ok(limit) = std::fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft") else { return false };
    // 0 is "no limit", proc_sys_fs(5).
    let limit_pages: u64 = match limit.trim().parse() {
        Ok(0) => return true,
        Ok(pages) => pages,
        Err(_) => return false,
    };
    own_pipe_bytes().is_ok_and(|taken| taken + MODEST as u64 <= limit_pages * page_bytes() / 2)
}

/// A pipe with both ends open here counts twice, which errs on the safe side.
fn own_pipe_bytes() -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // SAFETY: a number, no memory; a descriptor closed meanwhile, or one of no pipe, is EBADF.
        let size = unsafe { libc::fcntl(fd, libc::F_GETPIPE_SZ) };
        bytes += u64::try_from(size).unwrap_or(0);
    }
    Ok(bytes)
}

fn page_bytes() -> u64 {
    // SAFETY: sysconf(3) takes a number and touches no memory of ours.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};

    fn flags(fd: &OwnedFd) -> OFlag {
        OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap())
    }

    #[test]
    fn the_reader_never_blocks_and_the_app_does() {
        let pipe = OutputPipe::new(None).unwrap();
        assert!(flags(&pipe.read).contains(OFlag::O_NONBLOCK));
        assert!(!flags(&pipe.write).contains(OFlag::O_NONBLOCK));
        assert!(flags(&pipe.write).contains(OFlag::O_RDWR));
        let mut reader = File::from(pipe.read);
        assert_eq!(reader.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_reader_that_is_gone_is_replaced_and_nothing_is_lost() {
        let OutputPipe { read, write, inode } = OutputPipe::new(None).unwrap();
        let mut writer = File::from(write);
        let own = [i32::try_from(std::process::id()).unwrap()];
        writer.write_all(b"before, ").unwrap();
        drop(read);
        writer.write_all(b"between, ").unwrap();
        assert!(reopen(inode + 1_000_000_000, &own).unwrap().is_none());
        let read = reopen(inode, &own).unwrap().unwrap();
        assert!(flags(&read).contains(OFlag::O_NONBLOCK) && !flags(&read).contains(OFlag::O_RDWR));
        writer.write_all(b"after").unwrap();
        drop(writer);
        let mut all = String::new();
        File::from(read).read_to_string(&mut all).unwrap();
        assert_eq!(all, "before, between, after");
    }

    #[test]
    fn both_ends_are_closed_on_exec() {
        let pipe = OutputPipe::new(None).unwrap();
        for fd in [&pipe.read, &pipe.write] {
            assert_eq!(fcntl(fd, FcntlArg::F_GETFD).unwrap(), libc::FD_CLOEXEC);
        }
    }

    #[test]
    fn it_is_large_for_the_privileged_and_known_by_its_inode() {
        let pipe = OutputPipe::new(None).unwrap();
        let size = fcntl(&pipe.read, FcntlArg::F_GETPIPE_SZ).unwrap();
        // Others get what their user's pipes leave, which the tests beside this one may use up.
        assert!(size == LARGE || !is_exempt_from_pipe_limits(), "{size}");
        let link = std::fs::read_link(format!("/proc/self/fd/{}", pipe.read.as_raw_fd())).unwrap();
        assert_eq!(link.to_str().unwrap(), format!("pipe:[{}]", pipe.inode));
    }

    #[test]
    fn an_app_that_lost_its_reader_goes_on_and_a_new_reader_continues_without_a_gap() {
        let pipe = OutputPipe::new(None).unwrap();
        let mut app = File::from(pipe.write);
        app.write_all(b"before ").unwrap();
        drop(pipe.read);
        app.write_all(b"between ").unwrap();
        let mut successor = File::open(format!("/proc/self/fd/{}", app.as_raw_fd())).unwrap();
        app.write_all(b"after").unwrap();
        drop(app);
        let mut text = String::new();
        successor.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before between after");
    }

    #[test]
    fn an_unprivileged_supervisor_leaves_half_of_its_users_pages_alone() {
        let limit_pages = std::fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft").unwrap();
        let half = limit_pages.trim().parse::<u64>().unwrap() * page_bytes() / 2;
        // Where the limit is not Linux' default, filling it may take more descriptors than we have.
        if is_exempt_from_pipe_limits() || half != 32 * 1024 * 1024 {
            return;
        }
        let pipes: Vec<OutputPipe> = (0..150).map(|_| OutputPipe::new(None).unwrap()).collect();
        let sizes = pipes.iter().map(|pipe| fcntl(&pipe.read, FcntlArg::F_GETPIPE_SZ).unwrap());
        let modest = sizes.filter(|size| *size == MODEST).count() as u64;
        assert!(modest > 0 && modest * MODEST as u64 <= half, "{modest}");
    }

    #[test]
    fn it_belongs_to_the_apps_user() {
        if !Uid::effective().is_root() {
            return;
        }
        let pipe = OutputPipe::new(Some((65534, 65534))).unwrap();
        let metadata = File::from(pipe.write).metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (65534, 65534));
    }
}
