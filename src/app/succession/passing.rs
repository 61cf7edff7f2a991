//! Messages between two processes of one machine: lines of JSON over a socket of the file system, one of them with open
//! sockets beside it.

use std::{
    io::{Error, ErrorKind, IoSlice, IoSliceMut, Read as _, Result, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{LONGEST, MOST};

/// Sends a message.
///
/// # Errors
///
/// The other process takes nothing.
pub(super) fn send(mut stream: &UnixStream, message: &impl Serialize) -> Result<()> {
    stream.write_all(&line(message)?)
}

/// Sends a message with sockets beside it, which stay this process's too.
///
/// # Errors
///
/// There are too many sockets, or the other process takes nothing.
pub(super) fn send_with(stream: &UnixStream, message: &impl Serialize, sockets: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !beside.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(Error::other("too many sockets"));
    }
    let line = line(message)?;
    let sent = sendmsg(stream, &[IoSlice::new(&line)], &mut beside, SendFlags::NOSIGNAL)?;
    // The sockets went with the first bytes.
    let mut rest = stream;
    rest.write_all(line.get(sent..).unwrap_or_default())
}

/// Receives a message.
///
/// # Errors
///
/// None comes in time, or it is another one.
pub(super) fn receive<T: DeserializeOwned>(stream: &UnixStream) -> Result<T> {
    read(stream, Vec::new())
}

/// Receives a message and the sockets beside it.
///
/// # Errors
///
/// None comes in time, or it is another one.
pub(super) fn receive_with<T: DeserializeOwned>(stream: &UnixStream) -> Result<(T, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; LONGEST];
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    let mut sockets = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            sockets.extend(passed);
        }
    }
    let begun = bytes.get(..received.bytes).unwrap_or_default().to_vec();
    if begun.is_empty() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok((read(stream, begun)?, sockets))
}

fn line(message: &impl Serialize) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads a message to its end, byte by byte: what follows is not part of it.
fn read<T: DeserializeOwned>(mut stream: &UnixStream, mut line: Vec<u8>) -> Result<T> {
    let mut byte = [0];
    while !line.ends_with(b"\n") {
        if line.len() >= LONGEST {
            return Err(Error::new(ErrorKind::InvalidData, "a message is too long"));
        }
        if stream.read(&mut byte)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        line.extend(byte);
    }
    Ok(serde_json::from_slice(&line)?)
}
