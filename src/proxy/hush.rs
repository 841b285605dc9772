//! A waker that can be silenced: hyper's two halves of a connection wake one another, and here one task has both.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

/// Of the task that serves a client; instances' connections that it uses are polled with it.
#[derive(Debug, Default)]
pub(super) struct Hush {
    known: RefCell<Option<(Arc<Silenceable>, Waker)>>,
}

#[derive(Debug)]
struct Silenceable {
    task: Waker,
    is_silent: AtomicBool,
}

impl Wake for Silenceable {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_silent.load(Ordering::Relaxed) {
            self.task.wake_by_ref();
        }
    }
}

impl Hush {
    /// The waker of this task. It is one and the same for as long as the connection lives.
    pub(super) fn waker(&self, cx: &Context<'_>) -> Waker {
        let mut known = self.known.borrow_mut();
        if let Some((own, waker)) = &*known
            && own.task.will_wake(cx.waker())
        {
            return waker.clone();
        }
        let own = Arc::new(Silenceable { task: cx.waker().clone(), is_silent: AtomicBool::new(false) });
        let waker = Waker::from(own.clone());
        *known = Some((own, waker.clone()));
        waker
    }

    /// Does something that need not wake the task: it looks at once at what came of it.
    pub(super) fn silently<T>(&self, act: impl FnOnce() -> T) -> T {
        let silence = |is_silent: bool| {
            if let Some((own, _)) = &*self.known.borrow() {
                own.is_silent.store(is_silent, Ordering::Relaxed);
            }
        };
        silence(true);
        let done = act();
        silence(false);
        done
    }
}
