//! A file system of a few MiB, in memory, that a test may fill.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A tmpfs that only the processes of [`SmallDisk::command`] see, in a mount namespace of its own,
/// so that nothing has to be unmounted. It goes with the test, however that ends.
pub struct SmallDisk {
    folder: TempDir,
    /// Holds the namespace until its stdin ends.
    keeper: Child,
}

impl SmallDisk {
    /// One of so many MiB; `None`, with a word on stderr, where the host lets nobody but root
    /// mount.
    ///
    /// # Panics
    /// As all of its methods: if the host refuses what it never refuses.
    pub fn mount(mib: u32) -> Option<SmallDisk> {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
        command.arg(format!("mount -t tmpfs -o size={mib}m small \"$0\" && echo ok && exec cat"));
        command.arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = command.spawn().expect("util-linux is everywhere");
        let mut line = String::new();
        let stdout = keeper.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a pipe can be read");
        if line != "ok\n" {
            keeper.wait().expect("a child can be waited for");
            eprintln!("skipped: the host gives no mount namespace");
            return None;
        }
        Some(SmallDisk { folder, keeper })
    }

    /// Where it is mounted, for its processes.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the test itself finds it.
    fn outside(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        root.join(self.path().strip_prefix("/").expect("temporary folders have absolute paths"))
    }

    /// A command of the binary that sees it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = super::plain(Command::new("nsenter"));
        let keeper = self.keeper.id().to_string();
        command.args(["--target", &keeper, "--user", "--mount", "--preserve-credentials", "--"]);
        command.arg(super::binary()).args(arguments);
        command
    }

    /// Fills it to the last page.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.outside().join("filler")).expect("it has an inode");
        while file.write(&[1; 4096]).is_ok_and(|bytes| bytes > 0) {}
    }

    /// Takes back what [`SmallDisk::fill`] took.
    pub fn clear(&self) {
        fs::remove_file(self.outside().join("filler")).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
