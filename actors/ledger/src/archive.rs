//! The log's archive: a folder with the log's older rows in compressed files, and [`manifest`], which lists them. Rows are
//! copied beside a running owner; they leave the log only when nobody owns it, and when the files that have them were read
//! back whole. What stays in their place is a signed [`checkpoint`]: the log begins at its row, which stays, and the balances
//! of all accounts at that row are part of what is signed.
//!
//! Killed at any moment, nothing is lost: a file counts once the manifest has it, rows go in the transaction that writes the
//! checkpoint, and a further run goes on from there.

mod balances;
pub(crate) mod checkpoint;
mod file;
mod manifest;
mod retire;

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

use billing::Timestamp;

use self::manifest::{Listed, Manifest};
use super::{
    Ledger, LedgerError,
    backup::files,
    catch_up,
    log::{
        Head, Row, Shard,
        chain::{self, Broken},
        read::Reader,
    },
};

pub use self::retire::{Retired, retire};

/// Rows that are read of the log at once.
const PAGE: usize = 256;
/// The bytes of rows after which a file is complete.
const LARGEST: usize = 16 * 1024 * 1024;

/// Signs the content of a checkpoint.
pub type Sign<'a> = &'a (dyn Fn(&str) -> String + Send + Sync);

/// Opens what was signed, or says why it is not trusted.
pub type Open<'a> = &'a (dyn Fn(&str) -> Result<String, String> + Send + Sync);

/// An archive, and how far it goes.
#[derive(Debug)]
pub struct Archive {
    folder: PathBuf,
    manifest: Manifest,
    /// The last row of each shard that may leave its log.
    until: BTreeMap<Shard, u64>,
    written: u64,
    /// Locks the folder: a second run beside this one would write another list.
    _turn: File,
}

impl Archive {
    /// Copies the rows that the tables have, and that were made up to a time, from the log of an address into a folder: a new
    /// one, an empty one, or one that has the rows before. The ledger may be in use, and nobody notices.
    ///
    /// # Errors
    ///
    /// [`LedgerError::NoLedger`] if there is no ledger. [`LedgerError::Unusable`] if it has no log, if the folder is something
    /// else or another log's, if rows are missing between it and the log, or if a file can't be written or is not read back
    /// as it was written. What the folder had before is as it was.
    pub async fn copy(url: &str, folder: &Path, made_until: Timestamp) -> Result<Self, LedgerError> {
        let ledger = Ledger::for_reading(url).await?;
        let (mut places, mut until) = (BTreeMap::new(), BTreeMap::new());
        for shard in ledger.shards.all() {
            places.extend(ledger.place(shard).await?.map(|place| (shard, place)));
        }
        let log = ledger.logged.as_ref().filter(|_| places.len() == usize::from(ledger.shards.count()));
        let log = log.ok_or_else(|| {
            let why = "the ledger was last served by a version without a log: serve it once with this one";
            LedgerError::Unusable(why.into())
        })?;
        for (shard, place) in places {
            let later = log.first_after(shard, made_until).await?;
            until.insert(shard, later.map_or(place.seq, |later| later.saturating_sub(1).min(place.seq)));
        }
        drop(Manifest::begin(folder)?);
        let taken = format!("another archive runs into {}: wait for its end", folder.display());
        let turn = files::take_turn(File::open(folder), folder, LedgerError::Unusable(taken))?;
        let manifest = Manifest::read(folder)?;
        let mut archive = Self { folder: folder.to_owned(), manifest, until: until.clone(), written: 0, _turn: turn };
        for (shard, until) in until {
            let (first, mut head) = archive.next(log, shard, until).await?;
            let mut page = Vec::from_iter(first);
            while head.is_none_or(|head| head.seq < until) || !page.is_empty() {
                head = Some(archive.write_file(log, (shard, until), head, std::mem::take(&mut page)).await?);
            }
        }
        Ok(archive)
    }

    /// The number of rows that this copy added.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// The first and the last row of each shard that the archive has rows of.
    pub fn rows(&self) -> BTreeMap<Shard, (u64, u64)> {
        let mut rows = BTreeMap::new();
        for file in &self.manifest.files {
            rows.entry(Shard(file.shard)).or_insert((file.first, file.end.seq)).1 = file.end.seq;
        }
        rows
    }

    /// The size of all files.
    pub fn bytes(&self) -> u64 {
        self.manifest.files.iter().map(|file| file.content.bytes).sum()
    }

    /// The row with which the archive goes on: the log's first one, or the one after its own last one, which is known.
    async fn next(&self, log: &Reader, shard: Shard, until: u64) -> Result<(Option<Row>, Option<Head>), LedgerError> {
        let begin = log.checkpoint(shard).await?.map_or(0, |kept| kept.head.seq);
        let Some(end) = self.manifest.end(shard) else {
            let first = log.row(shard, begin).await?.ok_or(Broken::Gap { after: begin, found: begin })?;
            chain::check(&first)?;
            // A log that begins after the time has nothing to archive.
            return Ok(if first.seq > until { (None, Some(first.head())) } else { (Some(first), None) });
        };
        let folder = self.folder.display();
        match log.row(shard, end.seq).await? {
            Some(row) if row.hash == end.hash => Ok((None, Some(end))),
            Some(_) => Err(LedgerError::Unusable(format!("the archive in {folder} is another log's"))),
            None if end.seq < begin => Err(LedgerError::Unusable(format!(
                "the archive in {folder} ends at row {}, and the log begins at row {begin}: use the archive that has the rows \
                 between, or another folder",
                end.seq
            ))),
            None => Err(LedgerError::Unusable(format!(
                "the archive in {folder} has row {}, and the log has not: it is another log's, or the log is older",
                end.seq
            ))),
        }
    }

    /// Writes one file of the rows after `head` that may be archived, beginning with rows that were read already.
    async fn write_file(
        &mut self,
        log: &Reader,
        (shard, until): (Shard, u64),
        head: Option<Head>,
        read: Vec<Row>,
    ) -> Result<Head, LedgerError> {
        let (mut head, mut writing) = (head, file::Writing::new(shard));
        for row in read {
            head = Some(row.head());
            writing.add(&row);
        }
        while let Some(at) = head.filter(|at| at.seq < until && writing.bytes() < LARGEST) {
            let rows = log.read(shard, at.seq, PAGE).await?;
            if rows.is_empty() {
                return Err(Broken::Gap { after: at.seq, found: until }.into());
            }
            let mut next = at;
            for row in rows.iter().take_while(|row| row.seq <= until) {
                if writing.bytes() >= LARGEST {
                    break;
                }
                next = chain::follow(next, row)?;
                writing.add(row);
            }
            head = Some(next);
        }
        let end = head.ok_or(Broken::Gap { after: 0, found: 0 })?;
        if let Some(content) = writing.finish() {
            self.written += content.rows;
            self.keep(&content)?;
        }
        Ok(end)
    }

    /// Makes a file durable, reads it back, and lists it.
    fn keep(&mut self, made: &file::Made) -> Result<(), LedgerError> {
        let name = format!("log-{}-{:012}-{:012}.zst", made.shard.0, made.first, made.end.seq);
        let path = self.folder.join(&name);
        files::write(&path, &made.bytes)?;
        let listed = Listed::new(name, made, files::content_of(&path)?);
        file::check(&self.folder, &listed, self.manifest.end(made.shard))?;
        self.manifest.files.push(listed);
        self.manifest.write(&self.folder)
    }
}

/// Reads all rows of a shard in an archive: every file is there, is what was written, and follows the one before. Each row
/// is given to `each` once it was checked. Returns the number of the first row, and the end; `None` if there are none.
///
/// # Errors
///
/// [`LedgerError::Unusable`]: the archive is not whole, and why.
pub(crate) fn read_whole(
    folder: &Path,
    shard: Shard,
    mut each: impl FnMut(&Row) -> Result<(), LedgerError>,
) -> Result<Option<(u64, Head)>, LedgerError> {
    let manifest = Manifest::read(folder)?;
    let mut ends = None::<(u64, Head)>;
    for listed in manifest.of_shard(shard) {
        let end = file::read(folder, listed, ends.map(|(_, end)| end), &mut each)?;
        ends = Some((ends.map_or(listed.first, |(first, _)| first), end));
    }
    Ok(ends)
}

/// A shard's rows of an archive in order, a file at a time. Each file is checked when it is read.
#[derive(Debug)]
pub(crate) struct Pages {
    folder: PathBuf,
    files: std::vec::IntoIter<Listed>,
    end: Option<Head>,
}

impl Pages {
    /// A shard's rows, from the archive's first one.
    pub(crate) fn of(folder: &Path, shard: Shard) -> Result<Self, LedgerError> {
        let files = Manifest::read(folder)?.of_shard(shard).cloned().collect::<Vec<_>>().into_iter();
        Ok(Self { folder: folder.to_owned(), files, end: None })
    }

    /// The rows of the next file; `None` after the last one.
    pub(crate) fn next_page(&mut self) -> Result<Option<Vec<Row>>, LedgerError> {
        let Some(listed) = self.files.next() else { return Ok(None) };
        let mut rows = Vec::new();
        let end = file::read(&self.folder, &listed, self.end, &mut |row| {
            rows.push(row.clone());
            Ok(())
        })?;
        self.end = Some(end);
        Ok(Some(rows))
    }
}

/// A row of a shard in an archive; `None` if it has no such row.
///
/// # Errors
///
/// [`LedgerError::Unusable`]: the file that has it is not there, or is not what was written.
pub(crate) fn find(folder: &Path, shard: Shard, seq: u64) -> Result<Option<Row>, LedgerError> {
    let manifest = Manifest::read(folder)?;
    let (mut before, mut its) = (None, None);
    for file in manifest.of_shard(shard) {
        if (file.first..=file.end.seq).contains(&seq) {
            its = Some(file);
            break;
        }
        before = Some(file.end);
    }
    let Some(file) = its else { return Ok(None) };
    let mut found = None;
    file::read(folder, file, before, &mut |row| {
        if row.seq == seq {
            found = Some(row.clone());
        }
        Ok(())
    })?;
    Ok(found)
}

/// The system's time, so many days ago.
pub fn days_ago(days: u32) -> Timestamp {
    catch_up::now().plus_ms(-i64::from(days) * billing::time::DAY_MS)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Opening;

    /// A ledger with so many large rows, whose tables are at the last one, and which nobody owns any more.
    async fn with_large_rows(count: u64) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/ledger.db", folder.path().display());
        let ledger = Ledger::open(&url, &Opening::default()).await.unwrap();
        let mut tail = ledger.tails()[0];
        for n in 0..count {
            let body = vec![u8::try_from(n % 200).unwrap(); 3 << 20];
            let row = chain::next(Shard::FIRST, tail.head, tail.epoch, Timestamp(1), body);
            tail.advance(&row);
            assert!(ledger.append(&[row]).await.unwrap().is_empty());
        }
        // As if they had been projected: what is archived is not looked into.
        let sql = "UPDATE projection SET seq = ?, hash = ?";
        let values = [tail.head.seq.into(), tail.head.hash.to_vec().into()];
        ledger.tables.execute_raw(ledger.statement(sql, values)).await.unwrap();
        ledger.close().await.unwrap();
        drop(ledger);
        (folder, url)
    }

    /// Retires rows, once the ledger that was dropped has been given back.
    async fn retired(url: &str, archive: &mut Archive) -> Vec<Retired> {
        for _ in 0..500 {
            match retire(url, archive, &|content| format!("signed {content}")).await {
                Err(LedgerError::Owned(_)) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                done => return done.unwrap(),
            }
        }
        panic!("the ledger is not given back");
    }

    #[tokio::test]
    async fn an_archive_of_many_files_goes_on_where_it_was_cut_off() {
        let (folder, url) = with_large_rows(20).await;
        let place = folder.path().join("archive");
        let until = Timestamp(i64::MAX);
        let all = |first, last| BTreeMap::from([(Shard::FIRST, (first, last))]);
        let archive = Archive::copy(&url, &place, until).await.unwrap();
        assert_eq!((archive.rows(), archive.written()), (all(0, 20), 21));
        assert!(archive.manifest.files.len() > 3, "{:?}", archive.manifest.files);

        let beside = Archive::copy(&url, &place, until).await.unwrap_err().to_string();
        assert!(beside.contains("another archive runs"), "{beside}");
        drop(archive);

        // As if it had been killed between a file and the list of it, and within the next one.
        let mut manifest = Manifest::read(&place).unwrap();
        manifest.files.truncate(2);
        manifest.write(&place).unwrap();
        fs::write(place.join("log-0-000000000013-000000000018.zst.part"), "half").unwrap();
        let mut archive = Archive::copy(&url, &place, until).await.unwrap();
        assert_eq!(archive.rows(), all(0, 20));
        assert!(archive.written() < 21);

        let read = |url: String| async move { Ledger::for_reading(&url).await.unwrap().logged.unwrap() };
        let log = read(url.clone()).await;
        let row = log.row(Shard::FIRST, 14).await.unwrap();
        assert_eq!(find(&place, Shard::FIRST, 14).unwrap(), row);
        assert_eq!(find(&place, Shard::FIRST, 21).unwrap(), None);
        assert_eq!(retired(&url, &mut archive).await, [Retired { shard: Shard::FIRST, begins_at: 20, rows: 20 }]);
        assert_eq!(log.row(Shard::FIRST, 14).await.unwrap(), None);
        assert_eq!(find(&place, Shard::FIRST, 14).unwrap(), row);
        let mut rows = 0;
        let (first, end) = read_whole(&place, Shard::FIRST, |_| {
            rows += 1;
            Ok(())
        })
        .unwrap()
        .unwrap();
        assert_eq!((first, end.seq, rows), (0, 20, 21));
        assert_eq!(log.row(Shard::FIRST, 20).await.unwrap().map(|row| row.head()), Some(end));
        // A file that lies: its bytes are those listed, and its rows are another file's.
        let mut manifest = Manifest::read(&place).unwrap();
        manifest.files.remove(1);
        manifest.write(&place).unwrap();
        let refused = read_whole(&place, Shard::FIRST, |_| Ok(())).unwrap_err().to_string();
        assert!(refused.contains("follows row"), "{refused}");
    }
}
