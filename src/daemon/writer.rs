//! Writing one file again and again: the latest value wins, and an older one never lands after it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Writes on one thread at most, which is there only while there is something to write: a disk that hangs holds no
/// more than that one.
pub(super) struct Writer<T> {
    write: Box<dyn Fn(T) -> io::Result<()> + Send + Sync>,
    waiting: Mutex<Waiting<T>>,
}

type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

struct Waiting<T> {
    /// The thread is there, and takes `next` when it is done with what it has.
    busy: bool,
    next: Option<(T, Done)>,
}

impl<T: Send + 'static> Writer<T> {
    pub(super) fn new(write: impl Fn(T) -> io::Result<()> + Send + Sync + 'static) -> Arc<Writer<T>> {
        Arc::new(Writer { write: Box::new(write), waiting: Mutex::new(Waiting { busy: false, next: None }) })
    }

    /// Writes `value` as soon as the one before it is written. `done` is told on the writing thread how it went, and
    /// dropped where a later value came before this one's turn. To be called within the runtime.
    pub(super) fn put(self: &Arc<Self>, value: T, done: impl FnOnce(io::Result<()>) + Send + 'static) {
        let mut waiting = self.waiting();
        waiting.next = Some((value, Box::new(done)));
        if !std::mem::replace(&mut waiting.busy, true) {
            let writer = self.clone();
            tokio::task::spawn_blocking(move || writer.work());
        }
    }

    fn work(&self) {
        while let Some((value, done)) = self.next() {
            done((self.write)(value));
        }
    }

    fn next(&self) -> Option<(T, Done)> {
        let mut waiting = self.waiting();
        let next = waiting.next.take();
        waiting.busy = next.is_some();
        next
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn the_latest_value_lands_last_however_long_the_first_one_was_stuck() {
        let (begun, has_begun) = mpsc::channel();
        let (go, goes) = mpsc::channel::<()>();
        let (goes, landed) = (Mutex::new(goes), Arc::new(Mutex::new(Vec::new())));
        let file = landed.clone();
        let writer = Writer::new(move |value: u32| {
            begun.send(value).unwrap();
            goes.lock().unwrap().recv().unwrap();
            file.lock().unwrap().push(value);
            Ok(())
        });
        let put = |value| {
            let (done, told) = oneshot::channel();
            writer.put(value, move |result| done.send(result.is_ok()).unwrap());
            told
        };
        let first = put(1);
        assert_eq!(has_begun.recv().unwrap(), 1);
        let (second, third) = (put(2), put(3));
        assert!(second.await.is_err(), "the second was overtaken before its turn");
        go.send(()).unwrap();
        go.send(()).unwrap();
        assert_eq!((first.await, third.await), (Ok(true), Ok(true)));
        assert_eq!(*landed.lock().unwrap(), [1, 3]);

        go.send(()).unwrap();
        assert_eq!(put(4).await, Ok(true), "and the thread comes back");
        assert_eq!(*landed.lock().unwrap(), [1, 3, 4]);
    }

    #[tokio::test]
    async fn a_refusal_of_the_disk_is_told() {
        let writer = Writer::new(|()| Err(io::ErrorKind::StorageFull.into()));
        let (done, told) = oneshot::channel();
        writer.put((), move |result: io::Result<()>| done.send(result.unwrap_err().kind()).unwrap());
        assert_eq!(told.await, Ok(io::ErrorKind::StorageFull));
    }
}
