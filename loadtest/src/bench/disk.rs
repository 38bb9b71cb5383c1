//! What a folder takes on disk.

use std::path::Path;

use anyhow::Result;

pub fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(meta) if meta.is_dir() => folder_bytes(&entry.path())?,
            Ok(meta) => meta.len(),
            // Removed while we looked.
            Err(_) => 0,
        };
    }
    Ok(bytes)
}
