//! The binaries that tests start: the shipped one, and one that differs from it by one version of
//! the wire protocol, for upgrades. Both are built in one target directory, so that they share what
//! they depend on, and are put aside from there.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::{plain, target_dir};

/// Which `ringmain`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Build {
    /// As it is shipped.
    Newest,
    /// Of the version of the wire protocol before.
    Older,
}

impl Build {
    /// Its binary; the first call of a test run builds it.
    ///
    /// # Panics
    /// If it does not build, with the compiler's words.
    pub fn binary(self) -> &'static Path {
        static BINARIES: [OnceLock<PathBuf>; 2] = [const { OnceLock::new() }; 2];
        BINARIES[self as usize].get_or_init(|| self.build())
    }

    /// A command of the binary, without settings from this process's environment.
    pub fn command(self, arguments: &[&str]) -> Command {
        let mut command = plain(Command::new(self.binary()));
        command.args(arguments);
        command
    }

    /// The lock keeps two builds, also of two test runs, from taking each other's binary.
    fn build(self) -> PathBuf {
        let target = target_dir().join("process");
        let (folder, features) = match self {
            Build::Newest => (target.join("newest"), ""),
            Build::Older => (target.join("older"), "wire-older"),
        };
        fs::create_dir_all(&folder).expect("a folder can be made in the target directory");
        let lock = File::create(target.join("lock")).expect("a file can be made there");
        lock.lock().expect("it can be locked");
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--package", "ringmain", "--features", features]);
        build.arg("--target-dir").arg(&target);
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        let output = build.output().expect("the cargo that runs the tests can be run again");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ringmain does not build:\n{words}");
        // Another test run may be starting the one that is there.
        let (fresh, binary) = (folder.join("fresh"), folder.join("ringmain"));
        fs::copy(target.join("debug/ringmain"), &fresh).expect("a file can be copied");
        fs::rename(&fresh, &binary).expect("it can be renamed");
        binary
    }
}
