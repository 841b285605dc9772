//! Ourselves.

use crate::peer::{Fleet, Keeping, Peer, Running, app_name};
use crate::process::{Process, wait_until};
use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

pub(crate) struct Infissi;

const SUPERVISORD: &str = env!("CARGO_BIN_EXE_infissi-supervisord");
const CTL: &str = env!("CARGO_BIN_EXE_infissi-ctl");

impl Peer for Infissi {
    fn name(&self) -> &'static str {
        "infissi"
    }

    fn start(&self, dir: &Path, fleet: &Fleet<'_>) -> Running {
        let config = dir.join("supervisor.toml");
        fs::write(&config, configuration(fleet)).unwrap();
        let mut child = Command::new(SUPERVISORD)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(dir.join("own.log")).unwrap())
            .spawn()
            .expect("infissi-supervisord starts");
        let pid = i32::try_from(child.id()).unwrap();
        let end = move || {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
            child.wait().unwrap();
        };
        let running = Running::await_children(Process::of(pid).expect("infissi-supervisord runs"), fleet.apps, end);
        wait_until("infissi answers", Duration::from_secs(10), || self.list(dir).output().unwrap().status.success());
        running
    }

    fn log_files(&self, dir: &Path, _keeping: Keeping) -> Option<Vec<PathBuf>> {
        let file = |kind: &str| dir.join("logs").join(format!("{}-{kind}.log", app_name(0)));
        Some(vec![file("out"), file("combined")])
    }

    fn list(&self, dir: &Path) -> Command {
        let mut list = Command::new(CTL);
        list.arg("--socket").arg(dir.join("run/supervisor.sock")).arg("list");
        list
    }
}

fn configuration(fleet: &Fleet<'_>) -> String {
    let mut text = String::from(
        "[supervisor]\nruntime_dir = \"run\"\nstate_dir = \"state\"\nlog_dir = \"logs\"\n\
         [defaults]\ncwd = \".\"\nmax_memory_restart = \"300M\"\n",
    );
    writeln!(text, "command = {:?}", fleet.command).unwrap();
    match fleet.keeping {
        Keeping::Raw => text.push_str("logs = { timestamps = false, max_size = \"100G\", max_total = \"1000G\" }\n"),
        Keeping::Stamped => text.push_str("logs = { max_size = \"100G\", max_total = \"1000G\" }\n"),
        Keeping::Default => {}
    }
    for index in 0..fleet.apps {
        writeln!(text, "[apps.{}]", app_name(index)).unwrap();
    }
    text
}
