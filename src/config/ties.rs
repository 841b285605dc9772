//! What ties apps to one another: names, ports, log files and dependencies.

use super::app_table::Draft;
use super::keys;
use super::notes::{Notes, Place};
use super::table::Found;
use std::collections::HashMap;
use std::path::PathBuf;

/// Notes every name, port and log file that two apps claim.
pub(super) fn refuse_doubles(drafts: &[Draft<'_>], notes: &mut Notes<'_>) {
    let mut names: HashMap<String, &Draft<'_>> = HashMap::new();
    let mut ports: HashMap<u16, &Draft<'_>> = HashMap::new();
    let mut files: HashMap<(Option<PathBuf>, String), &Draft<'_>> = HashMap::new();
    // An app's name goes before anybody's alias.
    for draft in drafts {
        let first = *names.entry(draft.config.name.clone()).or_insert(draft);
        if first.head != draft.head {
            let what = format!("{} is defined twice, first at {}", draft.key, shown(&first.head, notes));
            notes.blame_at(draft.head.clone(), &draft.key, what, "give one of them another name");
        }
    }
    for draft in drafts {
        for (alias, found) in draft.config.aliases.iter().zip(&draft.aliases) {
            if let Some(first) = names.get(alias) {
                let what = format!("{alias:?} is already {}", first.key);
                notes.blame(found, what, "choose another alias");
            } else {
                names.insert(alias.clone(), draft);
            }
        }
        if let (Some(port), Some(found)) = (draft.config.port, &draft.port) {
            if let Some(first) = ports.get(&port) {
                notes.blame(found, format!("{port} is already the port of {}", first.key), "choose another port");
            } else {
                ports.insert(port, draft);
            }
        }
        let logs = &draft.config.logs;
        let file = (logs.dir.clone(), logs.name.clone());
        if let Some(first) = files.get(&file).filter(|first| first.config.name != draft.config.name) {
            let what = format!("{} already writes to the logs named {:?}", first.key, logs.name);
            let key = format!("{}.logs", draft.key);
            notes.blame_at(draft.head.clone(), &key, what, "choose another name or dir in [logs]");
        }
        files.entry(file).or_insert(draft);
    }
}

/// Puts the apps' names where `depends_on` used aliases; notes what names no app, and every cycle once.
pub(super) fn resolve_dependencies(drafts: &mut [Draft<'_>], notes: &mut Notes<'_>) {
    let mut known: HashMap<String, usize> = HashMap::new();
    for (index, draft) in drafts.iter().enumerate() {
        known.entry(draft.config.name.clone()).or_insert(index);
    }
    for (index, draft) in drafts.iter().enumerate() {
        for alias in &draft.config.aliases {
            known.entry(alias.clone()).or_insert(index);
        }
    }
    // What could not be read may hold the app that seems missing.
    let sources = notes.sources();
    let broken = !sources.unread.is_empty() || (0..sources.files.len()).any(|file| notes.is_broken(file));
    let names: Vec<String> = drafts.iter().map(|draft| draft.config.name.clone()).collect();
    let mut needs: Vec<Vec<usize>> = Vec::new();
    for draft in drafts.iter_mut() {
        let mut indices = Vec::new();
        for (name, found) in draft.config.depends_on.iter().zip(&draft.depends_on) {
            match known.get(name) {
                Some(index) if indices.contains(index) => {}
                Some(index) => indices.push(*index),
                None if broken => {}
                None => {
                    let expected = match keys::nearest(name, known.keys().map(String::as_str)) {
                        Some(meant) => format!("did you mean {meant:?}?"),
                        None => "write the name of an app of this configuration".to_owned(),
                    };
                    notes.blame(found, format!("there is no app {}", found.shown()), expected);
                }
            }
        }
        draft.config.depends_on = indices.iter().map(|index| names[*index].clone()).collect();
        needs.push(indices);
    }
    for cycle in cycles(&needs) {
        let draft = &drafts[cycle[0]];
        let round: Vec<&str> = cycle.iter().chain(&cycle[..1]).map(|index| names[*index].as_str()).collect();
        let place = draft.depends_on.first().map_or(draft.head.clone(), Found::place);
        let what = format!("these wait for one another: {}", round.join(" → "));
        notes.blame_at(place, &format!("{}.depends_on", draft.key), what, "take one of them out of depends_on");
    }
}

/// One way round for each group of nodes that a depth-first walk finds closed, from its first node.
fn cycles(needs: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut cycles = Vec::new();
    let mut done = vec![false; needs.len()];
    for start in 0..needs.len() {
        // The way down: a node and how many of its needs were followed. No recursion: the depth is the file's to choose.
        let mut way: Vec<(usize, usize)> = if done[start] { Vec::new() } else { vec![(start, 0)] };
        let mut on_way = vec![false; if way.is_empty() { 0 } else { needs.len() }];
        while let Some((node, followed)) = way.last_mut() {
            let node = *node;
            on_way[node] = true;
            match needs[node].get(*followed) {
                None => {
                    done[node] = true;
                    on_way[node] = false;
                    way.pop();
                }
                Some(next) => {
                    *followed += 1;
                    if on_way[*next] {
                        let from = way.iter().position(|(node, _)| node == next).unwrap_or(0);
                        cycles.push(way[from..].iter().map(|(node, _)| *node).collect());
                    } else if !done[*next] {
                        way.push((*next, 0));
                    }
                }
            }
        }
    }
    cycles
}

fn shown(place: &Place, notes: &Notes<'_>) -> String {
    let source = &notes.sources().files[place.file];
    let line = source.text[..place.span.start].matches('\n').count() + 1;
    format!("{}:{line}", source.shown)
}
