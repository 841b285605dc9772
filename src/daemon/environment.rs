//! What an app finds in its environment: what was declared, a short allow-list, and what the supervisor sets.

use crate::api::Slot;
use crate::config::AppConfig;
use crate::linux::identity::Identity;
use crate::linux::proc::APP;
use crate::supervisor::Release;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// Where neither the supervisor nor the app's configuration has a PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// An app that binds its port itself is to be reached from outside, as it was before.
const ANY_ADDRESS: &str = "0.0.0.0";
/// One behind the proxy is reached by the proxy alone.
const LOOPBACK: &str = "127.0.0.1";
/// Next.js tells by it which build a browser's page is of, and so which slot is to answer it.
pub(super) const DEPLOYMENT_ID: &str = "NEXT_DEPLOYMENT_ID";

/// The instance that an environment or a command line is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct InstanceName<'a> {
    pub app: &'a AppConfig,
    pub slot: Slot,
    pub index: u16,
    /// Where it is to listen: behind the proxy its private port, else the app's own.
    pub port: Option<u16>,
    pub release: Option<&'a Release>,
}

impl<'a> InstanceName<'a> {
    /// One that does not run: reached where its app is.
    pub(super) fn at_rest(app: &'a AppConfig, slot: Slot) -> InstanceName<'a> {
        InstanceName { app, slot, index: 0, port: app.port, release: None }
    }

    fn host(&self) -> &'static str {
        if self.app.proxy.is_some() { LOOPBACK } else { ANY_ADDRESS }
    }
}

/// The whole environment of an instance. Later wins: inherited, the user's, `env_file`, `env`, ours.
pub(super) fn environment(
    instance: InstanceName<'_>,
    user: &Identity,
    inherited: &dyn Fn(&str) -> Option<OsString>,
    env_file: Vec<(String, String)>,
) -> BTreeMap<OsString, OsString> {
    let app = instance.app;
    let mut env = BTreeMap::new();
    let mut set = |name: &str, value: &OsStr| env.insert(OsString::from(name), value.to_owned());
    for name in &app.inherit_env {
        if let Some(value) = inherited(name) {
            set(name, &value);
        }
    }
    set("HOME", user.home.as_os_str());
    set("USER", OsStr::new(&user.name));
    set("LOGNAME", OsStr::new(&user.name));
    set("SHELL", user.shell.as_os_str());
    for (name, value) in &env_file {
        set(name, OsStr::new(value));
    }
    for (name, value) in &app.env {
        set(name, OsStr::new(value));
    }
    if let Some(port) = instance.port {
        set("PORT", OsStr::new(&port.to_string()));
        set("HOST", OsStr::new(instance.host()));
        set("HOSTNAME", OsStr::new(instance.host()));
    }
    set(APP, OsStr::new(&app.name));
    set("INFISSI_SLOT", OsStr::new(&instance.slot.to_string()));
    set("INFISSI_INSTANCE", OsStr::new(&instance.index.to_string()));
    if let Some(release) = instance.release {
        set("INFISSI_RELEASE", OsStr::new(&release.id));
        env.entry(OsString::from(DEPLOYMENT_ID)).or_insert_with(|| OsString::from(deployment_id(&release.id)));
    }
    let path = path_of(app, env.get(OsStr::new("PATH")));
    env.insert(OsString::from("PATH"), path);
    env
}

/// Next.js takes letters, digits, hyphens and underscores alone.
fn deployment_id(release: &str) -> String {
    let taken = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    release.chars().map(|letter| if taken(letter) { letter } else { '-' }).collect()
}

/// The app's own `path` first, then the PATH it has anyway.
fn path_of(app: &AppConfig, path: Option<&OsString>) -> OsString {
    let rest = path.cloned().unwrap_or_else(|| OsString::from(DEFAULT_PATH));
    let mut joined = OsString::new();
    for part in app.path.iter().map(|part| part.as_os_str()).chain([rest.as_os_str()]) {
        if !joined.is_empty() && !part.is_empty() {
            joined.push(":");
        }
        joined.push(part);
    }
    joined
}

/// The argument vector with `{port}` `{host}` `{slot}` `{app}` `{instance}` put in.
pub(super) fn command_line(instance: InstanceName<'_>, command: &[String]) -> Vec<OsString> {
    let port = instance.port.map(|port| port.to_string()).unwrap_or_default();
    let fill = |word: &String| {
        let filled = word
            .replace("{port}", &port)
            .replace("{host}", instance.host())
            .replace("{slot}", &instance.slot.to_string())
            .replace("{app}", &instance.app.name)
            .replace("{instance}", &instance.index.to_string());
        OsString::from(filled)
    };
    command.iter().map(fill).collect()
}
