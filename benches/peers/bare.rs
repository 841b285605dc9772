//! Programs that only write what they are piped: the yardstick `tee`, and s6's logger.

use crate::flood::Flood;
use crate::producer;
use crate::workshop::is_in_path;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// What the supervisors give their apps, where they choose.
const PIPE: i32 = 1024 * 1024;

pub(crate) struct Bare {
    pub(crate) what: &'static str,
    pub(crate) program: &'static str,
    arguments: &'static [&'static str],
}

/// s6-log cannot be told not to rotate: it does so at its largest size, 256 MB.
pub(crate) const ALL: &[Bare] = &[
    Bare { what: "tee, two files", program: "tee", arguments: &["one"] },
    Bare {
        what: "s6-log, two directories, raw",
        program: "s6-log",
        arguments: &["n9", "s268435455", "./one", "./two"],
    },
    Bare {
        what: "s6-log, two directories, timestamps",
        program: "s6-log",
        arguments: &["T", "n9", "s268435455", "./one", "./two"],
    },
];

impl Bare {
    pub(crate) fn is_installed(&self) -> bool {
        is_in_path(self.program)
    }

    /// From the first write to the end of the program, which has written all by then.
    pub(crate) fn flood(&self, dir: &Path) -> Flood {
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
