//! The counts that are expected, in `counts.toml`.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use serde::Deserialize;

use crate::callgrind::count;
use crate::steps::PATHS;

/// How far a count may be off, as a part of what is expected.
const OFF_MAX: f64 = 0.05;

/// The head of the file.
const HEAD: &str = "\
# Instructions that each hot path of ringmain-core takes when it is gone through once, as
#     cargo bench -p ringmain-benches --bench counts -- write
# counts them; `-- check` fails where one is 5 % off. Its names are those of the times that
#     cargo bench -p ringmain-benches --bench core
# measures. They hold for the profile that `cargo bench` takes (that of the release: opt-level 3,
# LTO over all crates, one codegen unit), for this instruction set without any extension that not
# all of its CPUs have, but for CRC-32C, and for this compiler: another one may need new counts.
";

/// What the file says.
#[derive(Debug, Deserialize)]
struct Expected {
    compiler: String,
    instruction_set: String,
    instructions: BTreeMap<String, f64>,
}

/// Counts the paths whose name holds `filter`, and tells where they differ from what is expected.
pub(crate) fn check(filter: &str) -> ExitCode {
    let text = std::fs::read_to_string(file()).expect("counts.toml lies beside this bench");
    let expected: Expected = toml::from_str(&text).expect("`write` wrote it");
    if expected.instruction_set != ARCH {
        println!("counts: skipped: counts.toml is of {}", expected.instruction_set);
        return ExitCode::SUCCESS;
    }
    let paths: Vec<&str> =
        PATHS.iter().map(|(path, _)| *path).filter(|path| path.contains(filter)).collect();
    let mut wrong = Vec::new();
    for (path, got) in paths.iter().zip(count(&paths)) {
        let Some(expected) = expected.instructions.get(*path) else {
            wrong.push(format!("{path}: counts.toml does not have it, got {got:.1}"));
            continue;
        };
        let off = got / expected - 1.0;
        let line = format!("{path}: expected {expected:.1}, got {got:.1} ({:+.1} %)", 100.0 * off);
        println!("{line}");
        if off.abs() > OFF_MAX {
            wrong.push(line);
        }
    }
    let is_known = |name: &&String| PATHS.iter().any(|(path, _)| path == name);
    let gone = expected.instructions.keys().filter(|name| !is_known(name));
    wrong.extend(gone.map(|name| format!("{name}: counts.toml has it, and there is no such path")));
    if wrong.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("counts: instructions differ from what counts.toml expects:");
    wrong.iter().for_each(|line| eprintln!("  {line}"));
    let compiler = compiler();
    if compiler != expected.compiler {
        eprintln!("  counts.toml is of {}, and this is {compiler}", expected.compiler);
    }
    eprintln!("If that is meant: cargo bench -p ringmain-benches --bench counts -- write");
    ExitCode::FAILURE
}

/// Counts all paths, and writes down what came out.
pub(crate) fn write() -> ExitCode {
    let paths = PATHS.map(|(path, _)| path);
    let mut text = format!("{HEAD}compiler = \"{}\"\n", compiler());
    let _fits = write!(text, "instruction_set = \"{ARCH}\"\n\n[instructions]\n");
    for (path, got) in paths.iter().zip(count(&paths)) {
        let _fits = writeln!(text, "\"{path}\" = {got:.1}");
    }
    std::fs::write(file(), &text).expect("counts.toml can be written");
    print!("{text}");
    ExitCode::SUCCESS
}

fn file() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "counts.toml"].iter().collect()
}

/// The compiler that is called by default, which built this.
fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let words = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    words.unwrap_or_else(|_| "an unknown compiler".into())
}
