//! `[apps.NAME]` over `[defaults]` → one [`AppConfig`].

use super::app::{AppConfig, Autorestart, Backoff, DeployConfig, EnvFile, ReleaseOf};
use super::command;
use super::cron::Cron;
use super::keys;
use super::notes::{Notes, Place};
use super::proxy_table::{self, Claim};
use super::table::{Found, Setting, View};
use super::values;
use super::{Facts, backup_table, deploy_table, health_table, init, logs_table, signals, units};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Waiting for less is busy looping.
pub(super) const SHORTEST: Duration = Duration::from_millis(10);
/// A limit below this is a forgotten unit.
const LEAST_MEMORY: u64 = 1 << 20;
const INHERITED: [&str; 3] = ["PATH", "LANG", "TZ"];

/// An app whose ties to the others are not yet looked at.
pub(super) struct Draft<'a> {
    pub(super) config: AppConfig,
    /// `apps.current`.
    pub(super) key: String,
    pub(super) head: Place,
    pub(super) aliases: Vec<Found<'a>>,
    pub(super) port: Option<Found<'a>>,
    /// Its public addresses.
    pub(super) claims: Vec<Claim<'a>>,
    /// In the order of `config.depends_on`.
    pub(super) depends_on: Vec<Found<'a>>,
    /// Be it right or wrong.
    pub(super) release_of: Option<Found<'a>>,
    /// Has it a `deploy` of its own, be that right or wrong?
    pub(super) is_deployed: bool,
}

/// One app under way: who it is and what to read it from.
pub(super) struct AppTable<'v, 'a> {
    pub(super) name: &'v str,
    /// None for `[defaults]` itself, which is checked as if it were an app.
    pub(super) head: Option<Place>,
    pub(super) file: usize,
    pub(super) view: &'v View<'a>,
    pub(super) facts: &'v Facts<'v>,
}

impl<'a> AppTable<'_, 'a> {
    pub(super) fn draft(&self, notes: &mut Notes<'_>) -> Draft<'a> {
        let view = self.view;
        view.refuse_unknown(&keys::APP, notes);
        let (aliases, alias_places) = texts(&view.own(), "aliases", notes, values::name);
        let (depends_on, dependency_places) = texts(view, "depends_on", notes, values::word);
        let port = view.own().read("port", notes, values::port);
        let (schedule, cron_restart, timeout) = self.times(notes);
        let public = proxy_table::public(view, &port, view.get("schedule").is_some(), notes);
        let port_place = port.found().cloned();
        let port = port.value();
        let (release_of, release_of_place) = self.release_of(notes);
        let deploy = match release_of_place {
            Some(_) => None,
            None => deploy_table::deploy(view, self.directory_of(self.file, notes), notes),
        };
        let root = match (&deploy, &release_of_place) {
            (Some(deploy), _) => Some(deploy.root.clone()),
            // Nothing before the other apps are known, so that what begins there stays relative until then.
            (None, Some(_)) => Some(PathBuf::new()),
            (None, None) => None,
        };
        let live = deploy.as_ref().map(DeployConfig::live).or(root.clone());
        let cwd = self.cwd(live.as_deref(), notes);
        let backup = match &root {
            Some(root) => backup_table::backup(view, root, "shared", notes),
            None => backup_table::backup(view, &cwd, ".", notes),
        };
        if deploy.is_some() {
            let has_backup = backup.is_some() || view.own().get("backup").is_some();
            deploy_table::refuse_backup_of_nothing(view, self.name, has_backup, notes);
        }
        let (max_memory_restart, memory_max) = memory(view, notes);
        let config = AppConfig {
            name: self.name.to_owned(),
            aliases,
            command: self.command(port, public.proxy.is_some(), notes),
            user: self.user(notes),
            path: paths(view, &cwd, notes),
            env: self.env(port, notes),
            env_file: view.read("env_file", notes, |found, notes| env_file(found, &cwd, notes)).value(),
            cwd,
            inherit_env: inherited(view, notes),
            port,
            instances: self.instances(port.filter(|_| public.proxy.is_none()), schedule.is_some(), notes),
            proxy: public.proxy,
            autostart: view.read("autostart", notes, values::flag).or(true),
            autorestart: view.read("autorestart", notes, autorestart).or(Autorestart::Always),
            stop_exit_codes: view.read("stop_exit_codes", notes, exit_codes).or(Vec::new()),
            depends_on,
            release_of,
            max_memory_restart,
            memory_max,
            stop_signal: view.read("stop_signal", notes, stop_signal).or(libc::SIGTERM),
            kill_timeout: wait(view, "kill_timeout", Duration::ZERO, notes).or(Duration::from_secs(15)),
            min_uptime: wait(view, "min_uptime", Duration::ZERO, notes).or(Duration::from_secs(10)),
            max_restarts: view
                .read("max_restarts", notes, |found, notes| values::number(found, notes, "a count", 0..=1_000_000))
                .or(0),
            backoff: backoff(view, notes),
            health: health_table::health(view, port, schedule.is_some(), notes),
            logs: logs_table::logs(view, self.name, self.facts.is_root, notes),
            schedule,
            timeout,
            cron_restart,
            deploy,
            backup,
        };
        self.refuse_port_of_a_job(&config, notes);
        Draft {
            config,
            key: keys::join("apps", self.name),
            head: self.head.clone().unwrap_or(Place { file: self.file, span: 0..0 }),
            aliases: alias_places,
            port: port_place,
            claims: public.claims,
            depends_on: dependency_places,
            release_of: release_of_place,
            is_deployed: view.own().get("deploy").is_some(),
        }
    }

    /// Whose release it runs from, as it is written, and where that stands. Such an app has none of its own.
    fn release_of(&self, notes: &mut Notes<'_>) -> (Option<ReleaseOf>, Option<Found<'a>>) {
        let own = self.view.own();
        let Some(found) = own.get("release_of") else { return (None, None) };
        if let Some(port) = own.get("port") {
            let what = "an app that runs from another one's release has no port";
            notes.blame(&port, what, "leave out port or release_of");
        }
        if let Some(deploy) = own.get("deploy") {
            let what = "an app that runs from another one's release has none of its own";
            notes.blame(&deploy, what, "leave out deploy or release_of");
        }
        let app = values::word(&found, notes);
        (app.map(|app| ReleaseOf { app, root: PathBuf::new() }), Some(found))
    }

    fn directory_of<'s>(&self, file: usize, notes: &Notes<'s>) -> &'s Path {
        notes.sources().files[file].path.parent().unwrap_or(Path::new("/"))
    }

    /// `live`: where the release is that it runs from, for there it begins.
    fn cwd(&self, live: Option<&Path>, notes: &mut Notes<'_>) -> PathBuf {
        let (cwd, file) = match self.view.read("cwd", notes, values::path) {
            Setting::Set(cwd, found) => (cwd, found.file),
            Setting::Absent | Setting::Bad => (PathBuf::from("."), self.file),
        };
        match live {
            Some(live) => values::resolve(live, &cwd),
            None => values::resolve(self.directory_of(file, notes), &cwd),
        }
    }

    /// The user whose apps alone this file may hold: root reads a file that somebody else owns.
    fn confined_to(&self, notes: &Notes<'_>) -> Option<u32> {
        let owner = notes.sources().files[self.file].owner;
        (self.facts.is_root && owner != 0).then_some(owner)
    }

    fn user(&self, notes: &mut Notes<'_>) -> Option<String> {
        let setting = self.view.read("user", notes, values::word);
        let Some(owner) = self.confined_to(notes) else {
            if let Setting::Set(user, found) = &setting
                && self.facts.is_root
                && (user == "root" || user == "0")
            {
                let what = "the app runs as root";
                notes.warn_at(found.place(), &found.key, what, "name a user with fewer rights");
            }
            return setting.value();
        };
        let Some(name) = (self.facts.user_name)(owner) else {
            if let Some(head) = self.head.clone() {
                let what = format!("the owner of this file, uid {owner}, is no user of this machine");
                notes.blame_at(head, &keys::join("apps", self.name), what, "chown the file to root or a user");
            }
            return None;
        };
        // What root's own defaults say of users is not meant for other people's files.
        let same_file = |found: &&Found<'_>| found.file == self.file;
        if let Setting::Set(user, _) = &setting
            && let Some(found) = setting.found().filter(same_file)
            && *user != name
            && *user != owner.to_string()
        {
            let what = format!("{user:?} is not the owner of this file");
            notes.blame(found, what, format!("write {name:?}, leave it out, or chown the file to root"));
        }
        Some(name)
    }

    fn command(&self, port: Option<u16>, proxied: bool, notes: &mut Notes<'_>) -> Vec<String> {
        let setting = self.view.read("command", notes, command::command);
        if let (Setting::Set(words, found), Some(port)) = (&setting, port.filter(|_| proxied))
            && init::own_port(&words.join(" ")) == Some(port)
        {
            let what = format!("port {port} stands in it, and that is the proxy's");
            notes.blame(found, what, "write {port} in its place, or proxy = \"off\" beside it");
        }
        if let Setting::Set(words, found) = &setting
            && self.head.is_some()
            && port.is_none()
            && self.view.own().get("port").is_none()
            && command::names_port(words)
        {
            let what = format!("{{port}} stands in it, and {} has no port", keys::join("apps", self.name));
            notes.blame(found, what, "add port = NUMBER or take {port} out");
        }
        setting.or(vec!["npm".to_owned(), "start".to_owned()])
    }

    fn env(&self, port: Option<u16>, notes: &mut Notes<'_>) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        for (name, found) in self.view.sub("env", notes).entries() {
            if name.is_empty() || name.contains(['=', '\0']) {
                notes.blame(&found, "this cannot be a variable's name", "write one without = in it");
                continue;
            }
            let Some(value) = env_value(&found, notes) else { continue };
            if !is_ours(&name) {
                env.insert(name, value);
                continue;
            }
            // Users of PM2 carry PORT over; the same port says nothing new.
            let same_port = name == "PORT" && port.is_some_and(|port| port.to_string() == value.trim());
            if !same_port && (self.head.is_some() || name != "PORT") {
                let expected = if name == "PORT" { "write port = NUMBER beside env" } else { "leave it out" };
                notes.blame(&found, "the supervisor sets it", expected);
            }
        }
        env
    }

    /// `bound`: the port that the app binds itself.
    fn instances(&self, bound: Option<u16>, job: bool, notes: &mut Notes<'_>) -> u16 {
        let count = |found: &Found<'_>, notes: &mut Notes<'_>| values::number(found, notes, "a count", 1..=1000);
        let Setting::Set(count, found) = self.view.read("instances", notes, count) else {
            return 1;
        };
        if count == 1 || self.head.is_none() {
            return count;
        }
        if job {
            if found.own {
                notes.blame(&found, "a job runs once at a time", "leave it out");
            }
            return 1;
        }
        let Some(port) = bound else {
            return count;
        };
        if found.own {
            let what = format!("{count} instances cannot all bind port {port}");
            notes.blame(&found, what, "let the proxy serve them: take out proxy = \"off\"; or leave this out");
        }
        1
    }

    /// `schedule`, `cron_restart` and `timeout`, all in `timezone`.
    fn times(&self, notes: &mut Notes<'_>) -> (Option<Cron>, Option<Cron>, Option<Duration>) {
        let view = self.view;
        let zone = view.read("timezone", notes, timezone);
        let (zone_place, zone) = (zone.found().cloned(), zone.or(TimeZone::system()));
        let schedule = view.read("schedule", notes, |found, notes| cron(found, &zone, notes)).value();
        let restart = view.read("cron_restart", notes, |found, notes| cron(found, &zone, notes));
        let timeout = wait(view, "timeout", SHORTEST, notes);
        // A key that is there and wrong still says what the app is meant to be.
        let job = view.get("schedule").is_some();
        let clocked = job || view.get("cron_restart").is_some();
        if let Some(found) = timeout.found().filter(|found| found.own && !job) {
            notes.blame(found, "only a job has a time limit", "add schedule = \"…\" or leave it out");
        }
        if let Some(found) = zone_place.filter(|found| found.own && !clocked) {
            notes.blame(&found, "nothing here goes by the clock", "add schedule or cron_restart, or leave it out");
        }
        if let Some(found) = restart.found().filter(|found| found.own && job) {
            notes.blame(found, "a job starts afresh each time", "leave it out");
        }
        let restart = restart.value().filter(|_| !job);
        (schedule, restart, timeout.value().filter(|_| job))
    }

    fn refuse_port_of_a_job(&self, config: &AppConfig, notes: &mut Notes<'_>) {
        if let Some(found) = self.view.own().get("port").filter(|_| config.is_job()) {
            notes.blame(&found, "a job has no port", "leave out port or schedule");
        }
    }
}

/// A list of texts with the place of each; what is wrong is noted and left out.
fn texts<'a>(
    view: &View<'a>,
    key: &str,
    notes: &mut Notes<'_>,
    each: impl Fn(&Found<'_>, &mut Notes<'_>) -> Option<String>,
) -> (Vec<String>, Vec<Found<'a>>) {
    let items = view.get(key).and_then(|found| found.items(notes, "write a list of names, such as [\"a\", \"b\"]"));
    items.into_iter().flatten().filter_map(|item| Some((each(&item, notes)?, item))).unzip()
}

pub(super) fn wait<'a>(view: &View<'a>, key: &str, least: Duration, notes: &mut Notes<'_>) -> Setting<'a, Duration> {
    view.read(key, notes, |found, notes| values::duration(found, notes, least))
}

fn is_ours(name: &str) -> bool {
    matches!(name, "PORT" | "HOST" | "HOSTNAME") || name.starts_with("INFISSI_")
}

fn env_value(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<String> {
    use toml::de::DeValue;
    match found.value {
        DeValue::String(_) => values::text(found, notes),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            notes.blame(found, format!("{} is not a variable's value", found.shown()), "write a text in quotes");
            None
        }
    }
}

fn env_file(found: &Found<'_>, cwd: &Path, notes: &mut Notes<'_>) -> Option<EnvFile> {
    let written = values::path(found, notes)?;
    let text = written.to_str()?;
    let (path, optional) = text.strip_suffix('?').map_or((text, false), |path| (path, true));
    if path.is_empty() {
        notes.blame(found, "it names no file", "write one like \".env\" or \".env?\"");
        return None;
    }
    Some(EnvFile { path: values::resolve(cwd, Path::new(path)), optional })
}

fn paths(view: &View<'_>, cwd: &Path, notes: &mut Notes<'_>) -> Vec<PathBuf> {
    let directory = |found: &Found<'_>, notes: &mut Notes<'_>| {
        let path = values::path(found, notes)?;
        if path.as_os_str().as_encoded_bytes().contains(&b':') {
            notes.blame(found, "a colon would divide it in PATH", "write each directory as its own text");
            return None;
        }
        Some(values::resolve(cwd, &path))
    };
    let expected = "write a list of directories, such as [\"/opt/node/bin\"]";
    view.read("path", notes, |found, notes| values::list(found, notes, expected, directory)).or(Vec::new())
}

fn inherited(view: &View<'_>, notes: &mut Notes<'_>) -> Vec<String> {
    let name = |found: &Found<'_>, notes: &mut Notes<'_>| {
        let name = values::word(found, notes)?;
        if name.contains('=') {
            notes.blame(found, format!("{} is not a variable's name", found.shown()), "write one without = in it");
            return None;
        }
        Some(name)
    };
    let expected = "write a list of names, such as [\"PATH\", \"LANG\"]";
    view.read("inherit_env", notes, |found, notes| values::list(found, notes, expected, name))
        .or(INHERITED.map(str::to_owned).to_vec())
}

fn autorestart(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<Autorestart> {
    match (found.value.as_bool(), found.value.as_str()) {
        (Some(true), _) => Some(Autorestart::Always),
        (Some(false), _) => Some(Autorestart::Never),
        (None, Some("on-failure")) => Some(Autorestart::OnFailure),
        (None, _) => {
            let expected = "write true, false or \"on-failure\"";
            notes.blame(found, format!("{} is not a restart mode", found.shown()), expected);
            None
        }
    }
}

fn exit_codes(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<Vec<i32>> {
    let code = |item: &Found<'_>, notes: &mut Notes<'_>| values::number(item, notes, "an exit code", 0..=255);
    values::list(found, notes, "write a list of numbers, such as [0, 143]", code)
}

fn stop_signal(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<i32> {
    let name = values::text(found, notes)?;
    let number = signals::number(&name);
    if number.is_none() {
        let expected = match signals::nearest(&name) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => "write one like \"SIGTERM\", \"SIGINT\" or \"SIGQUIT\"".to_owned(),
        };
        notes.blame(found, format!("{} is not a signal to stop with", found.shown()), expected);
    }
    number
}

fn memory(view: &View<'_>, notes: &mut Notes<'_>) -> (Option<u64>, Option<u64>) {
    let size = |found: &Found<'_>, notes: &mut Notes<'_>| values::size(found, notes, LEAST_MEMORY);
    let soft = view.read("max_memory_restart", notes, size);
    let hard = view.read("memory_max", notes, size);
    if let (Setting::Set(limit, soft), Setting::Set(cap, hard)) = (&soft, &hard)
        && cap < limit
    {
        let blamed = if hard.own || !soft.own { hard } else { soft };
        let what = format!(
            "memory_max ({}) is less than max_memory_restart ({}), which would never be reached",
            units::show_size(*cap),
            units::show_size(*limit)
        );
        notes.blame(blamed, what, "make memory_max the larger one");
    }
    (soft.value(), hard.value())
}

fn backoff(view: &View<'_>, notes: &mut Notes<'_>) -> Backoff {
    let table = view.sub("backoff", notes);
    table.refuse_unknown(&keys::BACKOFF, notes);
    let initial = wait(&table, "initial", SHORTEST, notes);
    let max = wait(&table, "max", SHORTEST, notes);
    let place = max.found().or(initial.found()).cloned();
    let (initial, max) = match (initial.settled(Duration::from_millis(100)), max.settled(Duration::from_secs(30))) {
        (Some(initial), Some(max)) => (initial, max),
        (initial, max) => (initial.or(max).unwrap_or_default(), max.or(initial).unwrap_or_default()),
    };
    if let Some(place) = place.filter(|_| initial > max) {
        let shown = units::show_duration;
        let what = format!("initial ({}) is longer than max ({})", shown(initial), shown(max));
        notes.blame(&place, what, "make max the longer one");
    }
    Backoff { initial, max }
}

fn timezone(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<TimeZone> {
    let name = values::word(found, notes)?;
    let zone = TimeZone::get(&name).ok();
    if zone.is_none() {
        let expected = "write one like \"Europe/Kyiv\" or \"UTC\"";
        notes.blame(found, format!("{} is not a time zone", found.shown()), expected);
    }
    zone
}

fn cron(found: &Found<'_>, zone: &TimeZone, notes: &mut Notes<'_>) -> Option<Cron> {
    let pattern = values::word(found, notes)?;
    match Cron::parse(&pattern, zone.clone()) {
        Ok(cron) => Some(cron),
        Err(reason) => {
            let expected = "write five fields: minute hour day month weekday, such as \"0 4 * * *\"";
            notes.blame(found, format!("{} is not a time pattern ({reason})", found.shown()), expected);
            None
        }
    }
}
