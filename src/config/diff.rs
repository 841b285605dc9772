//! What changed of an app between two configurations, and whether that needs a new process.

use super::app::{
    AppConfig, BackupConfig, DeployConfig, DrainConfig, HealthConfig, LimitsConfig, LogsConfig, ProxyConfig,
};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;

/// The changed keys of one app.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    /// Key paths below the app, sorted: `env.NODE_ENV`, `logs.max_size`. Never values, which may be secret.
    pub changed: Vec<String>,
    /// A running process keeps what it was started with; the other keys are followed in place.
    pub needs_restart: bool,
}

impl Diff {
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }
}

impl AppConfig {
    /// Tells, within one version of this program, whether a process was made by a configuration that needs no other one:
    /// a number over what [`diff`] would restart it for.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.command, &self.cwd, &self.user, &self.path, &self.env, &self.inherit_env).hash(&mut hasher);
        let env_file = self.env_file.as_ref().map(|file| (&file.path, file.optional));
        let leader = self.release_of.as_ref().map(|of| (&of.app, &of.root));
        let binds = self.port.filter(|_| self.proxy.is_none());
        (env_file, leader, self.memory_max, self.proxy.is_some(), binds, self.is_job()).hash(&mut hasher);
        hasher.finish()
    }
}

/// Compares two configurations of the same app.
pub fn diff(old: &AppConfig, new: &AppConfig) -> Diff {
    // Taken apart, so that a new field makes the compiler ask where it belongs.
    let AppConfig {
        name,
        aliases,
        command,
        cwd,
        user,
        path,
        env,
        env_file,
        inherit_env,
        port,
        proxy,
        instances,
        autostart,
        autorestart,
        stop_exit_codes,
        depends_on,
        release_of,
        schedule,
        timeout,
        cron_restart,
        max_memory_restart,
        memory_max,
        stop_signal,
        kill_timeout,
        min_uptime,
        max_restarts,
        backoff,
        health,
        logs,
        deploy,
        backup,
    } = old;
    let mut changed = Vec::new();
    note(
        &mut changed,
        "",
        &[
            ("command", *command != new.command),
            ("cwd", *cwd != new.cwd),
            ("user", *user != new.user),
            ("path", *path != new.path),
            ("env_file", *env_file != new.env_file),
            ("inherit_env", *inherit_env != new.inherit_env),
            ("memory_max", *memory_max != new.memory_max),
            ("release_of", *release_of != new.release_of),
        ],
    );
    changed.extend(maps("env", env, &new.env));
    let has_other_root = deploy.as_ref().map(|deploy| &deploy.root) != new.deploy.as_ref().map(|deploy| &deploy.root);
    // Until its first release it runs where it did.
    let begins = deploy.is_none() && new.plain_dir() == Some(cwd);
    let root = || has_other_root.then(|| "deploy.root".to_owned());
    changed.extend(root().filter(|_| !begins));
    of_serving(&mut changed, (*port, proxy.is_some()), (new.port, new.proxy.is_some()));
    // A service and a job live differently: the one cannot become the other while it runs.
    let needs_restart = !changed.is_empty() || old.is_job() != new.is_job();
    note(
        &mut changed,
        "",
        &[
            ("name", *name != new.name),
            ("aliases", *aliases != new.aliases),
            ("instances", *instances != new.instances),
            ("autostart", *autostart != new.autostart),
            ("autorestart", *autorestart != new.autorestart),
            ("stop_exit_codes", *stop_exit_codes != new.stop_exit_codes),
            ("depends_on", *depends_on != new.depends_on),
            ("schedule", *schedule != new.schedule),
            ("timeout", *timeout != new.timeout),
            ("cron_restart", *cron_restart != new.cron_restart),
            ("max_memory_restart", *max_memory_restart != new.max_memory_restart),
            ("stop_signal", *stop_signal != new.stop_signal),
            ("kill_timeout", *kill_timeout != new.kill_timeout),
            ("min_uptime", *min_uptime != new.min_uptime),
            ("max_restarts", *max_restarts != new.max_restarts),
            ("backoff.initial", backoff.initial != new.backoff.initial),
            ("backoff.max", backoff.max != new.backoff.max),
        ],
    );
    changed.extend(root().filter(|_| begins));
    if let (Some(deploy), Some(new)) = (deploy, &new.deploy) {
        of_deploy(&mut changed, deploy, new);
    }
    if let (Some(proxy), Some(new_proxy)) = (proxy, &new.proxy) {
        note(&mut changed, "", &[("port", *port != new.port)]);
        of_proxy(&mut changed, (proxy, *port), (new_proxy, new.port));
    }
    of_health(&mut changed, health, &new.health);
    of_logs(&mut changed, logs, &new.logs);
    of_backup(&mut changed, backup.as_ref(), new.backup.as_ref());
    changed.sort();
    Diff { changed, needs_restart }
}

/// Who binds the port, as `(port, behind the proxy)`: what the process was told with PORT. Behind the proxy on both
/// sides, the public port is none of its business.
fn of_serving(changed: &mut Vec<String>, old: (Option<u16>, bool), new: (Option<u16>, bool)) {
    let behind_proxy = old.1 && new.1;
    let both_serve = old.0.is_some() && new.0.is_some();
    note(changed, "", &[("port", old.0 != new.0 && !behind_proxy), ("proxy", both_serve && old.1 != new.1)]);
}

/// Each with its app's port.
fn of_proxy(changed: &mut Vec<String>, old: (&ProxyConfig, Option<u16>), new: (&ProxyConfig, Option<u16>)) {
    let (ProxyConfig { listen, strategy, hold, trusted_proxies, limits, drain }, new_proxy) = (old.0, new.0);
    let LimitsConfig { connections, header_timeout, head, idle } = limits;
    let DrainConfig { requests, upgrades } = drain;
    // An address on the app's port says nothing of its own when that one changes.
    let written = |listen: &[SocketAddr], port| -> Vec<_> {
        listen.iter().map(|at| (at.ip(), Some(at.port()).filter(|own| Some(*own) != port))).collect()
    };
    note(
        changed,
        "",
        &[
            ("listen", written(listen, old.1) != written(&new_proxy.listen, new.1)),
            ("strategy", *strategy != new_proxy.strategy),
            ("hold", *hold != new_proxy.hold),
            ("trusted_proxies", *trusted_proxies != new_proxy.trusted_proxies),
            ("limits.connections", *connections != new_proxy.limits.connections),
            ("limits.header_timeout", *header_timeout != new_proxy.limits.header_timeout),
            ("limits.head", *head != new_proxy.limits.head),
            ("limits.idle", *idle != new_proxy.limits.idle),
            ("drain.requests", *requests != new_proxy.drain.requests),
            ("drain.upgrades", *upgrades != new_proxy.drain.upgrades),
        ],
    );
}

/// But for `root`: what the next deploy goes by.
fn of_deploy(changed: &mut Vec<String>, old: &DeployConfig, new: &DeployConfig) {
    let DeployConfig { root: _, repo, branch, shared, steps, migrate, bridge, keep, warm, min_free, backup } = old;
    note(
        changed,
        "deploy.",
        &[
            ("repo", *repo != new.repo),
            ("branch", *branch != new.branch),
            // Their targets lie below the root unless they are written.
            ("shared", old.root == new.root && *shared != new.shared),
            ("steps", *steps != new.steps),
            ("migrate", *migrate != new.migrate),
            ("bridge", *bridge != new.bridge),
            ("keep", *keep != new.keep),
            ("warm", *warm != new.warm),
            ("min_free", *min_free != new.min_free),
            ("backup", *backup != new.backup),
        ],
    );
}

fn of_health(changed: &mut Vec<String>, old: &HealthConfig, new: &HealthConfig) {
    let HealthConfig { probe, interval, timeout, start_timeout, healthy, unhealthy } = old;
    note(
        changed,
        "health.",
        &[
            ("probe", *probe != new.probe),
            ("interval", *interval != new.interval),
            ("timeout", *timeout != new.timeout),
            ("start_timeout", *start_timeout != new.start_timeout),
            ("healthy", *healthy != new.healthy),
            ("unhealthy", *unhealthy != new.unhealthy),
        ],
    );
}

fn of_logs(changed: &mut Vec<String>, old: &LogsConfig, new: &LogsConfig) {
    let LogsConfig { dir, name, timestamps, format, max_size, keep, compress, max_total, daily } = old;
    note(
        changed,
        "logs.",
        &[
            ("dir", *dir != new.dir),
            ("name", *name != new.name),
            ("timestamps", *timestamps != new.timestamps),
            ("format", *format != new.format),
            ("max_size", *max_size != new.max_size),
            ("keep", *keep != new.keep),
            ("compress", *compress != new.compress),
            ("max_total", *max_total != new.max_total),
            ("daily", *daily != new.daily),
        ],
    );
}

fn of_backup(changed: &mut Vec<String>, old: Option<&BackupConfig>, new: Option<&BackupConfig>) {
    let (Some(old), Some(new)) = (old, new) else {
        note(changed, "", &[("backup", old.is_some() != new.is_some())]);
        return;
    };
    // `base` follows from cwd and deploy.root, and has no key of its own.
    let BackupConfig { dir, base: _, include, exclude, before, keep } = old;
    note(
        changed,
        "backup.",
        &[
            ("dir", *dir != new.dir),
            ("include", *include != new.include),
            ("exclude", *exclude != new.exclude),
            ("before", *before != new.before),
            ("keep", *keep != new.keep),
        ],
    );
}

fn note(changed: &mut Vec<String>, path: &str, keys: &[(&str, bool)]) {
    changed.extend(keys.iter().filter(|(_, differs)| *differs).map(|(key, _)| format!("{path}{key}")));
}

fn maps(path: &str, old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<String> {
    let gone_or_changed = old.iter().filter(|(name, value)| new.get(*name) != Some(value));
    let added = new.iter().filter(|(name, _)| !old.contains_key(*name));
    gone_or_changed.chain(added).map(|(name, _)| format!("{path}.{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Facts, Sources, parse};
    use std::path::Path;

    fn app(text: &str) -> AppConfig {
        let sources = Sources::from_text(Path::new("/srv/supervisor.toml"), &format!("[apps.a]\n{text}"), 0);
        let parsed = parse(&sources, &Facts { is_root: false, user_name: &|_| None, log_dir: None });
        AppConfig::clone(&parsed.unwrap_or_else(|mistakes| panic!("{mistakes}")).config.apps[0])
    }

    fn between(old: &str, new: &str) -> (Vec<String>, bool) {
        let Diff { changed, needs_restart } = diff(&app(old), &app(new));
        (changed, needs_restart)
    }

    #[test]
    fn nothing_changed_is_an_empty_diff() {
        let text = "port = 3000\ncron_restart = \"0 4 * * *\"\nhealth.http = \"/\"\nenv = { A = 1 }";
        assert!(diff(&app(text), &app(text)).is_empty());
    }

    #[test]
    fn what_a_process_was_started_with_needs_a_restart() {
        for (line, key) in [
            ("command = \"x\"", "command"),
            ("cwd = \"x\"", "cwd"),
            ("user = \"x\"", "user"),
            ("path = [\"x\"]", "path"),
            ("env.X = \"x\"", "env.X"),
            ("env_file = \"x\"", "env_file"),
            ("inherit_env = []", "inherit_env"),
            ("port = 1", "port"),
            ("memory_max = \"1G\"", "memory_max"),
        ] {
            assert_eq!(between("", line), (vec![key.to_owned()], true));
            assert_eq!(between(line, ""), (vec![key.to_owned()], true));
        }
    }

    #[test]
    fn what_the_supervisor_does_with_a_process_is_changed_in_place() {
        for (line, key) in [
            ("aliases = [\"x\"]", "aliases"),
            ("instances = 2", "instances"),
            ("autostart = false", "autostart"),
            ("autorestart = false", "autorestart"),
            ("stop_exit_codes = [1]", "stop_exit_codes"),
            ("cron_restart = \"0 4 * * *\"", "cron_restart"),
            ("max_memory_restart = \"1G\"", "max_memory_restart"),
            ("stop_signal = \"INT\"", "stop_signal"),
            ("kill_timeout = \"1s\"", "kill_timeout"),
            ("min_uptime = \"1s\"", "min_uptime"),
            ("max_restarts = 1", "max_restarts"),
            ("backoff.max = \"1s\"", "backoff.max"),
            ("health.command = \"x\"", "health.probe"),
            ("health.interval = \"1s\"", "health.interval"),
            ("logs.max_size = \"1M\"", "logs.max_size"),
            ("backup.dir = \"x\"", "backup"),
        ] {
            assert_eq!(between("", line), (vec![key.to_owned()], false));
        }
    }

    #[test]
    fn behind_the_proxy_the_public_side_is_changed_in_place() {
        for (line, key) in [
            ("listen = \"127.0.0.1\"", "listen"),
            ("listen = [\"[::]\", \"127.0.0.1:3010\"]", "listen"),
            ("strategy = \"stop-first\"", "strategy"),
            ("hold = \"1s\"", "hold"),
            ("trusted_proxies = []", "trusted_proxies"),
            ("limits.connections = 5", "limits.connections"),
            ("limits.header_timeout = \"5s\"", "limits.header_timeout"),
            ("limits.head = \"64K\"", "limits.head"),
            ("limits.idle = \"90s\"", "limits.idle"),
            ("drain.requests = \"5s\"", "drain.requests"),
            ("drain.upgrades = \"5s\"", "drain.upgrades"),
        ] {
            assert_eq!(between("port = 1", &format!("port = 1\n{line}")), (vec![key.to_owned()], false));
        }
    }

    #[test]
    fn an_app_that_moves_to_other_releases_starts_anew_there() {
        let deploy = |root: &str, warm: &str| format!("deploy = {{ root = {root:?}, warm = {warm:?} }}");
        let moved = vec!["cwd".to_owned(), "deploy.root".to_owned()];
        assert_eq!(between("", &deploy("/x", "60s")), (moved.clone(), true));
        assert_eq!(between(&deploy("/x", "60s"), &deploy("/y", "60s")), (moved, true));
        let warm = vec!["deploy.warm".to_owned()];
        assert_eq!(between(&deploy("/x", "60s"), &deploy("/x", "5m")), (warm, false));
        let plain = "cwd = \"/srv/plain\"\n";
        let begun = vec!["deploy.root".to_owned()];
        assert_eq!(between(plain, &format!("{plain}{}", deploy("/x", "60s"))), (begun, false), "it has no release yet");
        let more = "[apps.a.deploy]\nroot = \"/x\"\nrepo = \"git@x:y\"\nsteps = []\nkeep = 5\nshared = [\".env\"]";
        let keys = ["keep", "repo", "shared", "steps"].map(|key| format!("deploy.{key}"));
        assert_eq!(between(&deploy("/x", "60s"), more), (keys.to_vec(), false));
    }

    #[test]
    fn an_app_that_runs_from_the_releases_of_another_one_starts_anew_there() {
        let of = |leader: &str, more: &str| {
            let leaders = "[apps.x.deploy]\nroot = \"/x\"\n[apps.y.deploy]\nroot = \"/y\"";
            app(&format!("release_of = {leader:?}\n{more}\n{leaders}"))
        };
        let between = |old: &AppConfig, new: &AppConfig| {
            let Diff { changed, needs_restart } = diff(old, new);
            (changed.join(" "), needs_restart)
        };
        assert_eq!(between(&app(""), &of("x", "")), ("cwd release_of".to_owned(), true));
        assert_eq!(between(&of("x", ""), &of("y", "")), ("cwd release_of".to_owned(), true));
        let absolute = "cwd = \"/z\"";
        assert_eq!(between(&of("x", absolute), &of("y", absolute)), ("release_of".to_owned(), true));
        assert_eq!(between(&of("x", absolute), &app(absolute)), ("release_of".to_owned(), true));
    }

    #[test]
    fn how_backups_are_made_is_none_of_the_processs_business() {
        let (old, new) =
            ("backup = { dir = \"x\", keep = 3 }", "backup = { dir = \"x\", keep = 4, include = [\"y\"] }");
        assert_eq!(between(old, new), (vec!["backup.include".to_owned(), "backup.keep".to_owned()], false));
    }

    #[test]
    fn a_public_port_is_the_processs_own_only_without_the_proxy() {
        let port = vec!["port".to_owned()];
        assert_eq!(between("port = 1", "port = 2"), (port.clone(), false));
        assert_eq!(between("port = 1\nproxy = \"off\"", "port = 2\nproxy = \"off\""), (port.clone(), true));
        assert_eq!(between("port = 1\nlisten = \"0.0.0.0\"", "port = 2\nlisten = \"0.0.0.0\""), (port, false));
        let proxy = vec!["proxy".to_owned()];
        assert_eq!(between("port = 1", "port = 1\nproxy = \"off\""), (proxy.clone(), true));
        assert_eq!(between("port = 1\nproxy = \"off\"", "port = 1\nhold = \"1s\""), (proxy, true));
    }

    #[test]
    fn keys_are_sorted_and_variables_named_without_their_values() {
        let (changed, needs_restart) =
            between("env = { A = 1, B = 2, C = 3 }\nkill_timeout = \"1s\"", "env = { A = 1, B = \"secret\", D = 4 }");
        assert_eq!(changed, ["env.B", "env.C", "env.D", "kill_timeout"]);
        assert!(needs_restart);
    }

    #[test]
    fn a_service_that_becomes_a_job_starts_anew() {
        let (daily, hourly) = ("schedule = \"0 4 * * *\"", "schedule = \"0 * * * *\"");
        assert_eq!(between("", daily), (vec!["schedule".to_owned()], true));
        assert_eq!(between(daily, hourly), (vec!["schedule".to_owned()], false));
    }
}
