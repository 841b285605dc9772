//! PM2, from npm.

use crate::peer::{Fleet, Keeping, Peer, Running, app_name};
use crate::process::Process;
use crate::workshop::succeeds;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) struct Pm2 {
    program: PathBuf,
}

impl Pm2 {
    /// None where there is no npm, or no registry.
    pub(crate) fn install(target: &Path) -> Option<Pm2> {
        let prefix = target.join("pm2");
        let program = prefix.join("node_modules/.bin/pm2");
        if !program.exists() {
            eprintln!("installing PM2 into {} …", prefix.display());
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(&prefix).arg("pm2");
            fs::create_dir_all(&prefix).ok()?;
            succeeds(&mut npm);
        }
        program.exists().then_some(Pm2 { program })
    }

    fn command(&self, dir: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.env("PM2_HOME", dir.join("pm2"));
        command
    }
}

impl Peer for Pm2 {
    fn name(&self) -> &'static str {
        "PM2"
    }

    fn start(&self, dir: &Path, fleet: &Fleet<'_>) -> Running {
        let (program, arguments) = fleet.command.split_first().unwrap();
        let app = |index: usize| {
            let name = app_name(index);
            let file = |kind: &str| dir.join(format!("{name}-{kind}.log"));
            let mut app = json!({
                "name": name, "script": program, "args": arguments, "interpreter": "none", "cwd": dir,
                "max_memory_restart": "300M", "merge_logs": true,
                "out_file": file("out"), "error_file": file("error"), "log_file": file("combined"),
            });
            if fleet.keeping == Keeping::Stamped {
                app["log_date_format"] = json!("YYYY-MM-DDTHH:mm:ss.SSSZ");
            }
            app
        };
        let ecosystem = dir.join("ecosystem.json");
        let apps: Vec<_> = (0..fleet.apps).map(app).collect();
        fs::write(&ecosystem, json!({ "apps": apps }).to_string()).unwrap();
        assert!(succeeds(self.command(dir).arg("start").arg(&ecosystem)), "PM2 starts its apps");
        let pid = fs::read_to_string(dir.join("pm2/pm2.pid")).unwrap();
        let daemon = Process::of(pid.trim().parse().unwrap()).expect("PM2 runs");
        let mut kill = self.command(dir);
        Running::await_children(daemon, fleet.apps, move || {
            succeeds(kill.arg("kill"));
            daemon.kill();
        })
    }

    fn log_files(&self, dir: &Path, keeping: Keeping) -> Option<Vec<PathBuf>> {
        let file = |kind: &str| dir.join(format!("{}-{kind}.log", app_name(0)));
        (keeping != Keeping::Default).then(|| vec![file("out"), file("combined")])
    }

    fn list(&self, dir: &Path) -> Command {
        let mut list = self.command(dir);
        list.arg("list");
        list
    }
}
