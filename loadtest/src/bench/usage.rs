//! What a process has used, from /proc.

use anyhow::{Context, Result};

/// Linux counts processor time for /proc in hundredths of a second.
const TICK_MICROS: f64 = 10_000.0;

/// Processor time of a process, all its threads, in user and system mode.
#[derive(Clone, Copy, Debug)]
pub struct CpuTime {
    ticks: u64,
}

impl CpuTime {
    pub fn of(pid: Option<u32>) -> Result<Self> {
        Self::read(&format!("/proc/{}/stat", pid.context("the broker runs")?))
    }

    pub fn own() -> Result<Self> {
        Self::read("/proc/self/stat")
    }

    fn read(path: &str) -> Result<Self> {
        let stat = std::fs::read_to_string(path).with_context(|| format!("read {path}"))?;
        // The name in brackets may hold anything; the fields after it are numbered from 3.
        let fields: Vec<_> = stat.rsplit_once(')').context("a stat line")?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).context("a field")?.parse::<u64>().context("a number");
        Ok(Self { ticks: field(14)? + field(15)? })
    }

    pub fn micros_since(self, before: Self) -> f64 {
        (self.ticks - before.ticks) as f64 * TICK_MICROS
    }
}

/// Bytes of memory that a process has of its own, and not of files it maps.
pub fn anonymous_bytes(pid: Option<u32>) -> Result<u64> {
    let path = format!("/proc/{}/status", pid.context("the broker runs")?);
    let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).context("an RssAnon line")?;
    let kib: u64 = line.split_whitespace().nth(1).context("a size")?.parse()?;
    Ok(kib << 10)
}
