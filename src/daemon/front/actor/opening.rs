//! An app's public addresses as they were published: opened, retried while somebody else has one, closed.

use super::{Actor, Found, FrontApp, Serves, Told};
use crate::daemon::clock;
use crate::daemon::front::doors::{Door, Trouble, as_ipv4, collide, held};
use crate::daemon::notice::Notice;
use crate::linux::listener::is_without_ipv6;
use crate::proxy::channel::Order;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

/// An address that cannot be had is tried again, and who has it is asked again: every process is looked at for that.
const RETRY: Duration = Duration::from_secs(1);
/// One that a stranger has is tried more often meanwhile: once it is given up, nobody answers there until then.
const TRY: Duration = Duration::from_millis(50);
/// One that our own worker is about to close is there in a moment.
const SOON: Duration = Duration::from_millis(20);
const MOST_UNSEEN: u32 = 10;

impl Actor {
    pub(super) fn open_what_is_due(&mut self, now: Duration) {
        let due = |app: &FrontApp| app.retry_at.is_some_and(|at| at <= now);
        let due: Vec<String> = self.apps.iter().filter(|(_, app)| due(app)).map(|(name, _)| name.clone()).collect();
        for app in &due {
            self.open_doors(app, now);
        }
        if !due.is_empty() {
            self.close_what_is_given_up(now);
        }
    }

    /// Opens the public addresses that were published of an app; until all of them are it keeps those that it had.
    pub(super) fn open_doors(&mut self, name: &str, now: Duration) {
        let Some(app) = self.apps.get_mut(name) else { return };
        app.retry_at = None;
        let ask_from = app.ask_from;
        let wanted = if app.publication.open { app.publication.listen.clone() } else { Vec::new() };
        let mut trouble = None;
        for address in &wanted {
            if !self.is_open(name, *address)
                && let Err(found) = self.open_door(name, *address, now)
            {
                trouble.get_or_insert((*address, found));
            }
        }
        match trouble {
            None if wanted.is_empty() => {}
            None => self.tell(name, Told::Open),
            Some((_, Trouble::Closing)) => self.retry(name, now + SOON),
            Some((_, Trouble::Refused(why))) => {
                self.tell(name, Told::Held(why));
                self.retry(name, now + RETRY);
            }
            Some((address, Trouble::Held)) => match self.app_at(address) {
                Some(other) => {
                    self.tell(name, Told::Held(format!("port {} is still that of {other}", address.port())));
                    self.retry(name, now + RETRY);
                }
                None => {
                    if ask_from.is_some_and(|from| from <= now) {
                        self.ask_who_holds(name, address);
                    }
                    // Also while it is asked, which takes long on a busy machine.
                    self.retry(name, now + TRY);
                }
            },
        }
    }

    fn open_door(&mut self, app: &str, address: SocketAddr, now: Duration) -> Result<(), Trouble> {
        let no_more: Vec<Door> = self.doors.all().iter().filter(|door| !self.is_wanted(door)).cloned().collect();
        if let Some(given_up) = no_more.iter().find(|door| is_socket_of(door, address)) {
            self.hand_over(given_up, (app, address), now);
            return Ok(());
        }
        if self.doors.is_full()
            && let Some(spare) = no_more.iter().find(|door| self.successor(door).is_some())
        {
            self.close_door(spare.listener, now);
        }
        if !self.doors.is_full()
            && let Some(socket) = self.take_stored(address, now)
        {
            let door = self.doors.add(app, address, socket);
            self.tell_to_listen(door);
            return Ok(());
        }
        let in_the_way = no_more.iter().filter(|door| collide(door.address, address));
        let in_the_way: Vec<u64> = in_the_way.map(|door| door.listener).collect();
        let door = self.doors.open(app, address, &in_the_way, now)?;
        self.tell_to_listen(door);
        Ok(())
    }

    /// The other app has it before this one loses it.
    pub(super) fn hand_over(&mut self, door: &Door, (app, address): (&str, SocketAddr), now: Duration) {
        let handed = self.doors.add(app, address, door.socket.clone());
        self.tell_to_listen(handed);
        self.close_door(door.listener, now);
    }

    pub(super) fn close_door(&mut self, listener: u64, now: Duration) {
        self.close(now, |door| door.listener != listener);
    }

    /// Is all that it wants open?
    pub(super) fn has_all(&self, name: &str, app: &FrontApp) -> bool {
        !app.publication.open || app.publication.listen.iter().all(|address| self.doors.is_open(name, *address))
    }

    fn is_open(&mut self, app: &str, address: SocketAddr) -> bool {
        let is_there_as_ipv4 = || as_ipv4(address).is_some_and(|address| self.doors.is_open(app, address));
        // Last what a socket is opened for.
        self.doors.is_open(app, address)
            || is_there_as_ipv4() && is_without_ipv6() && self.doors.is_open_as_ipv4(app, address)
    }

    /// By the app that has it. One of an app that was not published is an earlier supervisor's.
    pub(super) fn is_wanted(&self, door: &Door) -> bool {
        self.apps.get(&door.app).is_some_and(|app| app.wants(door.address))
    }

    /// Who of ours is in the way of this address.
    fn app_at(&self, address: SocketAddr) -> Option<String> {
        let in_the_way = |door: &&Door| self.is_wanted(door) && collide(door.address, address);
        let door = self.doors.all().iter().find(in_the_way);
        door.map(|door| door.app.clone())
    }

    pub(super) fn tell_to_listen(&self, door: Door) {
        if let Serves::Current(worker) = &self.serves {
            let order = Order::Listen { listener: door.listener, app: door.app };
            worker.order_with(order, vec![door.socket]);
        }
    }

    /// What another app wants is handed over first.
    pub(super) fn close(&mut self, now: Duration, wanted: impl Fn(&Door) -> bool) {
        for door in self.doors.close(now, wanted) {
            let lacks = |name: &str, app: &FrontApp, address: SocketAddr| {
                app.wants(address) && !self.doors.is_open(name, address)
            };
            let heir = self.apps.iter().find(|(name, app)| lacks(name, app, door.address));
            if let Some(heir) = heir.map(|(name, _)| name.clone()) {
                let handed = self.doors.add(&heir, door.address, door.socket.clone());
                self.tell_to_listen(handed);
                self.retry(&heir, now);
            }
            if let Serves::Current(worker) = &self.serves {
                worker.order(Order::Unlisten { listener: door.listener });
            }
            self.retry_who_waits_for(door.address, now);
        }
    }

    fn retry_who_waits_for(&mut self, freed: SocketAddr, now: Duration) {
        let doors = &self.doors;
        for (name, app) in &mut self.apps {
            let waits = |at: &SocketAddr| collide(*at, freed) && !doors.is_open(name, *at);
            if app.publication.open && app.publication.listen.iter().any(waits) {
                app.retry_at = Some(now);
            }
        }
    }

    pub(super) fn close_unclaimed(&mut self, now: Duration) {
        let unclaimed = |door: &&Door| !self.apps.contains_key(&door.app);
        let apps: HashSet<String> = self.doors.all().iter().filter(unclaimed).map(|door| door.app.clone()).collect();
        self.close(now, |door| !apps.contains(&door.app));
        for app in apps {
            self.order(&Order::Remove { app });
        }
        // What was published a moment ago may want them.
        self.open_what_is_due(now);
        self.let_go_of_unclaimed();
    }

    /// Every process is looked at for that: on another thread.
    pub(super) fn ask_who_holds(&mut self, app: &str, address: SocketAddr) {
        if let Some(app) = self.apps.get_mut(app) {
            app.ask_from = None;
        }
        let (found, app) = (self.finds_to.clone(), app.to_owned());
        let ours: Vec<SocketAddr> = self.doors.all().iter().map(|door| door.address).collect();
        tokio::task::spawn_blocking(move || {
            let _task_is_gone = found.send(Found::Holder { app, address, holder: held(address, &ours) });
        });
    }

    pub(super) fn retry(&mut self, app: &str, at: Duration) {
        if let Some(app) = self.apps.get_mut(app) {
            app.retry_at = Some(at);
        }
    }

    /// Once, until it is something else.
    pub(super) fn tell(&mut self, name: &str, told: Told) {
        let Some(app) = self.apps.get_mut(name) else { return };
        if app.told.as_ref() == Some(&told) {
            return;
        }
        let app_name = name.to_owned();
        (self.world.notify)(match &told {
            Told::Open => Notice::PortOpen { app: app_name },
            Told::Held(holder) => Notice::PortHeld { app: app_name, holder: holder.clone() },
        });
        app.told = Some(told);
    }

    /// Unless something else was published meanwhile.
    pub(super) fn holder_is(&mut self, name: &str, address: SocketAddr, holder: Option<String>) {
        let Some(app) = self.apps.get_mut(name) else { return };
        if app.ask_from.is_some() {
            return;
        }
        let now = clock::now().mono;
        app.ask_from = Some(now);
        if !app.wants(address) || self.doors.is_open(name, address) {
            return;
        }
        // It was closed while we looked; or it is bound by somebody who does not listen.
        app.unseen = if holder.is_some() { 0 } else { app.unseen.saturating_add(1) };
        if holder.is_none() && app.unseen < MOST_UNSEEN {
            app.ask_from = Some(now + SOON);
            return self.retry(name, now + SOON);
        }
        let unseen = || format!("port {} is held by somebody who cannot be seen from here", address.port());
        app.ask_from = Some(now + RETRY);
        self.tell(name, Told::Held(holder.unwrap_or_else(unseen)));
        self.retry(name, now + TRY);
    }
}

/// Would another socket for this address be the same? Where there is no IPv6 `[::]` is open as `0.0.0.0`.
fn is_socket_of(door: &Door, address: SocketAddr) -> bool {
    door.address == address || as_ipv4(door.address) == Some(address) && is_without_ipv6()
}
