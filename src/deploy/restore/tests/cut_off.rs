//! What a restore that was killed has left, and what the next makes of it.

use super::*;
use crate::deploy::restore::note::Note;
use crate::linux::atomic::{exchange, move_to};

#[test]
fn one_that_is_cut_off_at_any_rename_is_put_back_by_the_next() {
    let files = [("shared/a", "1"), ("shared/up/b", "2"), ("shared/gone", "3"), ("shared/x.log", "4")];
    for renames in 0..=6 {
        let stage = Stage::new(&["shared"], &["*.log"], &files);
        stage.back_up(NOW);
        stage.write("shared/a", "changed");
        stage.write("shared/up/b", "changed");
        stage.write("shared/new", "newer");
        fs::remove_file(stage.path("root/shared/gone")).unwrap();
        let tree = stage.tree();
        let (staging, parts) = stage.unpack("latest").unwrap();
        assert_eq!(paths(&parts), ["shared/a", "shared/gone", "shared/new", "shared/up"]);
        let (dir, at) = (stage.path("root/restores/now.placing"), stage.path("root"));
        fs::create_dir_all(staging.before().join("shared")).unwrap();
        Note::of(&parts.parts, &at).unwrap().write(&stage.path("root/restores/now.unpacking")).unwrap();
        fs::rename(stage.path("root/restores/now.unpacking"), &dir).unwrap();
        let (before, new) = (dir.join("before"), dir.join("files"));
        // As it places them.
        let steps: [(bool, &Path, &Path, &str); 6] = [
            (true, &at, &new, "shared/a"),
            (false, &new, &before, "shared/a"),
            (false, &new, &at, "shared/gone"),
            (false, &at, &before, "shared/new"),
            (true, &at, &new, "shared/up"),
            (false, &new, &before, "shared/up"),
        ];
        for (both, from, to, path) in &steps[..renames] {
            let renamed = if *both { exchange } else { move_to };
            renamed(&from.join(path), &to.join(path)).unwrap();
        }
        assert_eq!(stage.tree() == tree, renames == 0);
        assert_eq!(sweep(&stage.root()).unwrap(), [Swept::Placing(stage.path("root/restores/now"))]);
        assert_eq!(stage.tree(), tree, "after {renames}");
        let left = |path: &str| fs::read_to_string(stage.path("root/restores/now/left/shared").join(path)).unwrap();
        assert_eq!((left("a"), left("gone"), left("up/b")), ("1".into(), "3".into(), "2".into()), "after {renames}");
        assert!(!stage.path("root/restores/now/before").exists() && sweep(&stage.root()).unwrap().is_empty());
        drop(staging);
    }
}

#[test]
fn one_that_is_cut_off_when_all_is_in_place_stays_so() {
    let stage = Stage::new(&["shared"], &[], &[("shared/a", "1")]);
    let tree = stage.tree();
    stage.back_up(NOW);
    stage.write("shared/a", "changed");
    let (mut staging, parts) = stage.unpack("latest").unwrap();
    staging.place(&parts).unwrap();
    assert_eq!(sweep(&stage.root()).unwrap(), [Swept::Placed(stage.path("root/restores/now"))]);
    assert_eq!(stage.tree().len(), tree.len());
    assert_eq!(fs::read_to_string(stage.path("root/shared/a")).unwrap(), "1");
    assert_eq!(fs::read_to_string(stage.path("root/restores/now/before/shared/a")).unwrap(), "changed");
}

#[test]
fn what_a_killed_one_has_left_is_cleared_away_or_told() {
    let stage = Stage::new(&["shared"], &[], &[("shared/a", "1")]);
    fs::create_dir_all(stage.path("root/restores/one.unpacking/files")).unwrap();
    stage.write("restores/two.placing/before/shared/a", "0");
    let (staging, swept) = Staging::begin(&stage.root(), "three").unwrap();
    let at = |name: &str| stage.path("root/restores").join(name);
    assert_eq!(swept, [Swept::Unpacking(at("one.unpacking")), Swept::Placed(at("two"))]);
    assert_eq!(kept_names(&stage), ["three.unpacking", "two"]);
    drop(staging);
    assert_eq!(kept_names(&stage), ["two"]);
}
