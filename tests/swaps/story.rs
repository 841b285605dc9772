//! A supervised demo app behind the proxy, and clients that keep a ledger.

use crate::ledger::{Ledger, Outcome, Row};
use crate::load::{Load, Plan};
use crate::machine::{eventually, free_port, get, print};
use crate::server::{Server, Setup};
use infissi::api::{ActionReply, Client, ClientError};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Longer than any story: an early end of what was claimed is a failure.
pub(crate) const LONG_DRAIN: &str = "drain = { requests = \"60s\", upgrades = \"60s\" }\n";

pub(crate) struct Story {
    pub(crate) server: Server,
    pub(crate) port: u16,
}

impl Story {
    /// The demo app, called `web`, with more lines of its table.
    #[track_caller]
    pub(crate) fn start(more: &str) -> Story {
        Story::with(Setup::default(), more)
    }

    #[track_caller]
    pub(crate) fn with(setup: Setup, more: &str) -> Story {
        let mut story = Story::prepare_with(setup);
        story.configure(more);
        story.server.run();
        story.server.wait_status("web", "online");
        story.wait_public();
        story
    }

    /// Nothing is configured and started yet.
    pub(crate) fn prepare() -> Story {
        Story::prepare_with(Setup::default())
    }

    pub(crate) fn prepare_with(setup: Setup) -> Story {
        Story { server: setup.prepare(""), port: free_port() }
    }

    /// Writes the configuration; keys that are not in `more` are as every story has them.
    pub(crate) fn configure(&self, more: &str) {
        self.server.configure(&self.table(self.port, more));
    }

    pub(crate) fn table(&self, port: u16, more: &str) -> String {
        let nonces = self.nonces();
        let usual = [
            ("command", "\"node server.js\"".to_owned()),
            ("cwd", "\"demo\"".to_owned()),
            ("port", port.to_string()),
            ("env", format!("{{ DEMO_NONCES = \"{}\" }}", nonces.display())),
            ("health", "{ http = \"/api/health\", interval = \"500ms\", healthy = 1 }".to_owned()),
        ];
        let has = |key: &str| more.lines().any(|line| line.starts_with(&format!("{key} = ")));
        let usual = usual.iter().filter(|(key, _)| !has(key));
        let usual: String = usual.map(|(key, value)| format!("{key} = {value}\n")).collect();
        format!("[apps.web]\n{usual}{more}\n")
    }

    pub(crate) fn nonces(&self) -> PathBuf {
        self.server.path("nonces")
    }

    /// Online is one thing, the public port another.
    #[track_caller]
    pub(crate) fn wait_public(&self) {
        self.server.wait_until("the public port to answer", || {
            get(self.port, "/api/health").is_some_and(|(status, _)| status == 200)
        });
    }

    pub(crate) fn plan(&self) -> Plan {
        Plan::new(self.port, &self.nonces())
    }

    /// What the supervisor's socket answers to `activate`, when it is done.
    pub(crate) fn activate(&self, release: &str, stage: bool) -> Result<ActionReply, ClientError> {
        let body = json!({ "release_dir": self.release_dir(release), "stage": stage });
        let mut client = Client::new(self.server.socket())?;
        client.set_answer_timeout(crate::machine::PATIENCE);
        client.post("/v1/apps/web/activate?wait=true", &body)
    }

    pub(crate) fn release_dir(&self, release: &str) -> PathBuf {
        self.server.path(&format!("releases/{release}"))
    }

    /// A release of the demo app that has this DEMO_FAULT in its start script.
    pub(crate) fn build_release(&self, release: &str, fault: &str) {
        let dir = format!("releases/{release}");
        for file in ["server.js", "websocket.js"] {
            let text = std::fs::read_to_string(self.server.path(&format!("demo/{file}"))).unwrap();
            self.server.write(&format!("{dir}/{file}"), &text);
        }
        let scripts = json!({ "start": format!("DEMO_FAULT='{fault}' exec node server.js") });
        let package = json!({ "name": "demo", "version": "1.0.0", "scripts": scripts });
        self.server.write(&format!("{dir}/package.json"), &package.to_string());
        self.server.write(&format!("{dir}/.env"), &format!("NEXT_DEPLOYMENT_ID={release}\n"));
    }

    /// Goes over to another configuration of it.
    #[track_caller]
    pub(crate) fn apply(&self, more: &str) {
        self.configure(more);
        self.server.ctl(&["apply"]).ok();
    }

    pub(crate) fn app(&self) -> Value {
        self.server.app("web")
    }
}

/// Waits for as many requests more.
#[track_caller]
pub(crate) fn after_some(load: &Load, requests: usize) {
    let until = load.done() + requests;
    assert!(eventually(|| load.done() >= until), "the clients do not get on");
}

/// Says what came of it, for whoever runs the stories with `--nocapture`.
pub(crate) fn tell(story: &str, ledger: &Ledger) {
    print(&format!("{story}: {ledger}"));
}

/// The long runs are for a machine that has the time: `.ci/run` asks for them.
pub(crate) fn is_soak() -> bool {
    std::env::var_os("INFISSI_SOAK").is_some()
}

/// Somebody was gone before the answer, or before its end.
pub(crate) fn is_unanswered(row: &Row) -> bool {
    let broken = [Outcome::EarlyEof, Outcome::ResetAfterSend, Outcome::Truncated];
    broken.contains(&row.outcome) || matches!(row.outcome, Outcome::ByProxy(502..=504))
}
