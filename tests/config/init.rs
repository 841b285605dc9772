//! What `init` makes of a project.

use infissi::config::{AppConfig, Facts, ProbeKind, Sources, init, parse};
use std::path::Path;
use std::sync::Arc;

fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("Shop (old) ").tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

/// The stanza for a project and the app that it is.
fn stanza(files: &[(&str, &str)], port: Option<u16>) -> (String, Arc<AppConfig>) {
    let dir = project(files);
    let stanza = init(dir.path(), port).unwrap();
    let facts = Facts { is_root: false, user_name: &|_| None, log_dir: None };
    let parsed = parse(&Sources::from_text(Path::new("/etc/infissi/supervisor.toml"), &stanza, 0), &facts);
    let app = Arc::clone(&parsed.unwrap_or_else(|mistakes| panic!("{mistakes}\n{stanza}")).config.apps[0]);
    assert_eq!(app.cwd, dir.path());
    (stanza, app)
}

const NEXT: &str =
    r#"{ "name": "@punto/crm", "scripts": { "start": "next start" }, "dependencies": { "next": "16" } }"#;

#[test]
fn a_next_app_is_told_its_port_and_host() {
    let (stanza, app) = stanza(&[("package.json", NEXT), ("package-lock.json", "{}"), (".env", "A=1")], Some(3002));
    assert_eq!((app.name.as_str(), app.port), ("crm", Some(3002)));
    assert_eq!(app.command, ["npm", "start", "--", "--port", "{port}", "--hostname", "{host}"]);
    assert!(app.env_file.is_none() && stanza.contains("Next reads .env by itself"), "{stanza}");
    assert_eq!(app.env["NODE_ENV"], "production");
}

#[test]
fn a_next_app_with_a_port_of_its_own_is_told_another_all_the_same() {
    let package = NEXT.replace("next start", "next start -p 3000");
    let (text, app) = stanza(&[("package.json", &package)], None);
    assert!(app.rolls_over() && app.command.ends_with(&["--hostname".to_owned(), "{host}".to_owned()]), "{text}");
    assert_eq!(app.port, Some(3000));
}

#[test]
fn a_health_route_of_next_is_found() {
    for (file, path) in [
        ("app/api/health/route.ts", "/api/health"),
        ("src/app/api/healthz/route.js", "/api/healthz"),
        ("app/health/route.ts", "/health"),
        ("pages/api/health.js", "/api/health"),
        ("src/pages/api/health/index.ts", "/api/health"),
    ] {
        let (text, app) = stanza(&[("package.json", NEXT), (file, "")], None);
        let probe = app.health.probe.as_ref();
        assert!(matches!(probe, Some(ProbeKind::Http { path: asked, .. }) if asked == path), "{text}");
        assert!(text.contains(&format!("found in {file}")), "{text}");
    }
    for others in [
        [("pages/health.js", ""), ("README.md", "")],
        [("app/api/health/route.ts", ""), ("next.config.mjs", "export default { basePath: '/crm' }")],
    ] {
        let (text, app) = stanza(&[&[("package.json", NEXT)], others.as_slice()].concat(), None);
        assert!(app.health.probe.is_none() && text.contains("# http ="), "{text}");
    }
}

#[test]
fn the_lock_file_names_the_package_manager() {
    for (lock, command) in [
        ("pnpm-lock.yaml", "pnpm start --port {port} --hostname {host}"),
        ("yarn.lock", "yarn start --port {port} --hostname {host}"),
        ("bun.lock", "bun run start --port {port} --hostname {host}"),
        ("bun.lockb", "bun run start --port {port} --hostname {host}"),
    ] {
        let (_, app) = stanza(&[("package.json", NEXT), (lock, "")], None);
        assert_eq!(app.command.join(" "), command);
        assert_eq!(app.port, Some(3000));
    }
}

#[test]
fn a_plain_project_gets_its_port_by_the_environment() {
    let package = r#"{ "name": "api", "scripts": { "start": "node server.js" } }"#;
    let (stanza, app) = stanza(&[("package.json", package), (".env", "")], None);
    assert_eq!((app.name.as_str(), app.command.join(" ")), ("api", "npm start".to_owned()));
    assert!(app.env_file.as_ref().is_some_and(|file| file.optional));
    assert!(stanza.contains("has to listen on $PORT"), "{stanza}");
    assert!(app.rolls_over());
}

#[test]
fn the_port_of_the_start_script_is_taken_over() {
    for start in ["serve -p 4000", "serve --port 4000", "serve --port=4000", "PORT=4000 node x.js", "serve -p4000"] {
        let package = format!(r#"{{ "name": "x", "scripts": {{ "start": "{start}" }} }}"#);
        let (text, app) = stanza(&[("package.json", &package)], None);
        assert_eq!(app.port, Some(4000), "{start}");
        assert!(text.contains("change both together"), "{text}");
        assert!(app.proxy.is_none() && text.contains("proxy = \"off\""), "both would hold it: {text}");
        let (text, app) = stanza(&[("package.json", &package)], Some(5000));
        assert_eq!(app.port, Some(5000), "{start}");
        assert!(text.contains("the start script says 4000"), "{text}");
    }
}

#[test]
fn a_project_without_a_usable_name_is_called_after_its_directory() {
    let package = r#"{ "name": "@scope/", "scripts": { "start": "node ." } }"#;
    let (_, app) = stanza(&[("package.json", package)], None);
    assert!(app.name.starts_with("Shop--old--"), "{}", app.name);
    let dotted = r#"{ "name": "next.app", "scripts": { "start": "node ." } }"#;
    assert_eq!(stanza(&[("package.json", dotted)], None).1.name, "next.app");
}

#[test]
fn the_stanza_reads_well() {
    let dir = project(&[("package.json", NEXT)]);
    let stanza = init(dir.path(), None).unwrap().replace(&dir.path().display().to_string(), "/srv/crm");
    insta::assert_snapshot!(stanza, @r#"
    [apps.crm]
    command = "npm start -- --port {port} --hostname {host}"
    cwd = "/srv/crm"
    port = 3000
    env = { NODE_ENV = "production" }
    # user = "fastuser"                 # by default the owner of cwd, where the supervisor is root
    # path = ["/opt/node/bin"]          # where node is, if it is not in the supervisor's PATH
    # max_memory_restart = "1G"         # the whole process tree

    # [apps.crm.health]                 # without it: online when it accepts on its port
    # http = "/api/health"
    "#);
}

#[test]
fn what_is_no_project_is_refused_with_the_next_step() {
    let told = |files: &[(&str, &str)]| {
        let dir = project(files);
        let told = init(dir.path(), None).unwrap_err().to_string();
        told.replace(&dir.path().display().to_string(), "DIR")
    };
    assert_eq!(told(&[]), "cannot read DIR/package.json: is it the directory of a Node project?");
    assert_eq!(told(&[("package.json", "{")]), "DIR/package.json is not JSON");
    assert_eq!(
        told(&[("package.json", "{}")]),
        "DIR/package.json has no start script: add one, such as \"start\": \"node server.js\""
    );
    let (_, app) = stanza(&[("package.json", "{}"), ("server.js", "")], None);
    assert_eq!(app.command, ["npm", "start"]);
    assert!(init(Path::new("/"), Some(0)).is_err());
}
