//! A project directory → a stanza for supervisor.toml to start from.

use super::values;
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What a server listens on when nothing says otherwise: Next's default and custom.
const USUAL_PORT: u16 = 3000;
/// More is no package.json, bytes.
const LARGEST: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("cannot read {}: is it the directory of a Node project?", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is not JSON", .path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{} has no start script: add one, such as \"start\": \"node server.js\"", .path.display())]
    NoStart { path: PathBuf },
    #[error("port 0 is no port: write a number from 1 to 65535")]
    NoPort,
}

/// Looks at the project in `dir` and writes `[apps.NAME]` for it, with comments. `port` goes before the start script's own
/// and the usual 3000.
///
/// # Errors
/// When `dir` holds no package.json with something to start.
pub fn init(dir: &Path, port: Option<u16>) -> Result<String, InitError> {
    if port == Some(0) {
        return Err(InitError::NoPort);
    }
    Ok(Project::look_at(dir)?.stanza(port))
}

struct Project {
    /// Absolute.
    dir: PathBuf,
    name: String,
    /// `scripts.start`; empty where npm would run server.js.
    start: String,
    manager: Manager,
    next: bool,
    env_file: bool,
    /// A route of Next that is there to be asked how the app does: its file, and its path.
    health: Option<(String, String)>,
}

#[derive(Clone, Copy)]
enum Manager {
    Npm,
    Pnpm,
    Yarn,
    Bun,
}

impl Manager {
    fn of(dir: &Path) -> Manager {
        let locks = [
            ("package-lock.json", Manager::Npm),
            ("pnpm-lock.yaml", Manager::Pnpm),
            ("yarn.lock", Manager::Yarn),
            ("bun.lock", Manager::Bun),
            ("bun.lockb", Manager::Bun),
        ];
        locks.iter().find(|(file, _)| dir.join(file).exists()).map_or(Manager::Npm, |(_, manager)| *manager)
    }

    fn start(self) -> &'static str {
        match self {
            Manager::Npm => "npm start",
            Manager::Pnpm => "pnpm start",
            Manager::Yarn => "yarn start",
            Manager::Bun => "bun run start",
        }
    }

    /// npm keeps options for itself unless a `--` stands before them; the others would pass the `--` on.
    fn start_with(self, options: &str) -> String {
        match self {
            Manager::Npm => format!("npm start -- {options}"),
            Manager::Pnpm | Manager::Yarn | Manager::Bun => format!("{} {options}", self.start()),
        }
    }
}

impl Project {
    fn look_at(dir: &Path) -> Result<Project, InitError> {
        let path = dir.join("package.json");
        let package = package(&path)?;
        let start = package["scripts"]["start"].as_str().map(str::trim).filter(|start| !start.is_empty());
        let start = match start {
            Some(start) => start.to_owned(),
            None if dir.join("server.js").exists() => String::new(),
            None => return Err(InitError::NoStart { path }),
        };
        let dir = std::path::absolute(dir).map_err(|source| InitError::Read { path, source })?;
        let dir: PathBuf = dir.components().collect();
        let depends = |table: &str| package[table].get("next").is_some();
        let next = (depends("dependencies") || depends("devDependencies")) && runs_next(&start);
        Ok(Project {
            name: name(package["name"].as_str().unwrap_or_default(), &dir),
            manager: Manager::of(&dir),
            health: if next { health_route(&dir) } else { None },
            next,
            env_file: dir.join(".env").exists(),
            start,
            dir,
        })
    }

    fn stanza(&self, port: Option<u16>) -> String {
        let own_port = own_port(&self.start);
        let port = port.or(own_port).unwrap_or(USUAL_PORT);
        let table = super::keys::join("apps", &self.name);
        // Next takes the last --port, so ours goes before the script's own.
        let (command, of_port) = match self.next {
            true => (self.manager.start_with("--port {port} --hostname {host}"), String::new()),
            false => (self.manager.start().to_owned(), port_remark(own_port, port)),
        };
        let mut lines = vec![
            (format!("[{table}]"), ""),
            (format!("command = {}", quoted(&command)), ""),
            (format!("cwd = {}", quoted(&self.dir.to_string_lossy())), ""),
            (format!("port = {port}"), of_port.as_str()),
        ];
        // Behind the proxy it would bind the port that the proxy holds.
        if !self.next && own_port == Some(port) {
            let remark = "let the script use $PORT and take this out: then a restart loses no request";
            lines.push(("proxy = \"off\"".to_owned(), remark));
        }
        lines.extend([("env = { NODE_ENV = \"production\" }".to_owned(), "")]);
        if self.env_file && self.next {
            lines.push(("# env_file = \".env\"".to_owned(), "not needed: Next reads .env by itself"));
        } else if self.env_file {
            lines.push(("env_file = \".env?\"".to_owned(), "\"?\": it may be missing"));
        }
        lines.extend([
            ("# user = \"fastuser\"".to_owned(), "by default the owner of cwd, where the supervisor is root"),
            ("# path = [\"/opt/node/bin\"]".to_owned(), "where node is, if it is not in the supervisor's PATH"),
            ("# max_memory_restart = \"1G\"".to_owned(), "the whole process tree"),
            (String::new(), ""),
        ]);
        let found = self.health.as_ref().map(|(file, _)| format!("found in {file}")).unwrap_or_default();
        match &self.health {
            Some((_, path)) => lines.extend([
                (format!("[{table}.health]"), "without it: online when it accepts on its port"),
                (format!("http = {}", quoted(path)), found.as_str()),
            ]),
            None => lines.extend([
                (format!("# [{table}.health]"), "without it: online when it accepts on its port"),
                ("# http = \"/api/health\"".to_owned(), ""),
            ]),
        }
        lines.iter().map(|(line, remark)| with_remark(line, remark)).collect()
    }
}

fn with_remark(line: &str, remark: &str) -> String {
    if remark.is_empty() { format!("{line}\n") } else { format!("{line:<35} # {remark}\n") }
}

fn port_remark(own_port: Option<u16>, port: u16) -> String {
    match own_port {
        Some(own) if own == port => "the start script names it too: change both together".to_owned(),
        Some(own) => format!("the start script says {own}: let it use $PORT instead"),
        None => "the public one, the app has to listen on $PORT; leave it out for a worker".to_owned(),
    }
}

fn package(path: &Path) -> Result<Value, InitError> {
    let cannot_read = |source| InitError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(cannot_read)?.take(LARGEST).read_to_end(&mut bytes).map_err(cannot_read)?;
    serde_json::from_slice(&bytes).map_err(|source| InitError::Json { path: path.to_owned(), source })
}

/// The package's name without its scope, else the directory's, made into a name for an app.
fn name(package: &str, dir: &Path) -> String {
    let unscoped = package.rsplit('/').next().unwrap_or_default();
    let dir = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let candidates = [unscoped, dir.as_str()].map(fitting);
    let fits = |name: &&String| values::name_fault(name).is_none();
    candidates.iter().find(fits).map_or_else(|| "app".to_owned(), Clone::clone)
}

fn fitting(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(allowed).take(64).collect();
    name.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// A health route where Next's app or pages router finds it. Under a base path it would be elsewhere, and a probe that
/// asks in vain keeps the app from being online.
fn health_route(dir: &Path) -> Option<(String, String)> {
    const ENDS: [&str; 5] = ["ts", "js", "tsx", "jsx", "mjs"];
    if ENDS.iter().any(|end| says(&dir.join(format!("next.config.{end}")), "basePath")) {
        return None;
    }
    for name in ["api/health", "api/healthz", "health", "healthz"] {
        let mut files = vec![format!("app/{name}/route")];
        if name.starts_with("api/") {
            files.extend([format!("pages/{name}"), format!("pages/{name}/index")]);
        }
        for (file, end) in files.iter().flat_map(|file| ENDS.iter().map(move |end| (file, end))) {
            let candidates = [format!("{file}.{end}"), format!("src/{file}.{end}")];
            if let Some(found) = candidates.into_iter().find(|file| dir.join(file).is_file()) {
                return Some((found, format!("/{name}")));
            }
        }
    }
    None
}

fn says(file: &Path, word: &str) -> bool {
    let mut text = String::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(LARGEST).read_to_string(&mut text));
    read.is_ok() && text.contains(word)
}

fn runs_next(start: &str) -> bool {
    start.split_whitespace().any(|word| word == "next" || word.ends_with("/next"))
}

/// The port that a start script names by itself: `-p 3002`, `-p3002`, `--port 3002`, `--port=3002` or `PORT=3002`.
pub fn own_port(start: &str) -> Option<u16> {
    let words: Vec<&str> = start.split_whitespace().collect();
    words.iter().enumerate().find_map(|(index, word)| {
        let value = match *word {
            "-p" | "--port" => *words.get(index + 1)?,
            _ => ["--port=", "PORT=", "-p"].iter().find_map(|option| word.strip_prefix(option))?,
        };
        value.parse().ok().filter(|port| *port != 0)
    })
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}
