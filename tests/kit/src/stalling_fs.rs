//! Compiles `tests/kit/stalling_fs/stalling_fs.c`, a file system that stops answering on
//! demand, and starts programs that see it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use super::playing_host::PATIENCE;
use super::{compile, run, wait_until};

/// A folder that a program sees through the file system.
pub struct StallingFs {
    dir: TempDir,
    folder: PathBuf,
}

impl StallingFs {
    /// Over `folder`; an error where such a file system cannot be mounted here.
    pub fn over(folder: &Path) -> Result<StallingFs, String> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(dir.path().join("mounted")).expect("a mount point");
        let stalling = StallingFs {
            dir,
            folder: folder.to_owned(),
        };
        run(stalling.starter().arg("true"))?;
        Ok(stalling)
    }

    /// Where the program sees the folder.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    /// A command that lacks the program to start.
    pub fn starter(&self) -> Command {
        let mut command = Command::new(program());
        command
            .arg(self.path())
            .arg(&self.folder)
            .arg(self.switch());
        command
    }

    /// From now on nothing is answered.
    pub fn stall(&self) {
        let _ = std::fs::remove_file(self.waiting());
        std::fs::write(self.switch(), "").expect("the folder is ours");
    }

    /// Waits until somebody waits for an answer.
    pub fn wait_until_somebody_waits(&self) {
        wait_until(PATIENCE, "a request that is not answered", || {
            self.waiting().exists()
        });
    }

    /// Whether somebody waits for an answer.
    pub fn somebody_waits(&self) -> bool {
        self.waiting().exists()
    }

    /// All is answered, what waits too.
    pub fn go_on(&self) {
        std::fs::remove_file(self.switch()).expect("it stalls");
    }

    /// From now on no write succeeds, as on a broken disk.
    pub fn break_writes(&self) {
        std::fs::write(self.broken(), "").expect("the folder is ours");
    }

    /// Writes succeed again.
    pub fn mend_writes(&self) {
        std::fs::remove_file(self.broken()).expect("it is broken");
    }

    /// From now on no log can be opened, for want of descriptors of the machine (ENFILE).
    pub fn lack_descriptors(&self) {
        std::fs::write(self.shortage(), "").expect("the folder is ours");
    }

    /// There are descriptors again.
    pub fn have_descriptors(&self) {
        std::fs::remove_file(self.shortage()).expect("there are none");
    }

    fn shortage(&self) -> PathBuf {
        self.dir.path().join("stall.shortage")
    }

    fn broken(&self) -> PathBuf {
        self.dir.path().join("stall.broken")
    }

    fn switch(&self) -> PathBuf {
        self.dir.path().join("stall")
    }

    fn waiting(&self) -> PathBuf {
        self.dir.path().join("stall.waiting")
    }
}

/// Compiled once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| compile("stalling_fs/stalling_fs.c", "stalling_fs", &[]))
}
