//! Measures infissi beside the programs that do the same work. `benches/README.md` says how and what came out.
//!
//! `cargo bench --bench peers [-- SECTION… PEER…]`: of the sections `list apps respawn flood` and the peers those named,
//! else all; we ourselves, and `tee`, are always there.

#![expect(clippy::disallowed_methods, reason = "it measures real time, and runs the programs that it measures")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that cannot be made ends the run")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the table is its result, the rest its progress")]

mod apps;
mod bare;
mod figures;
mod flood;
mod infissi;
mod list;
mod peer;
mod pm2;
mod process;
mod producer;
mod respawn;
mod supervisord;
mod workshop;

use figures::Table;
use workshop::Workshop;

/// Sections that can be asked for by name.
type Section = (&'static str, fn(&Workshop) -> Vec<Table>);

const SECTIONS: [Section; 4] =
    [("list", list::measure), ("apps", apps::measure), ("respawn", respawn::measure), ("flood", flood::measure)];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--bench")).collect();
    if let [role, dir] = words.as_slice()
        && role == producer::ROLE
    {
        return producer::run(dir.as_ref());
    }
    let (sections, peers): (Vec<String>, Vec<String>) =
        words.into_iter().partition(|word| SECTIONS.iter().any(|(name, _)| name == word));
    let workshop = Workshop::set_up(&peers);
    let mut tables = Vec::new();
    let wanted = |name: &str| sections.is_empty() || sections.iter().any(|section| section == name);
    for (name, measure) in SECTIONS.into_iter().filter(|(name, _)| wanted(name)) {
        eprintln!("measuring {name} …");
        tables.extend(measure(&workshop));
    }
    for table in tables {
        println!("\n{table}");
    }
}
