//! How it stands with the apps, in one line: `3 apps online, 1 starting`.

use crate::api::{AppStatus, Status};

pub(super) fn of(apps: &[AppStatus]) -> String {
    tally(apps.iter().map(|app| app.status).collect())
}

fn tally(mut apps: Vec<Status>) -> String {
    apps.sort_by_key(|status| rank(*status));
    let mut said: Vec<String> = Vec::new();
    for same in apps.chunk_by(|one, next| one == next) {
        let (count, status) = (same.len(), same[0]);
        said.push(match (said.is_empty(), count) {
            (true, 1) => format!("1 app {status}"),
            (true, _) => format!("{count} apps {status}"),
            (false, _) => format!("{count} {status}"),
        });
    }
    if said.is_empty() { "no apps yet".to_owned() } else { said.join(", ") }
}

/// Who serves first, who does nothing last.
fn rank(status: Status) -> u8 {
    match status {
        Status::Online => 0,
        Status::Starting => 1,
        Status::Stopping => 2,
        Status::Backoff => 3,
        Status::Errored => 4,
        Status::Waiting => 5,
        Status::Stopped => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_tells_how_many_are_in_which_state() {
        let told = |apps: &[Status]| tally(apps.to_vec());
        assert_eq!(told(&[]), "no apps yet");
        assert_eq!(told(&[Status::Online]), "1 app online");
        assert_eq!(
            told(&[Status::Stopped, Status::Online, Status::Backoff, Status::Online]),
            "2 apps online, 1 backoff, 1 stopped"
        );
        assert_eq!(told(&[Status::Errored; 3]), "3 apps errored");
    }
}
