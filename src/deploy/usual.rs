//! The steps of a release that has none of its own: by its lock file.

use super::failed;
use crate::api::Refusal;
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// More is no package.json, bytes.
const LARGEST: u64 = 1 << 20;

/// Lock file → what installs exactly what stands in it, and what runs a script. With NODE_ENV=production each would
/// leave out what a build needs.
const MANAGERS: [(&str, &str, &str); 7] = [
    ("package-lock.json", "npm ci --include=dev", "npm run build"),
    ("npm-shrinkwrap.json", "npm ci --include=dev", "npm run build"),
    ("pnpm-lock.yaml", "pnpm install --frozen-lockfile --prod=false", "pnpm run build"),
    ("yarn.lock", "yarn install --frozen-lockfile --production=false", "yarn run build"),
    ("bun.lock", "bun install --frozen-lockfile", "bun run build"),
    ("bun.lockb", "bun install --frozen-lockfile", "bun run build"),
    // Yarn 2 and later, told apart below.
    (".yarnrc.yml", "yarn install --immutable", "yarn run build"),
];

/// # Errors
/// What would be installed is not known: there are dependencies and no lock file, or a package.json that makes no sense.
pub fn usual_steps(release: &Path) -> Result<Vec<Vec<String>>, Refusal> {
    let file = release.join("package.json");
    if !file.exists() {
        return Ok(Vec::new());
    }
    let has = |name: &str| release.join(name).is_file();
    let manager = MANAGERS.iter().find(|(lock, ..)| has(lock) && !(*lock == "yarn.lock" && has(".yarnrc.yml")));
    let package = package(&file)?;
    let split = |command: &str| command.split(' ').map(str::to_owned).collect::<Vec<String>>();
    let (mut steps, build) = match manager {
        Some((_, install, build)) => (vec![split(install)], *build),
        None if !needs_others(&package) => (Vec::new(), "npm run build"),
        None => {
            let what = "the release depends on packages and has no lock file, so that nobody knows what to install";
            return Err(failed(what).hint("commit package-lock.json, or write steps = [\"…\"] into its [deploy] table"));
        }
    };
    if package["scripts"]["build"].as_str().is_some_and(|script| !script.trim().is_empty()) {
        steps.push(split(build));
    }
    Ok(steps)
}

/// Does it depend on packages that are not there? What a step was to install, a backup may have left out.
pub fn lacks_packages(release: &Path) -> bool {
    let needs = || package(&release.join("package.json")).is_ok_and(|package| needs_others(&package));
    !release.join("node_modules").is_dir() && needs()
}

fn needs_others(package: &Value) -> bool {
    let tables = ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies", "workspaces"];
    tables.iter().any(|table| match &package[*table] {
        Value::Object(packages) => !packages.is_empty(),
        Value::Array(packages) => !packages.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    })
}

fn package(file: &Path) -> Result<Value, Refusal> {
    let mut text = Vec::new();
    let read = File::open(file).and_then(|file| file.take(LARGEST).read_to_end(&mut text));
    read.map_err(super::cannot("read", file))?;
    serde_json::from_slice(&text)
        .map_err(|error| failed(format!("the package.json of the release is not JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_says_what_installs() {
        let steps = |files: &[(&str, &str)]| {
            let dir = tempfile::tempdir().unwrap();
            for (name, text) in files {
                std::fs::write(dir.path().join(name), text).unwrap();
            }
            usual_steps(dir.path()).map(|steps| steps.iter().map(|step| step.join(" ")).collect::<Vec<_>>())
        };
        let (plain, built) = ("{}", r#"{ "scripts": { "build": "next build" } }"#);
        assert!(steps(&[("index.html", "")]).unwrap().is_empty());
        assert_eq!(steps(&[("package.json", plain), ("package-lock.json", "")]).unwrap(), ["npm ci --include=dev"]);
        assert_eq!(
            steps(&[("package.json", built), ("pnpm-lock.yaml", "")]).unwrap(),
            ["pnpm install --frozen-lockfile --prod=false", "pnpm run build"]
        );
        assert_eq!(
            steps(&[("package.json", plain), ("yarn.lock", ""), (".yarnrc.yml", "")]).unwrap(),
            ["yarn install --immutable"]
        );
        assert_eq!(steps(&[("package.json", built)]).unwrap(), ["npm run build"], "there is nothing to install");
        let dependent = r#"{ "dependencies": { "next": "16" } }"#;
        assert!(steps(&[("package.json", dependent)]).unwrap_err().hint.unwrap().contains("package-lock.json"));
        assert!(steps(&[("package.json", "{"), ("bun.lock", "")]).unwrap_err().message.contains("not JSON"));
    }
}
