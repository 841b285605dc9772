//! Where requests go: each app's route as it was last published, and the one step that chooses an instance and counts.

use super::channel::{Limits, Network, Route, TargetPlace};
use super::counters::Counters;
use super::crowd::Crowd;
use super::news::News;
use super::target::{Claim, Target};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// How long requests are held for an app whose listener came before its first route.
const UNROUTED_HOLD: Duration = Duration::from_secs(10);
/// What its clients may do until then.
const UNROUTED_LIMITS: Limits =
    Limits { connections: 10_000, header_timeout_ms: 10_000, head: 32 * 1024, idle_ms: 80_000 };

/// One app's route. It outlives every publish, so that connections, counts and held requests stay.
#[derive(Debug)]
pub(crate) struct AppRoute {
    name: String,
    published: RefCell<Published>,
    /// A publish or a removal, for the held.
    changed: Notify,
    is_removed: Cell<bool>,
    is_leaving: Rc<Cell<bool>>,
    counters: Rc<Counters>,
    crowd: Crowd,
    /// Claims so far, so that equally busy instances take turns.
    claims: Cell<u64>,
}

#[derive(Debug)]
struct Published {
    active: Vec<Rc<Target>>,
    active_deployment: Option<String>,
    warm: Vec<Rc<Target>>,
    warm_deployment: Option<String>,
    hold: Duration,
    trusted: Vec<Network>,
    limits: Limits,
}

/// Why a request that was held has no instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeldInVain {
    /// Its time is over.
    TimedOut,
    /// The app is gone.
    Removed,
}

impl AppRoute {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn limits(&self) -> Limits {
        self.published.borrow().limits
    }

    /// How long a request may be held; the caller makes its deadline from it.
    pub(crate) fn hold_time(&self) -> Duration {
        self.published.borrow().hold
    }

    /// Are this peer's X-Forwarded headers believed? An IPv4 address mapped into IPv6 is the IPv4 address.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.published.borrow().trusted.iter().any(|network| network.contains(peer))
    }

    pub(crate) fn counters(&self) -> &Rc<Counters> {
        &self.counters
    }

    /// Its clients' connections.
    pub(super) fn crowd(&self) -> &Crowd {
        &self.crowd
    }

    /// The next answer on each connection is its last: this worker, or the app, is going away.
    pub(crate) fn is_leaving(&self) -> bool {
        self.is_leaving.get() || self.is_removed.get()
    }

    /// Chooses the least busy instance and counts the request on it, in one step: a publish comes before or after it,
    /// never in between. `deployment` is the one that the client was served by, if it says so; `avoid` an instance that
    /// has just failed this request. None when nothing can answer now.
    pub(crate) fn claim(&self, deployment: Option<&str>, avoid: Option<u64>) -> Option<Claim> {
        let published = self.published.borrow();
        let is_of_warm = deployment.is_some()
            && deployment == published.warm_deployment.as_deref()
            && deployment != published.active_deployment.as_deref();
        let warm = if is_of_warm { self.least_busy(&published.warm, avoid) } else { None };
        let target = warm.or_else(|| self.least_busy(&published.active, avoid))?;
        self.claims.set(self.claims.get() + 1);
        Some(target.claim(self.counters.clone(), self.claims.get()))
    }

    /// Claims an instance, or waits for a publish that brings one.
    pub(crate) async fn hold(&self, deployment: Option<&str>, deadline: Instant) -> Result<Claim, HeldInVain> {
        let _held = self.counters.held();
        loop {
            // Made before the look, so that a publish in between is not missed.
            let changed = self.changed.notified();
            if self.is_removed.get() {
                return Err(HeldInVain::Removed);
            }
            if let Some(claim) = self.claim(deployment, None) {
                return Ok(claim);
            }
            // Its port may have been closed since the request came: then nobody is going to answer it.
            let is_waited_for = !self.hold_time().is_zero();
            if !is_waited_for || timeout_at(deadline, changed).await.is_err() {
                self.counters.hold_timeout();
                return Err(HeldInVain::TimedOut);
            }
        }
    }

    /// Lets a request wait that was refused by whoever is there, before it tries again: for so long, or until a publish
    /// brings somebody else.
    pub(crate) async fn pause(&self, time: Duration, deadline: Instant) -> Result<(), HeldInVain> {
        let _held = self.counters.held();
        let end = deadline.min(Instant::now() + time);
        // Which of the two it was, the next claim shows.
        let _changed = timeout_at(end, self.changed.notified()).await;
        if Instant::now() >= deadline {
            self.counters.hold_timeout();
            return Err(HeldInVain::TimedOut);
        }
        Ok(())
    }

    /// Of equally busy ones, the one whose last claim is the longest ago: whoever stands behind a busy one gets no more
    /// than its share.
    fn least_busy<'t>(&self, targets: &'t [Rc<Target>], avoid: Option<u64>) -> Option<&'t Rc<Target>> {
        let candidates = targets.iter().filter(|target| Some(target.id) != avoid);
        candidates.min_by_key(|target| (target.load(), target.last_claim()))
    }

    fn publish(&self, published: Published) {
        *self.published.borrow_mut() = published;
        self.changed.notify_waiters();
    }

    fn targets(&self) -> Vec<u64> {
        let published = self.published.borrow();
        published.active.iter().chain(&published.warm).map(|target| target.id).collect()
    }
}

impl Published {
    fn nothing_yet() -> Published {
        Published {
            active: Vec::new(),
            active_deployment: None,
            warm: Vec::new(),
            warm_deployment: None,
            hold: UNROUTED_HOLD,
            trusted: Vec::new(),
            limits: UNROUTED_LIMITS,
        }
    }
}

/// All apps' routes and the instances that they lead to, or led to while something is still in flight there.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    apps: RefCell<HashMap<String, Rc<AppRoute>>>,
    /// Those that may still have clients.
    removed: RefCell<Vec<Weak<AppRoute>>>,
    targets: RefCell<HashMap<u64, Rc<Target>>>,
    is_leaving: Rc<Cell<bool>>,
    news: Rc<News>,
}

impl Routes {
    pub(crate) fn new(news: Rc<News>) -> Routes {
        Routes { news, ..Routes::default() }
    }

    /// The app's route; one that holds every request where none was published yet.
    pub(crate) fn app(&self, name: &str) -> Rc<AppRoute> {
        let mut apps = self.apps.borrow_mut();
        if let Some(app) = apps.get(name) {
            return app.clone();
        }
        let app = Rc::new(AppRoute {
            name: name.to_owned(),
            published: RefCell::new(Published::nothing_yet()),
            changed: Notify::new(),
            is_removed: Cell::new(false),
            is_leaving: self.is_leaving.clone(),
            counters: Rc::new(Counters::new(self.news.clone())),
            crowd: Crowd::default(),
            claims: Cell::new(0),
        });
        apps.insert(name.to_owned(), app.clone());
        app
    }

    /// The app's route, if there is one.
    pub(crate) fn find(&self, name: &str) -> Option<Rc<AppRoute>> {
        self.apps.borrow().get(name).cloned()
    }

    /// `Order::Route`
    pub(crate) fn publish(&self, route: Route) {
        let app = self.app(&route.app);
        let (warm_deployment, warm) = route.warm.map_or((None, Vec::new()), |warm| (warm.deployment, warm.targets));
        app.publish(Published {
            active: self.targets(&route.active),
            active_deployment: route.active_deployment,
            warm: self.targets(&warm),
            warm_deployment,
            hold: Duration::from_millis(route.hold_ms),
            trusted: route.trusted,
            limits: route.limits,
        });
        self.forget_what_is_over();
    }

    /// `Order::Remove`. Connections of the app end now where they are idle, else with their next answer: whoever comes
    /// again finds on a new one who has the port by then.
    pub(crate) fn remove(&self, name: &str) {
        let Some(app) = self.apps.borrow_mut().remove(name) else { return };
        app.is_removed.set(true);
        app.crowd.dismiss();
        app.publish(Published::nothing_yet());
        let mut removed = self.removed.borrow_mut();
        removed.retain(|app| app.strong_count() > 0);
        removed.push(Rc::downgrade(&app));
        drop(removed);
        self.forget_what_is_over();
    }

    /// `Order::Retire`
    pub(crate) fn retire(&self, target: u64) {
        match self.targets.borrow().get(&target) {
            Some(known) => known.retire(),
            None => self.news.drained(target),
        }
    }

    /// `Order::Cut`. Orders of this kind are rare, so that everybody is woken for it instead of each request's waiting for
    /// one.
    pub(crate) fn cut(&self, target: u64) {
        if let Some(target) = self.targets.borrow().get(&target) {
            target.cut();
            self.apps.borrow().values().for_each(|app| app.crowd.wake());
            self.removed.borrow().iter().filter_map(Weak::upgrade).for_each(|app| app.crowd.wake());
        }
    }

    /// Ends connections of the app that has most of them. False when all of everybody's are busy.
    pub(super) fn makes_room(&self) -> bool {
        let mut apps = self.apps();
        apps.sort_by_key(|app| std::cmp::Reverse(app.crowd.size()));
        apps.iter().any(|app| app.crowd.makes_room())
    }

    /// `Order::Leave`
    pub(crate) fn leave(&self) {
        self.is_leaving.set(true);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.is_leaving.get()
    }

    /// Requests and streams that a target has; one that is unknown has nothing.
    pub(crate) fn in_flight(&self, target: u64) -> (u64, u64) {
        self.targets.borrow().get(&target).map_or((0, 0), |target| target.in_flight())
    }

    pub(crate) fn apps(&self) -> Vec<Rc<AppRoute>> {
        self.apps.borrow().values().cloned().collect()
    }

    pub(crate) fn known_targets(&self) -> Vec<Rc<Target>> {
        self.targets.borrow().values().cloned().collect()
    }

    fn targets(&self, places: &[TargetPlace]) -> Vec<Rc<Target>> {
        places.iter().map(|place| self.target(place)).collect()
    }

    /// One that has moved, was cut, or is over is another one from now on: its connections are of no use.
    fn target(&self, place: &TargetPlace) -> Rc<Target> {
        let mut targets = self.targets.borrow_mut();
        if let Some(known) = targets.get(&place.target)
            && known.address == place.address
            && known.can_serve()
        {
            known.route();
            return known.clone();
        }
        let target = Rc::new(Target::new(place.target, place.address, self.news.clone()));
        if let Some(before) = targets.insert(place.target, target.clone()) {
            before.pass_over();
        }
        target
    }

    /// Forgets the instances that no route names and that have nothing in flight; their idle connections are closed.
    pub(crate) fn forget_what_is_over(&self) {
        let routed: Vec<u64> = self.apps.borrow().values().flat_map(|app| app.targets()).collect();
        self.targets.borrow_mut().retain(|id, target| routed.contains(id) || !target.pass_over());
    }
}

#[cfg(test)]
mod tests;
