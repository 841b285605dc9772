//! Where the measuring is done: the proxies on one core, the traffic on another.

use crate::haproxy::HaProxy;
use crate::infissi::Infissi;
use crate::nginx::Nginx;
use crate::proxy::{Proxy, Running};
use crate::traffic::Traffic;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;
use std::path::PathBuf;

pub(crate) struct Yard {
    pub(crate) traffic: Traffic,
    /// Or the name of what is not installed.
    pub(crate) proxies: Vec<Result<Box<dyn Proxy>, &'static str>>,
    /// Emptied at the end of a run.
    dir: tempfile::TempDir,
    proxies_core: usize,
    traffic_core: usize,
}

impl Yard {
    /// With `named`, only those; a path is another build of ours.
    pub(crate) fn set_up(named: &[String]) -> Yard {
        let (paths, named): (Vec<_>, Vec<_>) = named.iter().partition(|word| word.contains('/'));
        let wanted = |name: &str| named.is_empty() || named.iter().any(|word| word.eq_ignore_ascii_case(name));
        let mut proxies: Vec<Result<Box<dyn Proxy>, &str>> = Vec::new();
        if wanted("infissi") {
            proxies.push(Ok(Box::new(Infissi::ours())));
        }
        for path in paths {
            proxies.push(Ok(Box::new(Infissi { program: PathBuf::from(path) })));
        }
        if wanted("nginx") {
            proxies.push(if is_installed("nginx") { Ok(Box::new(Nginx)) } else { Err("nginx") });
        }
        if wanted("HAProxy") {
            proxies.push(if is_installed("haproxy") { Ok(Box::new(HaProxy)) } else { Err("HAProxy") });
        }
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
        let cores = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let mut cores = (0..CpuSet::count()).filter(|core| cores.is_set(*core).unwrap());
        let (Some(proxies_core), Some(traffic_core)) = (cores.next(), cores.next()) else {
            panic!("two cores are needed, one for the proxy and one for the traffic");
        };
        stay_on(traffic_core);
        let dir = tempfile::Builder::new().prefix("proxy-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Yard { traffic: Traffic::new(), proxies, dir, proxies_core, traffic_core }
    }

    /// Starts it on the proxies' core.
    pub(crate) fn start(&self, proxy: &dyn Proxy) -> Running {
        let room = tempfile::tempdir_in(self.dir.path()).unwrap().keep();
        stay_on(self.proxies_core);
        let running = proxy.start(&room, self.traffic.origin());
        stay_on(self.traffic_core);
        running
    }

    /// All that are installed, and their names.
    pub(crate) fn start_all(&self) -> Vec<(String, Running)> {
        self.proxies.iter().flatten().map(|proxy| (proxy.name(), self.start(proxy.as_ref()))).collect()
    }

    pub(crate) fn missing(&self) -> impl Iterator<Item = &'static str> {
        self.proxies.iter().filter_map(|proxy| proxy.as_ref().err().copied())
    }
}

/// The calling thread, and what it starts from now on.
fn stay_on(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core).unwrap();
    sched_setaffinity(Pid::from_raw(0), &cores).unwrap();
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
