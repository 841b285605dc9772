//! `doctor`: what is wrong with the supervisor, the machine and the apps, each with the next step.

mod proxied;
mod state;

use super::failure::Failure;
use super::session::Session;
use super::units::{printable, size, wrapped};
use super::{check, clock};
use crate::api::{AppDetail, AppStatus, ClientError, ExecPlan, RefusalCode, SupervisorStatus, routes};
use crate::linux::access::may_write;
use crate::linux::disk;
use crate::linux::user::own_uid;
use serde::Serialize;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Below that a log or state directory is running full.
const LITTLE_ROOM: u64 = 1 << 30;
/// Below that it is as good as full.
const NO_ROOM: u64 = 64 << 20;
/// Fewer free inodes than that are few.
const FEW_INODES: u64 = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Good,
    Unwise,
    Bad,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    verdict: Verdict,
    what: String,
    next: Option<String>,
}

/// 1 when something is bad.
pub(crate) fn doctor(session: &mut Session) -> Result<u8, Failure> {
    let findings = examine(session)?;
    if session.json {
        session.print_json(&findings)?;
    } else {
        for finding in &findings {
            let mark = match finding.verdict {
                Verdict::Good => session.look.done(),
                Verdict::Unwise => session.look.warning(),
                Verdict::Bad => session.look.failed(),
            };
            let lines: Vec<String> = finding.what.lines().map(printable).collect();
            let width = session.look.width;
            writeln!(session.out, "{}", wrapped(&format!("{mark} {}", lines.join("\n")), width))?;
            if let Some(next) = &finding.next {
                writeln!(session.out, "{}", wrapped(&format!("  next: {next}"), width))?;
            }
        }
    }
    let any_bad = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
    Ok(if any_bad { RefusalCode::Failed.exit_code() } else { 0 })
}

fn examine(session: &mut Session) -> Result<Vec<Finding>, Failure> {
    let answer = session.client().and_then(|client| Ok(client.get::<SupervisorStatus>(routes::SUPERVISOR)?));
    let supervisor = match answer {
        Ok(supervisor) => supervisor,
        Err(Failure::Answered(body)) => {
            let nobody = body.error.code == RefusalCode::NoSupervisor;
            let silent = Finding { verdict: Verdict::Bad, what: body.error.message, next: body.error.hint };
            return Ok(std::iter::once(silent).chain(nobody.then(|| file(session))).collect());
        }
        Err(failure) => return Err(failure),
    };
    let mut findings = vec![good(format!("the supervisor answers on {}: pid {}", supervisor.socket, supervisor.pid))];
    findings.push(versions(&supervisor));
    findings.push(configuration(&supervisor));
    findings.push(trees(&supervisor));
    findings.extend(supervisor.warnings.iter().map(|warning| unwise(warning.clone(), None)));
    for (kind, directory) in [("state", &supervisor.state_dir), ("log", &supervisor.log_dir)] {
        findings.push(room(kind, Path::new(directory)));
        findings.extend(writable(kind, Path::new(directory)));
    }
    findings.extend(proxied::private_ports(&supervisor));
    findings.extend(apps(session, &supervisor)?);
    Ok(findings)
}

fn versions(supervisor: &SupervisorStatus) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    if let Some(program) = supervisor.program.as_ref().filter(|program| program.replaced) {
        return unwise(
            format!("another build than the supervisor that runs is installed as {}", program.path),
            Some("infissi-ctl upgrade"),
        );
    }
    if supervisor.version == own {
        return good(format!("infissi-ctl and the supervisor are both version {own}"));
    }
    unwise(
        format!("infissi-ctl is version {own}, the supervisor {}", supervisor.version),
        Some("install both of one version, then infissi-ctl upgrade"),
    )
}

fn configuration(supervisor: &SupervisorStatus) -> Finding {
    let config = &supervisor.config;
    if config.faulty.is_some() {
        return bad(
            format!("{} has mistakes; the last applied configuration runs", config.path),
            &format!("infissi-ctl check {}", config.path),
        );
    }
    if check::changed_for_the_worse(config) {
        return bad(
            format!("{} was changed and has mistakes; what was applied before runs on", config.path),
            &format!("infissi-ctl check {}", config.path),
        );
    }
    if config.changed {
        return unwise(format!("{} was changed and is not applied", config.path), Some("infissi-ctl apply --dry-run"));
    }
    good(format!("{} is valid and applied", config.path))
}

/// The file on disk, where there is no supervisor to ask.
fn file(session: &Session) -> Finding {
    let path = match check::which(session, None) {
        Ok(path) => path,
        Err(_) => return bad("there is no supervisor.toml".to_owned(), "infissi-ctl init DIR prints a start"),
    };
    match check::read(&path) {
        Ok(_) => good(format!("{} is valid", path.display())),
        Err(_) => bad(format!("{} has mistakes", path.display()), &format!("infissi-ctl check {}", path.display())),
    }
}

fn trees(supervisor: &SupervisorStatus) -> Finding {
    if supervisor.trees == "cgroup" {
        return good("each app has a cgroup of its own: nothing of it can stay behind".to_owned());
    }
    unwise(
        "there are no cgroups to use: apps are kept together by session and process group".to_owned(),
        Some("under systemd, Delegate=yes in the service gives it cgroups"),
    )
}

fn room(kind: &str, directory: &Path) -> Finding {
    let shown = directory.display();
    match disk::room(directory) {
        Err(error) => bad(format!("the {kind} directory {shown} cannot be looked at: {error}"), "is it there?"),
        Ok(room) if room.bytes < NO_ROOM => {
            bad(format!("no room in {shown}: {} left", size(room.bytes)), "make room; output of apps is being dropped")
        }
        Ok(room) if room.bytes < LITTLE_ROOM => unwise(
            format!("little room in {shown}: {} left", size(room.bytes)),
            Some("make room, or lower logs.max_total"),
        ),
        Ok(room) if room.inodes.is_some_and(|inodes| inodes < FEW_INODES) => {
            unwise(format!("{shown} can take few more files"), Some("df -i shows where inodes went"))
        }
        Ok(room) => good(format!("{} left in {shown}", size(room.bytes))),
    }
}

/// Asked only where our own rights say something about the supervisor's.
fn writable(kind: &str, directory: &Path) -> Option<Finding> {
    let own = own_uid();
    let owner = directory.metadata().ok()?.uid();
    if own != 0 && own != owner {
        return None;
    }
    let error = may_write(directory).err()?;
    Some(bad(
        format!("the {kind} directory {} cannot be written: {error}", directory.display()),
        "is it mounted read-only?",
    ))
}

fn apps(session: &mut Session, supervisor: &SupervisorStatus) -> Result<Vec<Finding>, Failure> {
    let apps: Vec<AppStatus> = session.client()?.get(routes::APPS)?;
    if apps.is_empty() {
        return Ok(vec![unwise("there are no apps".to_owned(), Some("infissi-ctl init DIR"))]);
    }
    let mut findings = memory(&apps, supervisor);
    for app in &apps {
        let detail: AppDetail = session.client()?.get(&routes::app(&app.name))?;
        findings.push(state::of(&detail, clock::now()));
        if detail.log_lines_dropped > 0 {
            findings.push(bad(
                format!(
                    "{}: {} log lines were dropped: the disk did not take them",
                    app.name, detail.log_lines_dropped
                ),
                &format!("is there room, and may the supervisor write to {}?", detail.log_files.combined),
            ));
        }
        findings.extend(proxied::app(&detail));
        match session.client()?.get::<ExecPlan>(&routes::exec(&app.name)) {
            Ok(plan) => findings.extend(programs(&detail, &plan)),
            // Somebody who may look but not see the environment.
            Err(ClientError::Refused(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(findings)
}

fn memory(apps: &[AppStatus], supervisor: &SupervisorStatus) -> Vec<Finding> {
    let total = supervisor.host.memory_total_bytes;
    let limits: u64 = apps.iter().filter_map(|app| app.memory_limit_bytes).sum();
    let without = apps.iter().filter(|app| app.memory_limit_bytes.is_none()).count();
    let mut findings = Vec::new();
    if limits > total {
        findings.push(unwise(
            format!("the apps' memory limits make {}, the machine has {}", size(limits), size(total)),
            Some("lower max_memory_restart, or the kernel may end something first"),
        ));
    } else if limits > 0 {
        findings.push(good(format!("the apps' memory limits make {} of the machine's {}", size(limits), size(total))));
    }
    if without > 0 {
        findings.push(unwise(
            format!("{without} of {} apps have no memory limit", apps.len()),
            Some("max_memory_restart = \"500M\" in supervisor.toml gives one"),
        ));
    }
    findings
}

/// Can its command, and node behind a package manager, be found in the PATH that it gets?
fn programs(detail: &AppDetail, plan: &ExecPlan) -> Vec<Finding> {
    let name = &detail.status.name;
    let path = plan.env.iter().find(|(key, _)| key == "PATH").map_or("", |(_, value)| value);
    let Some(program) = detail.command.first() else { return Vec::new() };
    let mut wanted = vec![program.as_str()];
    if ["npm", "npx", "yarn", "pnpm"].contains(&program.as_str()) {
        wanted.push("node");
    }
    wanted
        .into_iter()
        .map(|program| match find(program, path, Path::new(&plan.cwd)) {
            Some(found) => good(format!("{name}: {program} is {}", found.display())),
            None => bad(
                format!("{name}: {program} is not in its PATH ({path})"),
                &format!("add its directory to path = [\"…\"] in [apps.{name}] and run `infissi-ctl apply`"),
            ),
        })
        .collect()
}

fn find(program: &str, path: &str, cwd: &Path) -> Option<PathBuf> {
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![cwd.join(program)]
    } else {
        std::env::split_paths(path).map(|directory| cwd.join(directory).join(program)).collect()
    };
    candidates
        .into_iter()
        .find(|file| file.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0))
}

fn good(what: String) -> Finding {
    Finding { verdict: Verdict::Good, what, next: None }
}

fn unwise(what: String, next: Option<&str>) -> Finding {
    Finding { verdict: Verdict::Unwise, what, next: next.map(str::to_owned) }
}

fn bad(what: String, next: &str) -> Finding {
    Finding { verdict: Verdict::Bad, what, next: Some(next.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::sample;

    #[test]
    fn limits_beyond_the_machine_are_unwise() {
        let mut supervisor = sample::supervisor();
        let apps = sample::apps();
        assert!(memory(&apps, &supervisor).iter().all(|finding| finding.verdict == Verdict::Good));
        supervisor.host.memory_total_bytes = 1 << 30;
        assert_eq!(memory(&apps, &supervisor)[0].verdict, Verdict::Unwise);
    }

    #[test]
    fn a_faulty_configuration_is_bad_and_a_changed_one_unwise() {
        let mut supervisor = sample::supervisor();
        assert_eq!(configuration(&supervisor).verdict, Verdict::Good);
        supervisor.config.changed = true;
        assert_eq!(configuration(&supervisor).verdict, Verdict::Unwise);
        supervisor.config.faulty = Some("line 3".to_owned());
        assert_eq!(configuration(&supervisor).verdict, Verdict::Bad);
    }

    #[test]
    fn a_program_that_the_app_cannot_find_is_named_with_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let npm = directory.path().join("npm");
        std::fs::write(&npm, "").unwrap();
        let plan = |path: &Path| ExecPlan {
            cwd: "/".to_owned(),
            user: "u".to_owned(),
            uid: 1,
            gid: 1,
            groups: Vec::new(),
            env: vec![("PATH".to_owned(), path.display().to_string())],
        };
        let findings = programs(&sample::detail(), &plan(directory.path()));
        assert!(findings.iter().all(|finding| finding.verdict == Verdict::Bad), "not executable: {findings:?}");
        std::fs::set_permissions(&npm, std::fs::Permissions::from_mode(0o755)).unwrap();
        let findings = programs(&sample::detail(), &plan(directory.path()));
        assert_eq!(findings[0].verdict, Verdict::Good);
        assert!(findings[1].what.contains("node is not in its PATH"), "{findings:?}");
    }

    #[test]
    fn a_directory_that_is_not_there_is_bad() {
        let directory = tempfile::tempdir().unwrap();
        assert_ne!(room("log", directory.path()).verdict, Verdict::Bad);
        assert_eq!(room("log", &directory.path().join("nowhere")).verdict, Verdict::Bad);
    }
}
