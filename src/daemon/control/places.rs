//! How many connections a user may hold: a newcomer gets the place of that user's connection that has been idle the
//! longest, so that a thousand idle ones keep nobody out and cost little.

use axum::body::Body;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::Notify;

/// Connections of one user at a time.
const PER_USER: usize = 64;

#[derive(Default, Clone)]
pub(super) struct Places(Arc<Mutex<HashMap<u32, VecDeque<Arc<Seat>>>>>);

/// One connection.
#[derive(Default)]
struct Seat {
    /// Requests whose answers are not yet sent.
    busy: AtomicUsize,
    leave: Notify,
}

/// Held for the life of a connection.
pub(super) struct Place {
    places: Places,
    uid: u32,
    seat: Arc<Seat>,
}

/// Held while a request is answered.
pub(super) struct AtWork(Arc<Seat>);

impl Places {
    /// A place for a new connection of `uid`. When that user has too many, the one idle the longest leaves; when all
    /// are at work, the oldest.
    pub(super) fn take(&self, uid: u32) -> Place {
        let seat = Arc::new(Seat::default());
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seats = seats.entry(uid).or_default();
        if seats.len() >= PER_USER {
            let idle = seats.iter().position(|seat| seat.busy.load(Ordering::Relaxed) == 0);
            if let Some(seat) = seats.remove(idle.unwrap_or(0)) {
                seat.leave.notify_one();
            }
        }
        seats.push_back(seat.clone());
        Place { places: self.clone(), uid, seat }
    }
}

impl Place {
    /// Resolves when the connection has to leave.
    pub(super) fn evicted(&self) -> impl Future<Output = ()> + use<> {
        let seat = self.seat.clone();
        async move { seat.leave.notified().await }
    }

    pub(super) fn at_work(&self) -> AtWork {
        self.seat.busy.fetch_add(1, Ordering::Relaxed);
        AtWork(self.seat.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut users = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seats) = users.get_mut(&self.uid) {
            seats.retain(|seat| !Arc::ptr_eq(seat, &self.seat));
            if seats.is_empty() {
                users.remove(&self.uid);
            }
        }
    }
}

impl AtWork {
    /// At work until the last byte of the body is on its way.
    pub(super) fn until_sent(self, body: Body) -> Body {
        held_until_sent(self, body)
    }
}

/// `held` is dropped when the last byte of the body is on its way, or nobody takes it any more.
pub(super) fn held_until_sent(held: impl Send + Unpin + 'static, body: Body) -> Body {
    Body::new(Sending { body, _held: held })
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Sending<T> {
    body: Body,
    _held: T,
}

impl<T: Unpin> HttpBody for Sending<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
