//! A probe that is a command: run as the app's user, in its directory and environment, ended when it takes too long.

use super::environment::{InstanceName, command_line};
use super::launch::sentence;
use super::runs::Run;
use super::shared::Shared;
use crate::linux::exit::ended;
use crate::linux::pipe::OutputPipe;
use crate::linux::proc::ProcessId;
use crate::linux::spawn::{Launch, Launched};
use crate::linux::tree::Tree;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// What is read of its output to say why it failed, bytes.
const OUTPUT: usize = 4 * 1024;

pub(super) async fn ask(
    shared: &Arc<Shared>,
    run: &Arc<Run>,
    command: &[String],
    patience: Duration,
) -> Result<(), String> {
    let (starting, of, command) = (shared.clone(), run.clone(), command.to_vec());
    let started = tokio::task::spawn_blocking(move || start(&starting, &of, &command)).await;
    let Probe { tree, launched, output } = started.map_err(|_| "it could not be started".to_owned())??;
    let in_time = timeout(patience, ended(&launched.pidfd)).await;
    // Whatever it left behind, or the whole of it when it takes too long.
    let _killed = tokio::task::spawn_blocking(move || tree.kill()).await;
    if in_time.is_err() {
        let _reaped = ended(&launched.pidfd).await;
    }
    shared.launcher.children.forget(launched.pid);
    match in_time {
        Ok(Ok(exit)) if exit.code == Some(0) => Ok(()),
        Ok(Ok(exit)) => Err(format!("the probe ended with {exit}{}", last_line(output))),
        Ok(Err(error)) => Err(format!("cannot wait for the probe: {error}")),
        Err(_) => Err(format!("the probe did not end within {} s", patience.as_secs_f64())),
    }
}

struct Probe {
    tree: Tree,
    launched: Launched,
    output: OwnedFd,
}

fn start(shared: &Shared, run: &Run, command: &[String]) -> Result<Probe, String> {
    let config = shared.config();
    let app = config.app(&run.app).ok_or("its app is gone")?;
    let instance = InstanceName { app, slot: run.slot, index: run.index };
    // A mark of its own: it does not belong to the app's tree, and is found after a crash all the same.
    let mark = format!("{}.{}.probe", shared.launcher.state_id, run.id);
    let setting = shared.launcher.setting(instance, &mark)?;
    let pipe = OutputPipe::new(Some((setting.user.uid, setting.user.gid))).map_err(|error| error.to_string())?;
    let stderr = pipe.write.try_clone().map_err(|error| error.to_string())?;
    let launched = shared
        .launcher
        .children
        .launch(Launch {
            command: command_line(instance, command),
            cwd: setting.cwd,
            env: setting.env,
            identity: shared.launcher.users.becomes(setting.user),
            stdout: pipe.write,
            stderr,
            cgroup: None,
            nofile: shared.launcher.nofile,
        })
        .map_err(|error| sentence(&error))?;
    let leader = ProcessId { pid: launched.pid, start_time: launched.start_time };
    Ok(Probe { tree: Tree::new(leader, mark, None), launched, output: pipe.read })
}

/// `: what it said last`
fn last_line(output: OwnedFd) -> String {
    let mut said = vec![0; OUTPUT];
    let count = File::from(output).read(&mut said).unwrap_or(0);
    let said = String::from_utf8_lossy(&said[..count]).into_owned();
    said.lines().rev().find(|line| !line.trim().is_empty()).map(|line| format!(": {line}")).unwrap_or_default()
}
