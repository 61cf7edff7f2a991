//! Files of a repository, downloaded into a folder. A file is written under its checksum until it is whole and was held
//! against it; then it gets its name. A download that was cut goes on where it stopped, in this process or a later one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use client::Idle;
use http::{StatusCode, header::CONTENT_RANGE};

use crate::{
    Hub, HubError, RemoteFile, Repository, Sum, Workspace,
    exchange::{Fault, Opened, header, unreachable},
};

/// What happens, for those who wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Another process has the same repository in work, and is waited for.
    Waits,
    /// A file is being downloaded: what of it is here.
    Came {
        /// The file.
        file: String,
        /// Bytes that are here, those of earlier tries among them.
        bytes: u64,
        /// Bytes that it has.
        of: u64,
    },
    /// A file is whole, and is what its checksum says.
    Whole {
        /// The file.
        file: String,
        /// Whether it was here already.
        was_here: bool,
    },
    /// Something failed, and is tried again after a while.
    Again {
        /// Why it failed.
        reason: String,
        /// The wait.
        wait: Duration,
    },
}

impl Hub {
    /// Downloads files of a repository. Returns their paths here, in the same order.
    ///
    /// # Errors
    ///
    /// A file can't be had, is not what the repository's list says, or can't be written. What is whole stays, and so does
    /// what came of the others.
    pub async fn download(
        &self,
        from: &Repository,
        files: &[&RemoteFile],
        into: &Workspace,
        tell: &dyn Fn(Progress),
    ) -> Result<Vec<PathBuf>, HubError> {
        let mut found = Vec::with_capacity(files.len());
        for file in files {
            let target = into.file(&file.path);
            let was_here = is_whole(&target, file);
            if !was_here {
                self.download_one(from, file, into, tell).await?;
            }
            tell(Progress::Whole { file: file.path.clone(), was_here });
            found.push(target);
        }
        Ok(found)
    }

    async fn download_one(
        &self,
        from: &Repository,
        file: &RemoteFile,
        into: &Workspace,
        tell: &dyn Fn(Progress),
    ) -> Result<(), HubError> {
        let (partial, target) = (into.partial(&file.sum), into.file(&file.path));
        let (mut failed, mut goes_on) = (0, kept(&partial)? > 0);
        loop {
            let before = kept(&partial)?;
            match self.pour(from, file, &partial, tell).await {
                Ok(()) => {}
                Err(Fault::Stays(error)) => return Err(error),
                Err(Fault::Passes { error, seconds }) => {
                    // A connection that breaks after some bytes has brought these.
                    if kept(&partial)? > before {
                        failed = 0;
                    }
                    self.wait(&mut failed, error, seconds, tell).await?;
                    goes_on = true;
                    continue;
                }
            }
            let found = file.sum.of_file(&partial).map_err(HubError::io(&partial))?;
            if found == file.sum {
                return place(&partial, &target);
            }
            fs::remove_file(&partial).map_err(HubError::io(&partial))?;
            let (found, expected) = (found.to_string(), file.sum.to_string());
            let damaged = HubError::Damaged { file: file.path.clone(), found, expected };
            if !goes_on {
                return Err(damaged);
            }
            // Parts of two tries did not make a whole: once more, from the first byte on.
            goes_on = false;
            tell(Progress::Again { reason: damaged.to_string(), wait: Duration::ZERO });
        }
    }

    /// Asks for what is missing of a file, and writes what comes. Well where all of it is there.
    async fn pour(
        &self,
        from: &Repository,
        file: &RemoteFile,
        partial: &Path,
        tell: &dyn Fn(Progress),
    ) -> Result<(), Fault> {
        let here = kept(partial)?;
        if here == file.bytes && partial.exists() {
            return Ok(());
        }
        let here = if here > file.bytes { 0 } else { here };
        let opened = self.open(from, &file.path, here).await?;
        check_sum(file, opened.linked.as_deref())?;
        let begin = match begin(file, here, opened.status, header(&opened.headers, CONTENT_RANGE.as_str())) {
            Begin::At(begin) => begin,
            Begin::Anew => {
                fs::remove_file(partial).map_err(HubError::io(partial))?;
                let reason = "the hub does not go on where the download stopped".to_owned();
                let error = HubError::Unreachable { what: file.path.clone(), reason };
                return Err(Fault::Passes { error, seconds: Some(0) });
            }
            Begin::Never(reason) => return Err(changed(file, reason)),
        };
        let mut out = open(partial, begin)?;
        let written = self.receive(opened, file, begin, &mut out, tell).await;
        // What came is kept for the next try, also where the rest did not.
        out.sync_all().map_err(HubError::io(partial))?;
        written
    }

    async fn receive(
        &self,
        opened: Opened,
        file: &RemoteFile,
        begin: u64,
        out: &mut File,
        tell: &dyn Fn(Progress),
    ) -> Result<(), Fault> {
        let (mut body, mut idle, mut here) = (opened.body, Idle::new(self.patience.idle), begin);
        let what = &file.path;
        loop {
            let piece = client::next(&mut body, &mut idle).await.map_err(|error| unreachable(what, &error))?;
            let Some(piece) = piece else { break };
            here = here.saturating_add(piece.len() as u64);
            if here > file.bytes {
                return Err(changed(file, format!("it has more than {} bytes", file.bytes)));
            }
            out.write_all(&piece).map_err(|source| HubError::Io { path: what.into(), source })?;
            tell(Progress::Came { file: what.clone(), bytes: here, of: file.bytes });
        }
        if here == file.bytes {
            return Ok(());
        }
        let reason = format!("it ended after {here} of {} bytes", file.bytes);
        Err(Fault::Passes { error: HubError::Unreachable { what: what.clone(), reason }, seconds: None })
    }
}

/// Where an answer's bytes belong.
#[derive(Debug, PartialEq, Eq)]
enum Begin {
    /// From this byte on.
    At(u64),
    /// Nowhere: what is here must go, and the whole be asked for.
    Anew,
    /// Nowhere: it is another file.
    Never(String),
}

/// Where the bytes of an answer belong that was asked for from a byte on.
fn begin(file: &RemoteFile, asked: u64, status: StatusCode, range: Option<&str>) -> Begin {
    match status {
        StatusCode::PARTIAL_CONTENT => match range.and_then(read_range) {
            Some((_, Some(total))) if total != file.bytes => {
                Begin::Never(format!("it has {total} bytes, not {}", file.bytes))
            }
            Some((first, _)) if first == asked => Begin::At(asked),
            Some(_) | None if asked > 0 => Begin::Anew,
            Some(_) | None => Begin::Never("a part came that was not asked for".to_owned()),
        },
        StatusCode::RANGE_NOT_SATISFIABLE if asked > 0 => Begin::Anew,
        StatusCode::OK => Begin::At(0),
        other => Begin::Never(format!("it came with status {other}")),
    }
}

/// The first byte of a `Content-Range`, and the size of the whole where it is told (RFC 9110, section 14.4).
fn read_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((first.parse().ok()?, total))
}

/// Refuses a file whose checksum the hub tells otherwise than its list did, before any of it comes.
fn check_sum(file: &RemoteFile, linked: Option<&str>) -> Result<(), Fault> {
    let told = linked.and_then(|linked| match file.sum {
        Sum::Sha256(_) => Sum::of_sha256(linked),
        Sum::Git(_) => Sum::of_git(linked),
    });
    match told {
        Some(told) if told != file.sum => Err(changed(file, format!("the hub has {told} now, not {}", file.sum))),
        Some(_) | None => Ok(()),
    }
}

fn changed(file: &RemoteFile, reason: String) -> Fault {
    Fault::Stays(HubError::Changed { file: file.path.clone(), reason })
}

/// Bytes of a file that is perhaps there.
fn kept(path: &Path) -> Result<u64, HubError> {
    match fs::symlink_metadata(path) {
        Ok(data) if data.is_file() => Ok(data.len()),
        Ok(_) => Err(HubError::io(path)(io::Error::other("it is no file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(HubError::io(path)(error)),
    }
}

/// Whether a file is here whole.
fn is_whole(path: &Path, file: &RemoteFile) -> bool {
    kept(path).is_ok_and(|bytes| bytes == file.bytes) && file.sum.of_file(path).is_ok_and(|found| found == file.sum)
}

/// Opens a file to write from a byte on; what is behind it goes.
fn open(path: &Path, begin: u64) -> Result<File, HubError> {
    let file = OpenOptions::new().append(true).create(true).open(path).map_err(HubError::io(path))?;
    file.set_len(begin).map_err(HubError::io(path))?;
    Ok(file)
}

/// Gives a whole file its name.
fn place(partial: &Path, target: &Path) -> Result<(), HubError> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(HubError::io(folder))?;
    }
    fs::rename(partial, target).map_err(HubError::io(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_belong_where_the_answer_says_or_nowhere() {
        let file = RemoteFile { path: "f".into(), bytes: 100, sum: Sum::Git("0".repeat(40)) };
        let of =
            |asked, status: u16, range: Option<&str>| begin(&file, asked, StatusCode::from_u16(status).unwrap(), range);
        assert_eq!(of(0, 200, None), Begin::At(0));
        assert_eq!(of(40, 200, None), Begin::At(0), "a server without ranges gives all");
        assert_eq!(of(40, 206, Some("bytes 40-99/100")), Begin::At(40));
        assert_eq!(of(40, 206, Some("bytes 40-99/*")), Begin::At(40));
        assert_eq!(of(40, 206, Some("bytes 41-99/100")), Begin::Anew);
        assert_eq!(of(40, 206, None), Begin::Anew);
        assert_eq!(of(40, 416, Some("bytes */100")), Begin::Anew);
        assert!(matches!(of(40, 206, Some("bytes 40-119/120")), Begin::Never(_)), "another file");
        assert!(matches!(of(0, 206, None), Begin::Never(_)));
        assert!(matches!(of(0, 416, None), Begin::Never(_)));
        assert!(matches!(of(0, 204, None), Begin::Never(_)));
        for wrong in ["bytes", "bytes 1/2", "octets 1-2/3", "bytes x-2/3", "bytes 1-2/x"] {
            assert_eq!(read_range(wrong), None, "{wrong}");
        }
    }
}
