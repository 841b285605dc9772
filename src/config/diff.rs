//! What changed of an app between two configurations, and whether that needs a new process.

use super::app::{AppConfig, HealthConfig, LogsConfig};
use std::collections::BTreeMap;

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
            ("port", *port != new.port),
            ("memory_max", *memory_max != new.memory_max),
        ],
    );
    changed.extend(maps("env", env, &new.env));
    // A service and a job live differently: the one cannot become the other while it runs.
    let needs_restart = !changed.is_empty() || old.is_job() != new.is_job();
    note(
        &mut changed,
        "",
        &[
            ("name", *name != new.name),
            ("aliases", *aliases != new.aliases),
            ("proxy", *proxy != new.proxy),
            ("deploy", *deploy != new.deploy),
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
    of_health(&mut changed, health, &new.health);
    of_logs(&mut changed, logs, &new.logs);
    changed.sort();
    Diff { changed, needs_restart }
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
        let parsed = parse(&sources, &Facts { is_root: false, user_name: &|_| None });
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
        ] {
            assert_eq!(between("", line), (vec![key.to_owned()], false));
        }
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
