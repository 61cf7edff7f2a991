//! MP4 (ISO 14496-12): the tables of a sound's track tell how long each of its samples lasts, or those of its fragments do.

use super::{Length, at, big, size};

/// The most boxes that are looked at.
const MOST_BOXES: usize = 1 << 16;

/// A box: its name and its content.
type Box<'a> = ([u8; 4], &'a [u8]);

/// The boxes of a content, up to the first that is cut or broken.
fn boxes(content: &[u8]) -> impl Iterator<Item = Box<'_>> {
    let mut rest = content;
    let next = move || {
        let (told, name) = (big(rest, 0)?, at::<4>(rest, 4)?);
        let (head, length) = match told {
            // To the end.
            0 => (8, rest.len()),
            1 => (16, size(u64::from_be_bytes(at(rest, 8)?))?),
            told => (8, size(told)?),
        };
        let within = rest.get(head..length)?;
        rest = &rest[length..];
        Some((name, within))
    };
    std::iter::from_fn(next).take(MOST_BOXES)
}

fn first(content: &[u8], name: [u8; 4]) -> Option<&[u8]> {
    boxes(content).find(|(known, _)| *known == name).map(|(_, content)| content)
}

/// A content within others.
fn within<'a>(content: &'a [u8], path: &[[u8; 4]]) -> Option<&'a [u8]> {
    path.iter().try_fold(content, |content, name| first(content, *name))
}

/// A track of sound.
struct Track<'a> {
    id: u64,
    a_second: u64,
    media: &'a [u8],
}

fn sound(track: &[u8]) -> Option<Track<'_>> {
    let (head, media) = (first(track, *b"tkhd")?, first(track, *b"mdia")?);
    let is_sound = at::<4>(first(media, *b"hdlr")?, 8)? == *b"soun";
    let wide = |content: &[u8]| if content.first() == Some(&1) { 20 } else { 12 };
    let times = first(media, *b"mdhd")?;
    let track = Track { id: big(head, wide(head))?, a_second: big(times, wide(times))?, media };
    Some(track).filter(|_| is_sound)
}

pub(super) fn length(file: &[u8]) -> Option<Length> {
    let movie = first(file, *b"moov")?;
    let tracks = boxes(movie).filter(|(name, _)| name == b"trak");
    let track = tracks.into_iter().find_map(|(_, track)| sound(track))?;
    let table = within(track.media, &[*b"minf", *b"stbl", *b"stts"])?;
    let rows = table.get(8..)?.chunks_exact(8);
    let units = rows.fold(0_u64, |units, row| {
        let (count, each) = (big(row, 0).unwrap_or(0), big(row, 4).unwrap_or(0));
        units.saturating_add(count.saturating_mul(each))
    });
    let usual = usual(movie, track.id);
    let units = units.saturating_add(fragments(file, track.id, usual));
    Some(Length { units, a_second: track.a_second })
}

/// How long a sample of a track lasts in its fragments, where they don't tell.
fn usual(movie: &[u8], id: u64) -> u64 {
    let extends = first(movie, *b"mvex").into_iter().flat_map(boxes).filter(|(name, _)| name == b"trex");
    let of_track = extends.into_iter().find(|(_, content)| big(content, 4) == Some(id));
    of_track.and_then(|(_, content)| big(content, 12)).unwrap_or(0)
}

/// The units of all fragments of a track.
fn fragments(file: &[u8], id: u64, usual: u64) -> u64 {
    let movies = boxes(file).filter(|(name, _)| name == b"moof");
    let tracks = movies.flat_map(|(_, content)| boxes(content)).filter(|(name, _)| name == b"traf");
    tracks.filter_map(|(_, track)| fragment(track, id, usual)).fold(0, u64::saturating_add)
}

fn fragment(track: &[u8], id: u64, usual: u64) -> Option<u64> {
    let head = first(track, *b"tfhd")?;
    if big(head, 4)? != id {
        return Some(0);
    }
    let flags = big(head, 0)?;
    // A place of eight bytes and a number of four may stand before.
    let skipped = if flags & 1 > 0 { 8 } else { 0 } + if flags & 2 > 0 { 4 } else { 0 };
    let each = if flags & 8 > 0 { big(head, 8 + skipped)? } else { usual };
    let runs = boxes(track).filter(|(name, _)| name == b"trun");
    Some(runs.filter_map(|(_, run)| of_run(run, each)).fold(0, u64::saturating_add))
}

fn of_run(run: &[u8], each: u64) -> Option<u64> {
    let (flags, count) = (big(run, 0)?, big(run, 4)?);
    if flags & 0x100 == 0 {
        return Some(count.saturating_mul(each));
    }
    let skipped = if flags & 1 > 0 { 4 } else { 0 } + if flags & 4 > 0 { 4 } else { 0 };
    let row = [0x100, 0x200, 0x400, 0x800].iter().filter(|flag| flags & **flag > 0).count() * 4;
    let rows = run.get(8 + skipped..)?.chunks_exact(row).take(size(count)?);
    Some(rows.filter_map(|row| big(row, 0)).fold(0, u64::saturating_add))
}
