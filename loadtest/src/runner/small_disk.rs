//! A disk that is soon full.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::skipped;

/// A file system of a size that can be changed, in memory. Only root may mount one. Unmounted when it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one at this folder, which is made; none, and says so, where that is not permitted.
    pub fn mount(folder: &Path, bytes: u64) -> Result<Option<Self>> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let size = format!("size={bytes},mode=700");
        match Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).output() {
            Ok(output) if output.status.success() => Ok(Some(Self { folder: folder.to_owned() })),
            refused => {
                let why = refused.map(|output| String::from_utf8_lossy(&output.stderr).trim().to_owned());
                skipped(&format!("a test of a full disk needs to mount a tmpfs, and may not: {why:?}"));
                Ok(None)
            }
        }
    }

    /// How much of it is taken.
    pub fn used_bytes(&self) -> Result<u64> {
        let output = Command::new("df").args(["--block-size=1", "--output=used"]).arg(&self.folder).output()?;
        let table = String::from_utf8_lossy(&output.stdout).into_owned();
        let used = table.lines().nth(1).with_context(|| format!("df says {table:?}"))?;
        used.trim().parse().context("a number of bytes")
    }

    pub fn resize(&self, bytes: u64) -> Result<()> {
        let size = format!("remount,size={bytes}");
        let output = Command::new("mount").args(["-o", &size]).arg(&self.folder).output()?;
        ensure!(output.status.success(), "resize: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, in case somebody still looks at it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}
