//! A probe that is a command: run as the app's user, in its directory and environment, ended when it takes too long.
//!
//! It is a task of its own: who asked may go away, the process is waited for and reaped all the same.

mod said;

use super::environment::command_line;
use super::launch::sentence;
use super::runs::Run;
use super::shared::Shared;
use crate::linux::exit::{Exit, ended};
use crate::linux::pipe::OutputPipe;
use crate::linux::proc::ProcessId;
use crate::linux::spawn::{Launch, Launched};
use crate::linux::tree::Tree;
use said::Said;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::timeout;

/// A killed process that is not gone by then is stuck in the kernel.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

type Outcome = Result<(), String>;
type Answer = watch::Receiver<Option<Outcome>>;

/// The command probe of a run, one at a time: who asks meanwhile shares its answer.
#[derive(Debug, Default)]
pub(super) struct Asking(Mutex<Asked>);

#[derive(Debug, Default)]
struct Asked {
    /// How many there were: a number of its own for each.
    count: u64,
    /// Of the last one. Its sender lives as long as its process.
    answer: Option<Answer>,
}

impl Asking {
    /// The answer to come of the probe that is under way, else of the one begun here, which is told its number.
    fn join(&self, begin: impl FnOnce(u64, watch::Sender<Option<Outcome>>)) -> Answer {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = asked.answer.as_ref().filter(|answer| answer.has_changed().is_ok()) {
            return answer.clone();
        }
        asked.count += 1;
        let (sender, answer) = watch::channel(None);
        begin(asked.count, sender);
        asked.answer = Some(answer.clone());
        answer
    }
}

pub(super) async fn ask(shared: &Arc<Shared>, run: &Arc<Run>, command: &[String], patience: Duration) -> Outcome {
    let mut answer = run.asking.join(|number, answer| {
        let order = Order { run: run.clone(), number, command: command.to_vec() };
        tokio::spawn(look(shared.clone(), order, patience, answer));
    });
    let outcome = answer.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
    outcome.unwrap_or_else(|| Err("the probe was given up".to_owned()))
}

struct Order {
    run: Arc<Run>,
    number: u64,
    command: Vec<String>,
}

struct Probe {
    tree: Tree,
    launched: Launched,
    output: pipe::Receiver,
}

/// The whole life of one probe, whoever still waits for its answer.
async fn look(shared: Arc<Shared>, order: Order, patience: Duration, answer: watch::Sender<Option<Outcome>>) {
    let starting = shared.clone();
    let started = tokio::task::spawn_blocking(move || start(&starting, &order)).await;
    let Probe { tree, launched, output } = match started.unwrap_or_else(|_| Err("it could not be started".to_owned())) {
        Ok(probe) => probe,
        Err(reason) => {
            answer.send_replace(Some(Err(reason)));
            return;
        }
    };
    let mut said = Said::default();
    let in_time = tokio::select! {
        in_time = timeout(patience, ended(&launched.pidfd)) => in_time.ok(),
        never = said.listen(&output) => match never {},
    };
    // Whatever it left behind, or the whole of it when it takes too long.
    let _killed = tokio::task::spawn_blocking(move || tree.kill()).await;
    let is_gone = in_time.is_some() || timeout(KILL_PATIENCE, ended(&launched.pidfd)).await.is_ok();
    said.finish(output);
    answer.send_replace(Some(judge(in_time, &said, patience)));
    if !is_gone {
        // Its answer stands meanwhile: a hung disk is not to be given one more process every few seconds.
        let _exit = ended(&launched.pidfd).await;
    }
    shared.launcher.children.forget(launched.pid);
}

fn start(shared: &Shared, order: &Order) -> Result<Probe, String> {
    let (config, run) = (shared.config(), &order.run);
    let app = config.app(&run.app).ok_or("its app is gone")?;
    let instance = run.as_instance(app);
    // A mark of its own: it belongs neither to the app's tree nor to another probe's, and is found after a crash all
    // the same.
    let mark = format!("{}.{}.probe.{}", shared.launcher.state_id, run.id, order.number);
    let setting = shared.launcher.setting(instance, &mark)?;
    let pipe = OutputPipe::new(Some((setting.user.uid, setting.user.gid))).map_err(|error| error.to_string())?;
    let stderr = pipe.write.try_clone().map_err(|error| error.to_string())?;
    let output = pipe::Receiver::from_owned_fd(pipe.read).map_err(|error| error.to_string())?;
    let launched = shared
        .launcher
        .children
        .launch(Launch {
            command: command_line(instance, &order.command),
            cwd: setting.cwd,
            env: setting.env.into_iter().collect(),
            identity: shared.launcher.users.becomes(setting.user),
            called: None,
            stdin: None,
            stdout: pipe.write,
            stderr,
            cgroup: None,
            nofile: shared.launcher.nofile,
        })
        .map_err(|error| sentence(&error))?;
    let leader = ProcessId { pid: launched.pid, start_time: launched.start_time };
    Ok(Probe { tree: Tree::new(leader, mark, None), launched, output })
}

/// No exit at all means that it had to be ended.
fn judge(in_time: Option<io::Result<Exit>>, said: &Said, patience: Duration) -> Outcome {
    let reason = match in_time {
        Some(Ok(exit)) if exit.code == Some(0) => return Ok(()),
        Some(Ok(exit)) => format!("the probe ended with {exit}"),
        Some(Err(error)) => format!("cannot wait for the probe: {error}"),
        None => format!("the probe did not end within {} s", patience.as_secs_f64()),
    };
    Err(said.last_line().map_or(reason.clone(), |line| format!("{reason}: {line}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_while_a_probe_is_under_way_shares_its_answer() {
        let asking = Asking::default();
        let mut first = None;
        let mut answer = asking.join(|number, sender| {
            assert_eq!(number, 1);
            first = Some(sender);
        });
        let shared = asking.join(|_, _| panic!("one is under way"));
        first.as_ref().unwrap().send_replace(Some(Err("ill".to_owned())));
        assert_eq!(*shared.borrow(), Some(Err("ill".to_owned())));
        assert_eq!(*answer.borrow_and_update(), Some(Err("ill".to_owned())));

        // As long as its process is there, nobody begins another.
        let stuck = asking.join(|_, _| panic!("its process is not gone"));
        assert_eq!(*stuck.borrow(), Some(Err("ill".to_owned())));
        drop(first);
        let fresh = asking.join(|number, _| assert_eq!(number, 2));
        assert_eq!(*fresh.borrow(), None);
    }

    #[test]
    fn a_failed_probe_is_told_with_its_last_words() {
        let mut said = Said::default();
        said.add(b"connecting\nno route to the database\n\n");
        let exit = |code| Some(Ok(Exit { code: Some(code), signal: None, core: false }));
        let patience = Duration::from_secs(3);
        assert_eq!(judge(exit(0), &said, patience), Ok(()));
        let failed = judge(exit(2), &said, patience).unwrap_err();
        assert_eq!(failed, "the probe ended with exit code 2: no route to the database");
        let late = judge(None, &Said::default(), patience).unwrap_err();
        assert_eq!(late, "the probe did not end within 3 s");
    }
}
