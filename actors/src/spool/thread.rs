//! The thread that writes the file of captures: all that waits to be written, then one sync, then the answers.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, mpsc::Receiver},
};

use billing::{
    entry::UsageRecord,
    ids::{AccountId, RequestId},
};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    Capture, NotSpooled, Waiting,
    frames::{self, FIRST, Frame},
};

/// The beginning and the end of a file's name.
const NAME: (&str, &str) = ("captures-", ".spool");
/// The most orders that are carried out with one sync.
const AT_ONCE: usize = 1_024;

/// What the thread is to do.
#[derive(Debug)]
pub(super) enum Order {
    /// A capture waits.
    Put(AccountId, Arc<UsageRecord>, oneshot::Sender<Result<(), NotSpooled>>),
    /// A capture is over.
    Over(RequestId),
    /// Look for files of processes that are gone.
    TakeOver,
}

/// The file, locked as long as it is open.
#[derive(Debug)]
struct Own {
    file: File,
    path: PathBuf,
    bytes: u64,
}

/// The thread's own.
#[derive(Debug)]
pub(super) struct Thread {
    folder: PathBuf,
    most_bytes: u64,
    /// What waits: nobody but this thread adds to it, once it is on disk.
    waiting: Arc<Waiting>,
    own: Option<Own>,
}

impl Thread {
    pub(super) const fn new(folder: PathBuf, most_bytes: u64, waiting: Arc<Waiting>) -> Self {
        Self { folder, most_bytes, waiting, own: None }
    }

    /// Takes over what processes left that are gone: it is in the own file then, and theirs is removed.
    pub(super) fn take_over(&mut self) -> io::Result<()> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            // What is wrong there is told once something is to wait.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_own = self.own.as_ref().is_some_and(|own| own.path == path);
            if name.starts_with(NAME.0) && name.ends_with(NAME.1) && !is_own {
                self.take_over_one(&path)?;
            }
        }
        Ok(())
    }

    fn take_over_one(&mut self, path: &Path) -> io::Result<()> {
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            // Another process took it over.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if file.try_lock().is_err() {
            // Its process lives.
            return Ok(());
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let Some(frames::Read { waiting, torn }) = frames::read(&bytes) else {
            tracing::error!(file = %path.display(), "this is no file of captures that this version can read; it stays");
            return Ok(());
        };
        if torn > 0 {
            tracing::warn!(file = %path.display(), bytes = torn, "the end of a file of captures was not whole");
        }
        let mut all = Vec::new();
        for (account_id, record) in waiting.values() {
            Frame::Waits(*account_id, Box::new(record.clone())).write(&mut all).ok_or_else(too_long)?;
        }
        if !all.is_empty() {
            self.append(&all)?;
            tracing::warn!(file = %path.display(), captures = waiting.len(), "captures of a process that is gone wait");
        }
        self.waiting.change(|captures| {
            captures.extend(waiting.into_iter().map(|(id, (account_id, record))| (id, (account_id, record.into()))));
        });
        fs::remove_file(path)
    }

    /// Carries out orders until nobody gives any.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        while let Ok(first) = orders.recv() {
            let orders: Vec<Order> = std::iter::once(first).chain(orders.try_iter().take(AT_ONCE)).collect();
            self.carry_out(orders);
        }
        // A file in which nothing waits is not left behind.
        if let Some(own) = self.own.take_if(|own| own.bytes <= FIRST.len() as u64) {
            let _ = fs::remove_file(&own.path);
        }
    }

    fn carry_out(&mut self, orders: Vec<Order>) {
        let (mut bytes, mut put): (Vec<u8>, Vec<(Capture, oneshot::Sender<_>)>) = (Vec::new(), Vec::new());
        // Nobody else adds to what waits: where nothing does, nothing in the file is needed, and it begins anew.
        let is_new = self.waiting.look(BTreeMap::is_empty);
        if is_new && let Err(error) = self.begin_anew() {
            tracing::error!(%error, folder = %self.folder.display(), "the file of captures can't begin anew");
        }
        for order in orders {
            match order {
                Order::Put(account_id, record, reply) => {
                    let taken = self.own.as_ref().map_or(0, |own| own.bytes) + bytes.len() as u64;
                    let frame = Frame::Waits(account_id, Box::new((*record).clone()));
                    let refused = if taken > self.most_bytes {
                        Some(NotSpooled::Full)
                    } else {
                        frame.write(&mut bytes).is_none().then(|| NotSpooled::Unwritten(too_long().to_string()))
                    };
                    match refused {
                        // Who asked may be gone.
                        Some(refused) => drop(reply.send(Err(refused))),
                        None => put.push(((account_id, record), reply)),
                    }
                }
                Order::Over(_) if is_new => {}
                // Such a frame is never too long.
                Order::Over(request_id) => drop(Frame::Over(request_id).write(&mut bytes)),
                Order::TakeOver => {
                    if let Err(error) = self.take_over() {
                        tracing::error!(%error, "captures of processes that are gone can't be taken over");
                    }
                }
            }
        }
        let written = if bytes.is_empty() { Ok(()) } else { self.append(&bytes) };
        let written = written.map_err(|error| NotSpooled::Unwritten(error.to_string()));
        if let Err(error) = &written {
            tracing::error!(%error, folder = %self.folder.display(), "captures can't wait");
        }
        for (capture, reply) in put {
            if written.is_ok() {
                self.waiting.change(|captures| captures.insert(capture.1.request_id, capture));
            }
            let _ = reply.send(written.clone());
        }
    }

    /// Appends whole frames, and syncs. What could not be written whole is cut off again: nothing may follow it.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let own = match &mut self.own {
            Some(own) => own,
            none => none.insert(Own::create(&self.folder)?),
        };
        let written = own.file.write_all(bytes).and_then(|()| own.file.sync_data());
        match written {
            Ok(()) => own.bytes += bytes.len() as u64,
            // A file that can't be mended either is left as it is, and another one begins.
            Err(_) if own.cut(own.bytes).is_err() => self.own = None,
            Err(_) => {}
        }
        written
    }

    /// Nothing waits any more.
    fn begin_anew(&mut self) -> io::Result<()> {
        match &mut self.own {
            Some(own) if own.bytes > FIRST.len() as u64 => own.cut(FIRST.len() as u64),
            Some(_) | None => Ok(()),
        }
    }
}

fn too_long() -> io::Error {
    io::Error::other("a capture is too long")
}

impl Own {
    fn create(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let (mut file, path) = loop {
            let path = folder.join([NAME.0, &Uuid::new_v4().simple().to_string(), NAME.1].concat());
            let file = OpenOptions::new().create_new(true).append(true).open(&path)?;
            file.lock()?;
            // Before it was locked, another process may have taken it for one that was left.
            if file.metadata()?.nlink() > 0 {
                break (file, path);
            }
        };
        file.write_all(FIRST)?;
        file.sync_all()?;
        // The name is on disk, too.
        File::open(folder)?.sync_all()?;
        Ok(Self { file, path, bytes: FIRST.len() as u64 })
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.file.sync_all()?;
        self.bytes = bytes;
        Ok(())
    }
}
