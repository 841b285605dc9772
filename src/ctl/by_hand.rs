//! `by-hand`: how each app is started without infissi, for whoever takes infissi away.
//!
//! Values of an app's environment may be secrets, and what is printed here ends in the logs of package managers: all but
//! a few harmless ones are only named.

use super::failure::Failure;
use super::session::Session;
use super::show::names;
use super::units::printable;
use crate::api::{AppDetail, ExecPlan, Refusal, SupervisorStatus, routes};
use crate::linux::user::own_uid;
use serde::Serialize;
use shell_words::quote;
use std::ffi::OsStr;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Variables whose values are on the line, in this order.
const ON_THE_LINE: [&str; 6] = ["HOME", "PATH", "PORT", "HOST", "HOSTNAME", "NODE_ENV"];
/// Others that a shell has anyway, or that mean something to infissi alone.
const NOT_MISSED: [&str; 6] = ["USER", "LOGNAME", "SHELL", "LANG", "TZ", "NEXT_DEPLOYMENT_ID"];

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Told {
    Way(Way),
    /// It has no release yet, its user is gone, the caller is not allowed to know.
    Not {
        name: String,
        error: Refusal,
    },
}

/// How one app is started.
#[derive(Debug, Serialize)]
struct Way {
    name: String,
    user: String,
    /// The public one.
    port: Option<u16>,
    schedule: Option<String>,
    /// For a shell: of root, unless it is the user's own.
    line: String,
    /// Names of what its environment has besides.
    env_names: Vec<String>,
}

/// Who starts it, and from which shell.
struct Starter {
    uid: u32,
    path: Vec<PathBuf>,
}

pub(crate) fn by_hand(session: &mut Session, apps: &[String]) -> Result<u8, Failure> {
    let all = ["all".to_owned()];
    let apps = names(session, if apps.is_empty() { &all } else { apps })?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let starter = Starter { uid: own_uid(), path: std::env::split_paths(&path).collect() };
    let supervisor: SupervisorStatus = session.client()?.get(routes::SUPERVISOR)?;
    let (mut told, mut code) = (Vec::new(), 0);
    for app in &apps {
        let detail: AppDetail = session.client()?.get(&routes::app(app))?;
        told.push(match session.client()?.get::<ExecPlan>(&routes::exec(app)) {
            Ok(plan) => Told::Way(way(&detail, &plan, &starter)),
            Err(error) => {
                let error = error.into_body().error;
                code = error.code.exit_code();
                Told::Not { name: detail.status.name, error }
            }
        });
    }
    if session.json {
        session.print_json(&told)?;
        return Ok(code);
    }
    for told in &told {
        let text = match told {
            Told::Way(way) => text(way, &supervisor.config.path),
            Told::Not { name, error } => format!("{name}: {}\n", printable(&error.message)),
        };
        session.out.write_all(text.as_bytes())?;
    }
    Ok(code)
}

fn way(app: &AppDetail, plan: &ExecPlan, starter: &Starter) -> Way {
    let port = app.status.port;
    let host = host(app);
    let value_of = |name: &str| match name {
        // What it is told by infissi may be a private port of 127.0.0.1.
        "PORT" => port.map(|port| port.to_string()),
        "HOST" | "HOSTNAME" => port.map(|_| host.clone()),
        "HOME" if plan.uid == starter.uid => None,
        "PATH" if starter.finds_all_of(&plan.env) => None,
        _ => plan.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()),
    };
    let variables = ON_THE_LINE.into_iter().filter_map(|name| Some(format!("{name}={}", quote(&value_of(name)?))));
    let command = app.command.iter().map(|word| {
        word.replace("{port}", &port.map(|port| port.to_string()).unwrap_or_default())
            .replace("{host}", &host)
            .replace("{slot}", "blue")
            .replace("{app}", &app.status.name)
            .replace("{instance}", "0")
    });
    let as_user = if plan.uid == starter.uid { String::new() } else { format!("runuser -u {} -- ", quote(&plan.user)) };
    let words: Vec<String> = variables.chain(command.map(|word| quote(&word).into_owned())).collect();
    let is_missed = |name: &&String| {
        let name = name.as_str();
        !ON_THE_LINE.contains(&name) && !NOT_MISSED.contains(&name) && !name.starts_with("INFISSI_")
    };
    Way {
        name: app.status.name.clone(),
        user: plan.user.clone(),
        port,
        schedule: app.schedule.clone(),
        line: format!("cd {} && {as_user}env {}", quote(&plan.cwd), words.join(" ")),
        env_names: plan.env.iter().map(|(name, _)| name).filter(is_missed).cloned().collect(),
    }
}

/// Where the public reaches it: without the proxy, the app itself has to listen there. What takes all addresses of both
/// kinds is said as every program understands it, and as an app is told that binds its port itself.
fn host(app: &AppDetail) -> String {
    let public = app.listen.first().and_then(|address| address.parse::<SocketAddr>().ok());
    let one = public.map(|address| address.ip()).filter(|address| !address.is_unspecified());
    one.map_or_else(|| "0.0.0.0".to_owned(), |address| address.to_string())
}

impl Starter {
    /// Would the starter's own PATH do for that environment?
    fn finds_all_of(&self, env: &[(String, String)]) -> bool {
        let path = env.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value.as_str());
        std::env::split_paths(OsStr::new(path)).all(|directory| self.path.contains(&directory))
    }
}

fn text(way: &Way, config: &str) -> String {
    let on = way.port.map(|port| format!(", on port {port}")).unwrap_or_default();
    let job = way.schedule.as_ref().map(|schedule| format!(", a job at \"{schedule}\"")).unwrap_or_default();
    let head = printable(&format!("{}, as {}{on}{job}:", way.name, way.user));
    let mut text = format!("{head}\n  {}\n", printable(&way.line));
    if !way.env_names.is_empty() {
        let names = way.env_names.join(" ");
        text.push_str(&format!(
            "  Its environment has besides, from {config} or its env_file: {}\n",
            printable(&names)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::sample;

    fn plan() -> ExecPlan {
        let env = [
            ("PATH", "/opt/node/bin:/usr/bin"),
            ("HOME", "/home/fastuser"),
            ("PORT", "21007"),
            ("HOST", "127.0.0.1"),
            ("NODE_ENV", "production"),
            ("SECRET", "hunter2"),
            ("INFISSI_SLOT", "blue"),
        ];
        ExecPlan {
            cwd: "/srv/my app".to_owned(),
            user: "fastuser".to_owned(),
            uid: 1000,
            gid: 1000,
            groups: Vec::new(),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        }
    }

    fn told(path: &str, uid: u32) -> String {
        let mut app = sample::detail();
        app.status.port = Some(3002);
        app.command = ["npm", "start", "--", "--port", "{port}", "--hostname", "{host}"].map(str::to_owned).to_vec();
        let starter = Starter { uid, path: std::env::split_paths(path).collect() };
        text(&way(&app, &plan(), &starter), "/etc/infissi/supervisor.toml")
    }

    #[test]
    fn root_gets_a_line_with_the_public_port_and_the_apps_user() {
        let told = told("/usr/bin", 0);
        let line = "cd '/srv/my app' && runuser -u fastuser -- env HOME=/home/fastuser PATH=/opt/node/bin:/usr/bin PORT=3002 \
                    HOST=0.0.0.0 HOSTNAME=0.0.0.0 NODE_ENV=production npm start -- --port 3002 --hostname 0.0.0.0\n";
        assert!(told.contains(line), "{told}");
        assert!(told.contains("from /etc/infissi/supervisor.toml or its env_file: SECRET\n"), "{told}");
        assert!(!told.contains("hunter2") && !told.contains("INFISSI"), "{told}");
    }

    #[test]
    fn its_own_user_needs_neither_another_user_nor_what_the_shell_has() {
        let told = told("/usr/bin:/opt/node/bin", 1000);
        assert!(told.contains("&& env PORT=3002 HOST"), "{told}");
    }
}
