//! Whether this host can run a node, and how well: each check with what was found and a remedy.
//!
//! Reading the host ([`Host::read`]) and judging it are apart, so every judgement is tested
//! without the host that deserves it. A check that cannot be made is a warning, never a failure.

use comfy_table::{ContentArrangement, Table, presets};

use crate::args::DoctorArgs;
use crate::failure::{Exit, Failure};
use crate::output::print_line;
use host::Host;
use ringmain_runtime::sys;

mod checks;
mod host;
mod pools;

pub(crate) use host::usable_cpus;

/// How good a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Grade {
    /// As it should be.
    Ok,
    /// A node starts, and something is worse than it need be.
    Warn,
    /// A node does not start.
    Fail,
}

/// One check's result.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Finding {
    check: &'static str,
    grade: Grade,
    found: String,
    /// What to do; empty when there is nothing to do.
    remedy: &'static str,
}

/// Prints all findings; fails if one of them does.
pub(crate) fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let host = Host::read(&args.data_dir);
    let findings = checks::all(&host);
    print_line(&table(&findings).to_string())?;
    print_line("\npools, fixed at the start of a node with the default settings:")?;
    print_line(&pools::table(host.cpus.len()).to_string())?;
    match findings.iter().filter(|finding| finding.grade == Grade::Fail).count() {
        0 => Ok(()),
        count => Err(Failure::new(
            Exit::Host,
            format!("{count} of {} checks failed", findings.len()),
            "follow the remedies above",
        )),
    }
}

/// Makes this process fit to run a node, or refuses a host on which it cannot run; the first
/// failing check names the remedy. Call it before any other thread exists.
pub(crate) fn require(data_dir: &std::path::Path) -> Result<(), Failure> {
    let findings = checks::all(&Host::read(data_dir));
    match findings.iter().find(|finding| finding.grade == Grade::Fail) {
        None => {
            // Without it glommio registers when it first parks, and takes longer.
            let _slow = sys::register_membarrier();
            sys::return_large_buffers();
            Ok(())
        }
        Some(failed) => {
            let what = format!("{}: {}", failed.check, failed.found);
            Err(Failure::new(Exit::Host, what, failed.remedy))
        }
    }
}

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    if table.is_tty() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    for finding in findings {
        let grade = match finding.grade {
            Grade::Ok => "ok",
            Grade::Warn => "warn",
            Grade::Fail => "fail",
        };
        table.add_row([grade, finding.check, &finding.found, finding.remedy]);
    }
    table
}

#[cfg(test)]
mod tests;
