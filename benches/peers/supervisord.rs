//! supervisord, from PyPI.

use crate::peer::{Fleet, Keeping, Peer, Running, app_name};
use crate::process::Process;
use crate::workshop::succeeds;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) struct Supervisord {
    bin: PathBuf,
}

impl Supervisord {
    /// None where there is no Python, or no index.
    pub(crate) fn install(target: &Path) -> Option<Supervisord> {
        let venv = target.join("supervisor");
        let bin = venv.join("bin");
        if !bin.join("supervisorctl").exists() {
            eprintln!("installing supervisord into {} …", venv.display());
            succeeds(Command::new("python3").args(["-m", "venv"]).arg(&venv));
            // It still imports pkg_resources, which setuptools 81 announced to drop.
            succeeds(Command::new(bin.join("pip")).args(["install", "supervisor", "setuptools<81"]));
        }
        bin.join("supervisorctl").exists().then_some(Supervisord { bin })
    }
}

impl Peer for Supervisord {
    fn name(&self) -> &'static str {
        "supervisord"
    }

    fn start(&self, dir: &Path, fleet: &Fleet<'_>) -> Running {
        let config = dir.join("supervisord.conf");
        fs::write(&config, configuration(dir, fleet)).unwrap();
        let mut child = Command::new(self.bin.join("supervisord"))
            .arg("-nc")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("supervisord starts");
        let pid = i32::try_from(child.id()).unwrap();
        Running::await_children(Process::of(pid).expect("supervisord runs"), fleet.apps, move || {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
            child.wait().unwrap();
        })
    }

    /// It has no combined file, and no timestamps.
    fn log_files(&self, dir: &Path, keeping: Keeping) -> Option<Vec<PathBuf>> {
        (keeping != Keeping::Stamped).then(|| vec![dir.join(format!("{}.log", app_name(0)))])
    }

    fn list(&self, dir: &Path) -> Command {
        let mut list = Command::new(self.bin.join("supervisorctl"));
        list.arg("-c").arg(dir.join("supervisord.conf")).arg("status");
        list
    }
}

fn configuration(dir: &Path, fleet: &Fleet<'_>) -> String {
    let dir = dir.display();
    let mut text = format!(
        "[unix_http_server]\nfile={dir}/sock\n[supervisord]\nlogfile={dir}/own.log\npidfile={dir}/pid\n\
         [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\
         [supervisorctl]\nserverurl=unix://{dir}/sock\n"
    );
    for index in 0..fleet.apps {
        let (name, command) = (app_name(index), fleet.command.join(" "));
        write!(text, "[program:{name}]\ncommand={command}\nstdout_logfile={dir}/{name}.log\n").unwrap();
        match fleet.keeping {
            Keeping::Raw | Keeping::Stamped => text.push_str("stdout_logfile_maxbytes=0\n"),
            Keeping::Default => {}
        }
    }
    text
}
