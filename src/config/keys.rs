//! The names of the keys: which there are, and which one was meant.

/// The keys of one table.
pub(super) struct Keys {
    pub(super) known: &'static [&'static str],
    /// Keys of other tables, with what to do when they stand in this one.
    pub(super) misplaced: &'static [(&'static [&'static str], &'static str)],
    /// Words of PM2's ecosystem file with what stands for them here.
    pub(super) elsewhere: &'static [(&'static str, &'static str)],
}

pub(super) const ROOT: Keys = Keys {
    known: &["supervisor", "defaults", "apps"],
    misplaced: &[
        (APP.known, "write it below [apps.NAME] or [defaults]"),
        (SUPERVISOR.known, "write it below [supervisor]"),
    ],
    elsewhere: &[],
};

pub(super) const SUPERVISOR: Keys = Keys {
    known: &[
        "runtime_dir",
        "state_dir",
        "log_dir",
        "include",
        "port_range",
        "control",
        "metrics",
        "shutdown_timeout",
        "log",
    ],
    misplaced: &[(APP.known, "write it below [apps.NAME] or [defaults]")],
    elsewhere: &[],
};

pub(super) const CONTROL: Keys = Keys { known: &["group", "admins"], misplaced: &[], elsewhere: &[] };

pub(super) const OWN_LOG: Keys = Keys { known: &["level", "format"], misplaced: &[], elsewhere: &[] };

pub(super) const APP: Keys = Keys {
    known: &[
        "aliases",
        "command",
        "cwd",
        "user",
        "path",
        "env",
        "env_file",
        "inherit_env",
        "port",
        "listen",
        "proxy",
        "instances",
        "strategy",
        "hold",
        "trusted_proxies",
        "autostart",
        "autorestart",
        "stop_exit_codes",
        "depends_on",
        "release_of",
        "schedule",
        "timeout",
        "timezone",
        "cron_restart",
        "max_memory_restart",
        "memory_max",
        "stop_signal",
        "kill_timeout",
        "min_uptime",
        "max_restarts",
        "backoff",
        "limits",
        "health",
        "drain",
        "logs",
        "deploy",
        "backup",
    ],
    misplaced: &[
        (LOGS.known, "write it into its [logs] table"),
        (HEALTH.known, "write it into its [health] table"),
        (DRAIN.known, "write it into its [drain] table"),
        (DEPLOY.known, "write it into its [deploy] table"),
        (BACKUP.known, "write it into its [backup] table"),
        (LIMITS.known, "write it into its limits = { … }"),
    ],
    elsewhere: &[
        ("name", "the name stands in the table's head: [apps.NAME]"),
        ("script", "write command = \"npm start\" or what else starts it"),
        ("args", "write them into command"),
        ("node_args", "write them into command: \"node --flag server.js\""),
        ("interpreter", "write it as command's first word"),
        ("exec_mode", "leave it out, each instance is a process of its own"),
        ("env_production", "write env = { … }"),
        ("watch", "leave it out, and restart with infissi-ctl restart"),
        ("ignore_watch", "leave it out"),
        ("restart_delay", "write backoff = { initial = \"100ms\", max = \"30s\" }"),
        ("exp_backoff_restart_delay", "write backoff = { initial = \"100ms\", max = \"30s\" }"),
        ("wait_ready", "write a [health] table"),
        ("listen_timeout", "write start_timeout into its [health] table"),
        ("out_file", "write dir and name into its [logs] table"),
        ("error_file", "write dir and name into its [logs] table"),
        ("log_file", "write dir and name into its [logs] table"),
        ("log_date_format", "write timestamps = true into its [logs] table"),
        ("merge_logs", "leave it out, all instances write to the same files"),
        ("pid_file", "leave it out, infissi-ctl show tells the pid"),
        ("uid", "write user = \"NAME\""),
    ],
};

pub(super) const BACKOFF: Keys = Keys { known: &["initial", "max"], misplaced: &[], elsewhere: &[] };

pub(super) const HEALTH: Keys = Keys {
    known: &[
        "http",
        "tcp",
        "command",
        "expect_status",
        "expect_body",
        "headers",
        "interval",
        "timeout",
        "start_timeout",
        "healthy",
        "unhealthy",
    ],
    misplaced: &[],
    elsewhere: &[],
};

pub(super) const LIMITS: Keys =
    Keys { known: &["connections", "header_timeout", "head", "idle"], misplaced: &[], elsewhere: &[] };

pub(super) const DRAIN: Keys = Keys { known: &["requests", "upgrades"], misplaced: &[], elsewhere: &[] };

pub(super) const DEPLOY: Keys = Keys {
    known: &["root", "repo", "branch", "shared", "steps", "migrate", "bridge", "keep", "warm", "min_free", "backup"],
    misplaced: &[],
    elsewhere: &[
        ("ref", "write branch = \"…\", or deploy --ref once"),
        ("path", "write root = \"DIRECTORY\""),
        ("post-deploy", "write steps = [\"…\"]"),
    ],
};

pub(super) const BACKUP: Keys =
    Keys { known: &["dir", "include", "exclude", "before", "keep"], misplaced: &[], elsewhere: &[] };

/// An element of `shared` that is a table.
pub(super) const SHARED: Keys = Keys { known: &["path", "target"], misplaced: &[], elsewhere: &[] };

pub(super) const LOGS: Keys = Keys {
    known: &["dir", "name", "timestamps", "format", "max_size", "keep", "compress", "max_total", "daily"],
    misplaced: &[],
    elsewhere: &[],
};

impl Keys {
    /// What is wrong with that key and what would be right; none when it is one of ours.
    pub(super) fn refusal(&self, name: &str) -> Option<(String, String)> {
        if self.known.contains(&name) {
            return None;
        }
        if let Some((_, instead)) = self.misplaced.iter().find(|(keys, _)| keys.contains(&name)) {
            return Some(("this is not its place".to_owned(), (*instead).to_owned()));
        }
        let what = "there is no such key".to_owned();
        if let Some((_, instead)) = self.elsewhere.iter().find(|(word, _)| *word == name) {
            return Some((what, (*instead).to_owned()));
        }
        let expected = match nearest(name, self.known.iter().copied()) {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!("there are {}", self.known.join(", ")),
        };
        Some((what, expected))
    }
}

/// The candidate that a mistyped word most likely meant, if one is near enough.
pub(super) fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    // A long word is no slip of the finger, and comparing it costs its length.
    if word.len() > 100 {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .map(|candidate| (strsim::osa_distance(&word, &candidate.to_lowercase().replace('-', "_")), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The path of a key in a table, quoted as TOML would have it.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let key = if bare { key.to_owned() } else { super::table::shown_text(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
