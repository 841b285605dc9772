//! `depends_on`: apps that are there, and a way through them that ends.

use super::app_table::Draft;
use super::keys;
use super::notes::Notes;
use super::table::Found;
use std::collections::HashMap;

/// More are no news.
const MOST_CYCLES: usize = 20;

/// Puts the apps' names where `depends_on` used aliases; notes what names no app, and each cycle once.
pub(super) fn resolve(drafts: &mut [Draft<'_>], notes: &mut Notes<'_>) {
    let names: Vec<String> = drafts.iter().map(|draft| draft.config.name.clone()).collect();
    let known = known(drafts);
    let mut needs: Vec<Vec<usize>> = Vec::new();
    for draft in drafts.iter_mut() {
        let mut indices = Vec::new();
        for (name, found) in draft.config.depends_on.iter().zip(&draft.depends_on) {
            match known.get(name) {
                Some(index) if indices.contains(index) => {}
                Some(index) => indices.push(*index),
                None => refuse_unknown(name, found, &known, notes),
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

/// Names and aliases; a name goes before anybody's alias.
pub(super) fn known(drafts: &[Draft<'_>]) -> HashMap<String, usize> {
    let mut known: HashMap<String, usize> = HashMap::new();
    for (index, draft) in drafts.iter().enumerate() {
        known.entry(draft.config.name.clone()).or_insert(index);
    }
    for (index, draft) in drafts.iter().enumerate() {
        for alias in &draft.config.aliases {
            known.entry(alias.clone()).or_insert(index);
        }
    }
    known
}

pub(super) fn refuse_unknown(name: &str, found: &Found<'_>, known: &HashMap<String, usize>, notes: &mut Notes<'_>) {
    // What could not be read may hold the app that seems missing.
    let sources = notes.sources();
    if !sources.unread.is_empty() || (0..sources.files.len()).any(|file| notes.is_broken(file)) {
        return;
    }
    let mut names: Vec<&str> = known.keys().map(String::as_str).collect();
    names.sort_unstable();
    let nearest = if notes.is_full() { None } else { keys::nearest(name, names.into_iter()) };
    let expected = match nearest {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => "write the name of an app of this configuration".to_owned(),
    };
    notes.blame(found, format!("there is no app {}", found.shown()), expected);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    NotYet,
    OnTheWay,
    Done,
}

/// One way round for each edge at which a depth-first walk comes back to where it is.
fn cycles(needs: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut cycles: Vec<Vec<usize>> = Vec::new();
    let mut visits = vec![Visit::NotYet; needs.len()];
    // No recursion: how deep it goes is for the file to choose.
    let mut way: Vec<(usize, usize)> = Vec::new();
    for start in 0..needs.len() {
        if visits[start] == Visit::NotYet {
            visits[start] = Visit::OnTheWay;
            way.push((start, 0));
        }
        while let Some((node, followed)) = way.last_mut() {
            let Some(&next) = needs[*node].get(*followed) else {
                visits[*node] = Visit::Done;
                way.pop();
                continue;
            };
            *followed += 1;
            match visits[next] {
                Visit::Done => {}
                Visit::NotYet => {
                    visits[next] = Visit::OnTheWay;
                    way.push((next, 0));
                }
                Visit::OnTheWay if cycles.len() == MOST_CYCLES => {}
                Visit::OnTheWay => {
                    let round = way.iter().map(|(node, _)| *node).skip_while(|node| *node != next);
                    cycles.push(round.collect());
                }
            }
        }
    }
    cycles
}

#[cfg(test)]
mod tests {
    use super::cycles;

    #[test]
    fn every_way_round_is_found_and_none_where_there_is_none() {
        assert!(cycles(&[vec![1, 2], vec![2], vec![], vec![0]]).is_empty());
        assert_eq!(cycles(&[vec![0]]), [[0]]);
        assert_eq!(cycles(&[vec![1], vec![2], vec![1]]), [[1, 2]]);
        assert_eq!(cycles(&[vec![1], vec![0], vec![3], vec![2]]), [[0, 1], [2, 3]]);
    }

    #[test]
    fn a_long_chain_and_a_thick_tangle_are_walked_in_bounds() {
        let chain: Vec<Vec<usize>> = (0..100_000).map(|node| vec![(node + 1) % 100_000]).collect();
        assert_eq!(cycles(&chain).len(), 1);
        let tangle: Vec<Vec<usize>> = (0..300).map(|_| (0..300).collect()).collect();
        assert_eq!(cycles(&tangle).len(), super::MOST_CYCLES);
    }
}
