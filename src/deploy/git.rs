//! The system's git with the caller's credentials, which is never asked for any.

use std::ffi::OsString;
use std::path::Path;

/// Variables by which a git that runs us (a hook) would tell ours where to work.
const OF_ANOTHER_GIT: [&str; 9] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_QUARANTINE_PATH",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_CONFIG_PARAMETERS",
];

/// The caller's environment, for a git that may not ask.
pub(super) fn environment(
    own: impl Iterator<Item = (OsString, OsString)>,
    ssh_command: Option<String>,
) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> = own.collect();
    env.retain(|(name, _)| !OF_ANOTHER_GIT.iter().any(|of_another| name == *of_another));
    let given = |env: &[(OsString, OsString)], wanted: &str| {
        env.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.to_string_lossy().into_owned())
    };
    // Somebody else's ssh may not know the option.
    if given(&env, "GIT_SSH").is_none() {
        let ssh = given(&env, "GIT_SSH_COMMAND").or(ssh_command).unwrap_or_else(|| "ssh".to_owned());
        set(&mut env, "GIT_SSH_COMMAND", format!("{ssh} -o BatchMode=yes"));
    }
    set(&mut env, "GIT_TERMINAL_PROMPT", "0");
    set(&mut env, "SSH_ASKPASS_REQUIRE", "never");
    env
}

pub(super) fn set(env: &mut Vec<(OsString, OsString)>, name: &str, value: impl Into<OsString>) {
    env.retain(|(there, _)| there != name);
    env.push((OsString::from(name), value.into()));
}

/// `git --git-dir MIRROR WORDS…`
pub(super) fn git(mirror: &Path, words: &[&str]) -> Vec<String> {
    let mut command = vec!["git".to_owned(), format!("--git-dir={}", mirror.display())];
    command.extend(words.iter().map(|word| (*word).to_owned()));
    command
}

/// Is it the whole name of a commit?
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_and_no_other_git_interferes() {
        let of = |own: &[(&str, &str)], ssh: Option<&str>| -> Vec<(String, String)> {
            let own = own.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
            let env = environment(own.collect::<Vec<_>>().into_iter(), ssh.map(str::to_owned));
            env.into_iter().map(|(name, value)| (name.into_string().unwrap(), value.into_string().unwrap())).collect()
        };
        let has = |env: &[(String, String)], pair: (&str, &str)| env.contains(&(pair.0.to_owned(), pair.1.to_owned()));
        let plain = of(&[("HOME", "/root"), ("GIT_DIR", "/x")], None);
        assert!(has(&plain, ("HOME", "/root")) && has(&plain, ("GIT_TERMINAL_PROMPT", "0")));
        assert!(has(&plain, ("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")));
        assert!(plain.iter().all(|(name, _)| name != "GIT_DIR"));
        let with_key = of(&[("GIT_SSH_COMMAND", "ssh -i key")], Some("other"));
        assert!(has(&with_key, ("GIT_SSH_COMMAND", "ssh -i key -o BatchMode=yes")));
        assert!(has(&of(&[], Some("ssh -4")), ("GIT_SSH_COMMAND", "ssh -4 -o BatchMode=yes")));
    }
}
