//! How much room a disk has, asked before anything large is written.

use std::path::Path;

use crate::HubError;

/// Bytes that this user may still write to the disk of a folder.
///
/// # Errors
///
/// The folder is not there, or its system does not tell.
pub fn free(folder: &Path) -> Result<u64, HubError> {
    let found = rustix::fs::statvfs(folder).map_err(|error| HubError::io(folder)(error.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Refuses what does not fit a folder's disk.
///
/// # Errors
///
/// There is no room ([`NoRoom`](HubError::NoRoom)), or the disk does not tell.
pub fn check_room(folder: &Path, needed: u64, what: &str) -> Result<(), HubError> {
    let free = free(folder)?;
    if needed <= free {
        return Ok(());
    }
    Err(HubError::NoRoom { path: folder.to_owned(), free, needed, what: what.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_both_numbers() {
        let folder = std::env::temp_dir();
        assert!(check_room(&folder, 1, "a byte").is_ok());
        let told = check_room(&folder, u64::MAX, "all there is").unwrap_err().to_string();
        assert!(told.contains(&u64::MAX.to_string()) && told.contains("all there is"), "{told}");
        assert!(free(&folder.join("nobody/here")).is_err());
    }
}
