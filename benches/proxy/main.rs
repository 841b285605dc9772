//! Measures our proxy worker beside nginx and HAProxy. `benches/README.md` says how and what came out.
//!
//! `cargo bench --bench proxy [-- SECTION… PROXY…]`: of the sections `small large pace idle` and the proxies
//! `infissi nginx HAProxy` those named, else all. A word with a slash is another build of infissi-supervisord.

#![expect(clippy::disallowed_methods, reason = "it measures real time, and runs the programs that it measures")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that cannot be made ends the run")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the table is its result, the rest its progress")]

mod client;
#[path = "../peers/figures.rs"]
#[expect(dead_code, reason = "what else the supervisors' measurements make of a figure")]
mod figures;
mod haproxy;
mod idle;
mod infissi;
mod load;
mod nginx;
mod origin;
mod pace;
#[path = "../peers/process.rs"]
#[expect(dead_code, reason = "what else the supervisors' measurements ask of a process")]
mod process;
mod proxy;
mod throughput;
mod traffic;
mod yard;

use figures::Table;
use yard::Yard;

/// Sections that can be asked for by name.
type Section = (&'static str, fn(&mut Yard) -> Vec<Table>);

const SECTIONS: [Section; 4] =
    [("small", throughput::small), ("large", throughput::large), ("pace", pace::measure), ("idle", idle::measure)];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--bench")).collect();
    let (sections, proxies): (Vec<String>, Vec<String>) =
        words.into_iter().partition(|word| SECTIONS.iter().any(|(name, _)| name == word));
    let mut yard = Yard::set_up(&proxies);
    let wanted = |name: &str| sections.is_empty() || sections.iter().any(|section| section == name);
    let mut tables = Vec::new();
    for (name, measure) in SECTIONS.into_iter().filter(|(name, _)| wanted(name)) {
        eprintln!("measuring {name} …");
        tables.extend(measure(&mut yard));
    }
    for table in tables {
        println!("\n{table}");
    }
}
