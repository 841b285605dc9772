//! Programs that only write what they are piped: the yardstick `tee`, and the loggers of s6 and runit.

use crate::flood::Flood;
use crate::producer;
use crate::workshop::is_in_path;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// What the supervisors give their apps, where they choose.
const PIPE: i32 = 1024 * 1024;

pub(crate) struct Bare {
    pub(crate) what: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    /// Directories that must be there, with a `config` in each.
    dirs: &'static [&'static str],
}

/// s6-log cannot be told not to rotate: it does so at its largest size, 256 MB.
pub(crate) const ALL: &[Bare] = &[
    Bare { what: "tee, two files", program: "tee", arguments: &["one"], dirs: &[] },
    Bare {
        what: "s6-log, two directories, raw",
        program: "s6-log",
        arguments: &["n9", "s268435455", "./one", "./two"],
        dirs: &[],
    },
    Bare {
        what: "s6-log, two directories, timestamps",
        program: "s6-log",
        arguments: &["T", "n9", "s268435455", "./one", "./two"],
        dirs: &[],
    },
    Bare {
        what: "svlogd, two directories, raw",
        program: "svlogd",
        arguments: &["-b", "65536", "./one", "./two"],
        dirs: &["one", "two"],
    },
    Bare {
        what: "svlogd, two directories, timestamps",
        program: "svlogd",
        arguments: &["-ttt", "-b", "65536", "./one", "./two"],
        dirs: &["one", "two"],
    },
];

impl Bare {
    pub(crate) fn is_installed(&self) -> bool {
        is_in_path(self.program)
    }

    /// From the first write to the end of the program, which has written all by then.
    pub(crate) fn flood(&self, dir: &Path) -> Flood {
        for name in self.dirs {
            fs::create_dir(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("config"), "s0\nn0\n").unwrap();
        }
        let (reader, mut writer) = io::pipe().unwrap();
        nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETPIPE_SZ(PIPE)).unwrap();
        let mut child = Command::new(self.program)
            .args(self.arguments)
            .current_dir(dir)
            .stdin(reader)
            .stdout(File::create(dir.join("two.out")).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        producer::write(&mut writer);
        drop(writer);
        assert!(child.wait().unwrap().success(), "{} ends well", self.program);
        Flood { took: began.elapsed(), pss: None, cpu: None }
    }
}
