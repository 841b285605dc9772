//! `version`: of which builds are infissi-ctl, the supervisor and its worker, and do they differ?

use super::failure::Failure;
use super::session::Session;
use crate::api::{SupervisorStatus, WorkerStatus, routes};
use serde_json::json;
use std::io::Write;

/// The own version also where no supervisor answers: that is no failure of this command.
pub(crate) fn version(session: &mut Session) -> Result<u8, Failure> {
    let own = env!("CARGO_PKG_VERSION");
    let supervisor = session.client().and_then(|client| Ok(client.get::<SupervisorStatus>(routes::SUPERVISOR)?)).ok();
    let differences = supervisor.as_ref().map(|supervisor| differences(own, supervisor)).unwrap_or_default();
    if session.json {
        let worker = supervisor.as_ref().and_then(|supervisor| supervisor.worker.as_ref());
        session.print_json(&json!({
            "infissi_ctl": own,
            "infissi_supervisord": supervisor.as_ref().map(|supervisor| &supervisor.version),
            "proxy_worker": worker.map(|worker| &worker.version),
            "program": supervisor.as_ref().and_then(|supervisor| supervisor.program.as_ref()),
            "differences": differences,
        }))?;
        return Ok(0);
    }
    writeln!(session.out, "infissi-ctl {own}")?;
    let Some(supervisor) = supervisor else {
        writeln!(session.out, "infissi-supervisord: none answers")?;
        return Ok(0);
    };
    writeln!(session.out, "infissi-supervisord {}", supervisor.version)?;
    if let Some(WorkerStatus { version, .. }) = &supervisor.worker {
        writeln!(session.out, "proxy worker {version}")?;
    }
    for difference in differences {
        writeln!(session.out, "{difference}")?;
    }
    Ok(0)
}

/// A sentence each.
fn differences(own: &str, supervisor: &SupervisorStatus) -> Vec<String> {
    let mut differences = Vec::new();
    if let Some(program) = supervisor.program.as_ref().filter(|program| program.replaced) {
        let path = &program.path;
        differences.push(format!(
            "Another build than the supervisor that runs is installed as {path}: `infissi-ctl upgrade` lets it take over."
        ));
    }
    if supervisor.version != own {
        let version = &supervisor.version;
        differences.push(format!("infissi-ctl is of version {own}, the supervisor that runs of version {version}."));
    }
    if let Some(WorkerStatus { version, .. }) = supervisor.worker.as_ref().filter(|of| of.version != supervisor.version)
    {
        differences.push(format!("The proxy worker is of version {version}: another one takes its place."));
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ProgramStatus;
    use crate::ctl::sample;

    #[test]
    fn each_difference_is_told_with_what_to_do() {
        let mut supervisor = sample::supervisor();
        let own = supervisor.version.clone();
        assert!(differences(&own, &supervisor).is_empty());
        let path = "/usr/bin/infissi-supervisord".to_owned();
        supervisor.program = Some(ProgramStatus { path, replaced: true });
        assert!(differences(&own, &supervisor)[0].contains("/usr/bin/infissi-supervisord: `infissi-ctl upgrade`"));
        supervisor.program = None;
        let worker = WorkerStatus { pid: 7, version: "0.0.9".to_owned(), memory_bytes: 1, connections: 0 };
        supervisor.worker = Some(worker);
        assert_eq!(differences("0.2.0", &supervisor).len(), 2);
    }
}
