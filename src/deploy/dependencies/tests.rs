use super::*;
use crate::deploy::step::tests::Ear;
use std::fs;
use std::os::unix::fs::symlink;

/// A root with a release in it, whose install is about to be run.
struct Stage {
    dir: tempfile::TempDir,
    root: Root,
}

const PACKAGE: &str = r#"{ "dependencies": { "a": "~1.0.0" } }"#;

impl Stage {
    fn new() -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage { root: Root::new(dir.path().join("site")), dir };
        stage.put("one/package.json", PACKAGE);
        stage
    }

    fn release(&self, id: &str) -> PathBuf {
        self.root.release(id)
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.root.dir().join("releases").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn look(&self, id: &str, command: &str, env: &[(&str, &str)]) -> Option<Installation> {
        let command: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let mut env: Vec<(OsString, OsString)> = env.iter().map(|(name, value)| (name.into(), value.into())).collect();
        env.push(("PATH".into(), self.dir.path().into()));
        let log = File::create(self.dir.path().join("log")).unwrap();
        let mut ear = Ear::patient();
        let mut workshop = Workshop::new((&self.root, id), log, Vec::new(), &mut ear);
        Installation::look((&command, "npm ci"), &self.release(id), &env, &mut workshop).unwrap()
    }

    fn begin(&self, id: &str) -> Installation {
        self.look(id, "npm ci", &[]).unwrap()
    }

    fn installed(&self, id: &str) {
        self.put(&format!("{id}/node_modules/a/package.json"), r#"{ "name": "a" }"#);
        self.put(&format!("{id}/node_modules/a/bin.js"), "run");
        fs::create_dir_all(self.release(id).join("node_modules/.bin")).unwrap();
        symlink("../a/bin.js", self.release(id).join("node_modules/.bin/a")).unwrap();
    }

    fn keep(&self, id: &str, begun: Installation) -> Result<(), String> {
        begun.keep(&self.root, &self.release(id), (7000, 0), &mut Ear::patient()).unwrap()
    }

    fn reuse(&self, id: &str, begun: &Installation) -> Option<Kept> {
        begun.reuse(&self.root, &self.release(id), &mut Ear::patient()).unwrap()
    }

    fn kept(&self) -> Vec<PathBuf> {
        places(&self.root).collect()
    }
}

#[test]
fn what_was_installed_once_is_copied_into_the_next_release_which_owns_its_copy() {
    let stage = Stage::new();
    let begun = stage.begin("one");
    assert_eq!(stage.reuse("one", &begun), None);
    stage.installed("one");
    stage.keep("one", begun).unwrap();
    // What the build does to it is none of the next one's business.
    stage.put("one/node_modules/a/bin.js", "built");
    stage.put("two/package.json", PACKAGE);
    let kept = stage.reuse("two", &stage.begin("two")).unwrap();
    assert_eq!(kept, Kept { step: "npm ci".to_owned(), took_ms: 7000, entries: 5, bytes: 18 });
    assert_eq!(kept_bytes(&stage.root), 18);
    let two = stage.release("two").join("node_modules");
    assert_eq!(fs::read_to_string(two.join(".bin/a")).unwrap(), "run");
    stage.put("two/node_modules/a/bin.js", "of the second");
    stage.put("three/package.json", PACKAGE);
    stage.reuse("three", &stage.begin("three")).unwrap();
    assert_eq!(fs::read_to_string(stage.release("three").join("node_modules/a/bin.js")).unwrap(), "run");
    assert!(stage.look("three", "npm ci", &[]).is_none(), "there is one already");
}

#[test]
fn whatever_decides_what_is_installed_makes_it_another() {
    let stage = Stage::new();
    let key = |env: &[(&str, &str)]| stage.look("one", "npm ci", env).unwrap().key;
    let first = key(&[]);
    assert_eq!(first, key(&[("INFISSI_RELEASE", "two"), ("NEXT_DEPLOYMENT_ID", "two")]));
    let within = stage.release("one").join("bin").display().to_string();
    assert_eq!(key(&[("X", "/bin")]), key(&[("X", &within)]), "a path into the release is not its place");
    assert_ne!(first, key(&[("NODE_ENV", "production")]));
    assert_ne!(first, stage.look("one", "npm ci --omit=dev", &[]).unwrap().key);
    let mut keys = vec![first.clone()];
    for file in ["package-lock.json", ".npmrc", "patches/a.patch", "db/schema.prisma"] {
        stage.put(&format!("one/{file}"), "x");
        keys.push(key(&[]));
        stage.put(&format!("one/{file}"), "y");
        keys.push(key(&[]));
    }
    fs::write(stage.dir.path().join("npm"), "another npm").unwrap();
    keys.push(key(&[]));
    let before = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), before, "none is as another");
    stage.put("one/src/page.tsx", "x");
    assert!(keys.contains(&key(&[])), "what no install looks at");
}

#[test]
fn what_may_be_another_for_another_release_is_not_kept() {
    let why_not = |meddle: &dyn Fn(&Stage)| {
        let stage = Stage::new();
        let begun = stage.begin("one");
        stage.installed("one");
        meddle(&stage);
        let why = stage.keep("one", begun).unwrap_err();
        assert_eq!(stage.kept(), [] as [PathBuf; 0], "{why}");
        why
    };
    let link = |to: &str| {
        let to = to.to_owned();
        move |stage: &Stage| symlink(&to, stage.release("one").join("node_modules/b")).unwrap()
    };
    let put = |path: &'static str, text: &'static str| move |stage: &Stage| stage.put(path, text);
    assert!(why_not(&link("../packages/b")).contains("node_modules/b leads out of it"));
    assert!(why_not(&link("/srv/b")).contains("leads out"));
    assert!(why_not(&put("one/.husky/_", "")).contains("has written to other places"));
    let script = r#"{ "name": "b", "scripts": { "postinstall": "node generate.js" } }"#;
    assert!(why_not(&put("one/node_modules/b/package.json", script)).contains("b runs a script"));
    assert!(why_not(&put("one/node_modules/a/node_modules/@x/b/package.json", script)).contains("b runs a script"));
    let says_where = |stage: &Stage| {
        let place = format!("{}cd {}/x", " ".repeat((256 << 10) - 9), stage.release("one").display());
        stage.put("one/node_modules/.bin/b", &place);
    };
    assert!(why_not(&says_where).contains("node_modules/.bin/b says where the release is"));
    let linked = |stage: &Stage| {
        fs::rename(stage.release("one").join("node_modules"), stage.release("elsewhere")).unwrap();
        symlink("../elsewhere", stage.release("one").join("node_modules")).unwrap();
    };
    assert!(why_not(&linked).contains("no directory"));
    for (package, why) in [
        (r#"{ "scripts": { "prepare": "husky" } }"#, "a script prepare"),
        (r#"{ "workspaces": ["packages/*"] }"#, "workspaces"),
        (r#"{ "devDependencies": { "b": "file:../b" } }"#, "b comes from file:../b"),
        ("{", "cannot be read"),
    ] {
        let stage = Stage::new();
        stage.put("one/package.json", package);
        let begun = stage.begin("one");
        stage.installed("one");
        let said = stage.keep("one", begun).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn what_is_not_whole_any_more_is_not_used_and_half_of_one_is_none() {
    let stage = Stage::new();
    let begun = stage.begin("one");
    stage.installed("one");
    stage.keep("one", begun).unwrap();
    let place = stage.kept().pop().unwrap();
    fs::remove_file(place.join("node_modules/a/bin.js")).unwrap();
    stage.put("two/package.json", PACKAGE);
    assert_eq!(stage.reuse("two", &stage.begin("two")), None);
    assert!(!stage.release("two").join("node_modules").exists() && !place.exists());

    // One was cut off, and another is given up in the middle.
    fs::create_dir_all(stage.root.kept().join(HALF).join("node_modules")).unwrap();
    let begun = stage.begin("two");
    stage.installed("two");
    let stopped = begun.keep(&stage.root, &stage.release("two"), (1, 0), &mut Ear::until(8));
    assert!(matches!(stopped, Err(Sourced::Interrupted)));
    stage.put("three/package.json", PACKAGE);
    let begun = stage.begin("three");
    assert_eq!(stage.reuse("three", &begun), None);
    stage.installed("three");
    let again = Installation { key: begun.key.clone(), step: begun.step.clone(), before: begun.before };
    let short = again.keep(&stage.root, &stage.release("three"), (1, u64::MAX), &mut Ear::patient());
    assert!(short.unwrap().unwrap_err().contains("min_free"));
    stage.keep("three", begun).unwrap();
    assert_eq!(stage.kept().len(), 1);
    clear_kept(&stage.root).unwrap();
    assert_eq!(stage.kept().len(), 0);
}

#[test]
fn those_that_were_used_last_stay() {
    let stage = Stage::new();
    let mut keys = Vec::new();
    for (id, version) in [("a", "1"), ("b", "2"), ("c", "3")] {
        stage.put(&format!("{id}/package.json"), PACKAGE);
        stage.put(&format!("{id}/package-lock.json"), version);
        let begun = stage.begin(id);
        stage.installed(id);
        keys.push(begun.key.clone());
        if id == "c" {
            // The first is used once more.
            let note = |key: &str| File::open(stage.root.kept().join(key).join(NOTE)).unwrap();
            note(&keys[1]).set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        stage.keep(id, begun).unwrap();
    }
    let mut left: Vec<_> = stage.kept().iter().map(|place| place.file_name().unwrap().to_owned()).collect();
    left.sort();
    let mut expected = [OsString::from(&keys[0]), OsString::from(&keys[2])];
    expected.sort();
    assert_eq!(left, expected);
}
