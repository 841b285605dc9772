//! What the service manager is told of us, and what it keeps for the supervisor that comes after us (sd_notify(3),
//! "File Descriptor Store" of systemd.service(5)).
//!
//! Nothing here waits for it: what its socket does not take is said again in a moment, in the same order.

use super::clock;
use crate::linux::notify::NotifySocket;
use sd_notify::NotifyState;
use std::collections::VecDeque;
use std::fmt::Write;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing::{debug, warn};

/// What it did not take is said again after this.
const AGAIN: Duration = Duration::from_millis(100);
/// It has stopped listening: what it would know no longer matters.
const MOST_UNSAID: usize = 16_384;
/// While something goes on for which it has a limit, it is asked every so often for so much more.
const ASK_EVERY: Duration = Duration::from_secs(10);
const MORE_TIME: Duration = Duration::from_secs(30);

/// It is busy, or not there for a moment.
const LISTENS_NOT: [ErrorKind; 3] = [ErrorKind::WouldBlock, ErrorKind::NotFound, ErrorKind::ConnectionRefused];

/// Says nothing to anybody where no service manager has started us.
#[derive(Default)]
pub(super) struct ServiceManager {
    socket: Option<NotifySocket>,
    /// It ends a supervisor that says nothing for so long.
    watchdog: Option<Duration>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    unsaid: VecDeque<Word>,
    say_again_at: Option<Duration>,
    alive_at: Duration,
    asked_at: Duration,
    status: String,
    /// How often the configuration is being applied.
    reloads: usize,
    is_stopping: bool,
}

struct Word {
    text: String,
    along: Vec<OwnedFd>,
}

/// The configuration is being applied, until this is dropped.
pub(super) struct Reloading(Arc<ServiceManager>);

impl ServiceManager {
    /// The one that has started us, if one has.
    pub(super) fn found() -> ServiceManager {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|address| {
            let socket = NotifySocket::at(&address);
            socket.inspect_err(|error| warn!("NOTIFY_SOCKET is {}: {error}", address.display())).ok()
        });
        let watchdog = sd_notify::watchdog_enabled().filter(|span| *span > Duration::ZERO);
        ServiceManager { socket, watchdog, state: Mutex::default() }
    }

    /// It has started us, and hears us.
    pub(super) fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    pub(super) fn is_ready(&self) {
        self.say(&[NotifyState::Ready]);
    }

    /// A span of its watchdog begins: until the loop goes round somebody else is in charge.
    pub(super) fn is_alive(&self) {
        if self.watchdog.is_some() {
            self.say(&[NotifyState::Watchdog]);
        }
    }

    /// After how long without a word it ends a supervisor, if it does.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.is_there())
    }

    /// One line for `systemctl status`.
    pub(super) fn stands(&self, status: &str) {
        {
            let mut state = self.state();
            if state.status == status {
                return;
            }
            status.clone_into(&mut state.status);
        }
        self.say(&[NotifyState::Status(status)]);
    }

    /// From now on it is asked for more time until we are gone.
    pub(super) fn is_stopping(&self) {
        if !std::mem::replace(&mut self.state().is_stopping, true) {
            self.say(&[NotifyState::Stopping]);
            self.ask_for_more_time(clock::now().mono);
        }
    }

    pub(super) fn reload(self: &Arc<Self>) -> Reloading {
        let is_first = {
            let mut state = self.state();
            state.reloads += 1;
            state.reloads == 1 && !state.is_stopping
        };
        if is_first && let Ok(now) = NotifyState::monotonic_usec_now() {
            self.say(&[NotifyState::Reloading, now]);
            self.ask_for_more_time(clock::now().mono);
        }
        Reloading(self.clone())
    }

    /// Keeps a descriptor under this name: given back to whoever comes after us, also where nothing can be read from it
    /// any more (`FDPOLL`), for what was not read before may still be in it.
    pub(super) fn keep(&self, name: &str, descriptor: BorrowedFd<'_>) {
        if !self.is_there() {
            return;
        }
        match descriptor.try_clone_to_owned() {
            Ok(along) => {
                let states = [NotifyState::FdStore, NotifyState::Custom("FDPOLL=0"), NotifyState::FdName(name)];
                self.say_with(&states, vec![along]);
            }
            Err(error) => debug!("{name} is not kept: {error}"),
        }
    }

    pub(super) fn let_go(&self, name: &str) {
        self.say(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
    }

    /// To be called by the loop whenever it has done something, and at the [`ServiceManager::deadline`]. It is not
    /// `well` when something else has ended that it cannot do without: then it is to be ended, too.
    pub(super) fn press_on(&self, now: Duration, well: bool) {
        if !self.is_there() {
            return;
        }
        let (is_due, is_asking) = {
            let state = self.state();
            (self.alive_due(&state).is_some_and(|at| at <= now), asking_due(&state).is_some_and(|at| at <= now))
        };
        if is_due {
            self.state().alive_at = now;
            if well {
                self.say(&[NotifyState::Watchdog]);
            }
        }
        if is_asking {
            self.ask_for_more_time(now);
        }
        let mut state = self.state();
        if state.say_again_at.is_some_and(|at| at <= now) {
            self.say_what_is_unsaid(&mut state);
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        if !self.is_there() {
            return None;
        }
        let state = self.state();
        [self.alive_due(&state), asking_due(&state), state.say_again_at].into_iter().flatten().min()
    }

    /// Often enough for one that comes late to be no harm.
    fn alive_due(&self, state: &State) -> Option<Duration> {
        self.watchdog.map(|span| state.alive_at + span / 3)
    }

    fn ask_for_more_time(&self, now: Duration) {
        self.state().asked_at = now;
        self.say(&[NotifyState::ExtendTimeoutUsec(u32::try_from(MORE_TIME.as_micros()).unwrap_or(u32::MAX))]);
    }

    fn say(&self, states: &[NotifyState<'_>]) {
        self.say_with(states, Vec::new());
    }

    fn say_with(&self, states: &[NotifyState<'_>], along: Vec<OwnedFd>) {
        if !self.is_there() {
            return;
        }
        let mut text = String::new();
        for state in states {
            // Into a String nothing fails.
            let _written = writeln!(text, "{state}");
        }
        let mut state = self.state();
        state.unsaid.retain(|unsaid| !replaces(&text, &unsaid.text));
        state.unsaid.push_back(Word { text, along });
        self.say_what_is_unsaid(&mut state);
    }

    fn say_what_is_unsaid(&self, state: &mut State) {
        let Some(socket) = &self.socket else { return };
        state.say_again_at = None;
        while let Some(word) = state.unsaid.front() {
            let along: Vec<BorrowedFd<'_>> = word.along.iter().map(AsFd::as_fd).collect();
            if let Err(error) = socket.send(&word.text, &along) {
                debug!("the service manager does not listen: {error}");
                let kind = error.kind();
                // With them it cannot be said, be it that too many are on their way; what is behind it can.
                if along.is_empty() || LISTENS_NOT.contains(&kind) {
                    // Without a socket there it is not about to.
                    let wait = if kind == ErrorKind::WouldBlock { AGAIN } else { ASK_EVERY };
                    state.say_again_at = Some(clock::now().mono + wait);
                    break;
                }
            }
            state.unsaid.pop_front();
        }
        while state.unsaid.len() > MOST_UNSAID {
            state.unsaid.pop_front();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn asking_due(state: &State) -> Option<Duration> {
    (state.is_stopping || state.reloads > 0).then(|| state.asked_at + ASK_EVERY)
}

/// Is what was said before of no interest any more? What is kept or let go is each for itself, but what was never kept
/// and is let go.
fn replaces(text: &str, before: &str) -> bool {
    let topic = |text: &str| text.split('=').next().map(str::to_owned);
    match text.strip_prefix("FDSTOREREMOVE=1\n") {
        Some(name) => before.starts_with("FDSTORE=1\n") && before.ends_with(&format!("\n{name}")),
        None => !text.starts_with("FDSTORE=1\n") && topic(text) == topic(before),
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        let is_last = {
            let mut state = self.0.state();
            state.reloads -= 1;
            state.reloads == 0 && !state.is_stopping
        };
        if is_last {
            self.0.is_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::descriptors;
    use std::fs::File;
    use std::os::unix::net::UnixDatagram;
    use tempfile::TempDir;

    const LATER: Duration = Duration::from_secs(3600);

    struct Systemd {
        _dir: TempDir,
        socket: UnixDatagram,
    }

    impl Systemd {
        fn with(watchdog: Option<Duration>) -> (Systemd, Arc<ServiceManager>) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("notify");
            let socket = UnixDatagram::bind(&path).unwrap();
            let manager = ServiceManager {
                socket: Some(NotifySocket::at(path.as_os_str()).unwrap()),
                watchdog,
                state: Mutex::default(),
            };
            (Systemd { _dir: dir, socket }, Arc::new(manager))
        }

        /// The next word, and how many descriptors came with it; none where nothing was said.
        fn heard(&self) -> Option<(String, usize)> {
            let (mut bytes, mut came) = ([0; 512], Vec::new());
            let length = descriptors::receive(&self.socket, &mut bytes, &mut came).ok()?;
            Some((String::from_utf8(bytes[..length].to_vec()).unwrap().replace('\n', " "), came.len()))
        }

        fn all(&self) -> Vec<String> {
            std::iter::from_fn(|| self.heard()).map(|(text, _)| text.trim_end().to_owned()).collect()
        }
    }

    #[test]
    fn a_status_is_told_once_and_a_descriptor_goes_with_its_name() {
        let (systemd, manager) = Systemd::with(None);
        manager.is_ready();
        manager.stands("1 app online");
        manager.stands("1 app online");
        manager.keep("out-7-web", File::open("/dev/null").unwrap().as_fd());
        manager.let_go("out-7-web");
        assert_eq!(systemd.heard().unwrap().0, "READY=1 ");
        assert_eq!(systemd.heard().unwrap().0, "STATUS=1 app online ");
        assert_eq!(systemd.heard().unwrap(), ("FDSTORE=1 FDPOLL=0 FDNAME=out-7-web ".to_owned(), 1));
        assert_eq!(systemd.all(), ["FDSTOREREMOVE=1 FDNAME=out-7-web"]);
        assert_eq!(manager.deadline(), None);
    }

    #[test]
    fn what_a_full_socket_does_not_take_is_said_later_in_its_order_and_without_what_is_outdated() {
        let (systemd, manager) = Systemd::with(None);
        let null = File::open("/dev/null").unwrap();
        while manager.deadline().is_none() {
            manager.let_go("filler");
        }
        manager.stands("1 app starting");
        manager.keep("out-7-web", null.as_fd());
        manager.keep("out-8-web", null.as_fd());
        manager.stands("1 app online");
        manager.let_go("out-7-web");
        manager.press_on(Duration::ZERO, true);
        systemd.all();
        assert!(manager.deadline().is_some());
        manager.press_on(clock::now().mono + LATER, true);
        let said = systemd.all();
        let said: Vec<&String> = said.iter().filter(|word| !word.ends_with("=filler")).collect();
        assert_eq!(
            said,
            ["FDSTORE=1 FDPOLL=0 FDNAME=out-8-web", "STATUS=1 app online", "FDSTOREREMOVE=1 FDNAME=out-7-web"]
        );
        assert_eq!(manager.deadline(), None);
    }

    #[test]
    fn a_descriptor_that_cannot_be_sent_does_not_keep_the_words_behind_it() {
        let (systemd, manager) = Systemd::with(None);
        let null = File::open("/dev/null").unwrap();
        // More than go with one message (unix(7)).
        let along = (0..300).map(|_| null.as_fd().try_clone_to_owned().unwrap()).collect();
        manager.say_with(&[NotifyState::FdStore, NotifyState::FdName("out-7-web")], along);
        manager.is_ready();
        assert_eq!((systemd.all(), manager.deadline()), (vec!["READY=1".to_owned()], None));
    }

    #[test]
    fn a_loop_that_goes_round_is_alive_unless_something_else_is_not() {
        let (systemd, manager) = Systemd::with(Some(Duration::from_secs(30)));
        let at = |seconds: u64| Duration::from_secs(1000 + seconds);
        manager.press_on(at(0), true);
        manager.press_on(at(9), true);
        assert_eq!(systemd.all(), ["WATCHDOG=1"]);
        assert_eq!(manager.deadline(), Some(at(10)));
        manager.press_on(at(10), true);
        assert_eq!(systemd.all(), ["WATCHDOG=1"]);
        manager.press_on(at(20), false);
        assert!(systemd.all().is_empty());
    }

    #[test]
    fn time_is_asked_for_while_something_goes_on() {
        let (systemd, manager) = Systemd::with(None);
        let reloading = [manager.reload(), manager.reload()];
        let said = systemd.all();
        assert!(said[0].starts_with("RELOADING=1 MONOTONIC_USEC="), "{said:?}");
        assert_eq!(said[1..], ["EXTEND_TIMEOUT_USEC=30000000"]);
        manager.press_on(clock::now().mono + ASK_EVERY, true);
        assert_eq!(systemd.all(), ["EXTEND_TIMEOUT_USEC=30000000"]);
        drop(reloading);
        assert_eq!((systemd.all(), manager.deadline()), (vec!["READY=1".to_owned()], None));
        manager.is_stopping();
        manager.is_stopping();
        assert_eq!(systemd.all(), ["STOPPING=1", "EXTEND_TIMEOUT_USEC=30000000"]);
        drop(manager.reload());
        assert!(systemd.all().is_empty(), "what stops is not ready again");
    }
}
