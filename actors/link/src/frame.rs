//! What asks and answers look like on the way: a head of fixed length, then a body that only its readers understand. All
//! numbers are big-endian. Whatever is not exactly so is nonsense, and is told as that.

use std::time::Duration;

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use runtime::node::NodeId;
use uuid::Uuid;

/// The bytes of an ask's head: shard, epoch, hops, milliseconds left.
const HEAD: usize = 8 + 8 + 1 + 4;

/// A question to the node that owns a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The shard.
    pub shard: i64,
    /// The epoch in which the asked node owns it, as far as the asking one knows; 0 where it does not know.
    pub epoch: i64,
    /// How many nodes have passed it on already.
    pub hops: u8,
    /// How long it may still take. Clocks of two nodes differ, so what travels is the time that is left.
    pub left: Duration,
    /// What is asked.
    pub body: Bytes,
}

/// A message that nobody answers. It may be lost; those that arrive keep their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tell {
    /// The shard.
    pub shard: i64,
    /// The epoch in which the other node owns it, as far as this one knows.
    pub epoch: i64,
    /// What is told.
    pub body: Bytes,
}

/// What a node answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// What was asked is answered.
    Answered(Bytes),
    /// Nothing was done: another node owns the shard, or nobody, or in another epoch.
    NotOwner {
        /// Who, as far as it is known.
        owner: Option<NodeId>,
        /// In which epoch.
        epoch: i64,
    },
    /// Nothing was done: too much is under way. It may be asked again after so long.
    Busy(Duration),
    /// Nothing was done: the time was over.
    Late,
    /// Nothing was done: too many nodes have passed it on.
    Loops,
    /// It was begun, and came to no end.
    Broken,
}

/// What came is nothing that a node would send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nonsense;

fn ms(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

impl Ask {
    pub(crate) fn write(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEAD + self.body.len());
        bytes.put_i64(self.shard);
        bytes.put_i64(self.epoch);
        bytes.put_u8(self.hops);
        bytes.put_u32(ms(self.left));
        bytes.put_slice(&self.body);
        bytes.freeze()
    }

    pub(crate) fn read(mut bytes: Bytes) -> Result<Self, Nonsense> {
        if bytes.len() < HEAD {
            return Err(Nonsense);
        }
        let (shard, epoch, hops) = (bytes.get_i64(), bytes.get_i64(), bytes.get_u8());
        let left = Duration::from_millis(bytes.get_u32().into());
        Ok(Self { shard, epoch, hops, left, body: bytes })
    }
}

impl Tell {
    /// The bytes that it takes on the way.
    pub(crate) fn length(&self) -> usize {
        8 + 8 + 4 + self.body.len()
    }

    pub(crate) fn write(&self, into: &mut BytesMut) {
        into.put_i64(self.shard);
        into.put_i64(self.epoch);
        into.put_u32(u32::try_from(self.body.len()).unwrap_or(u32::MAX));
        into.put_slice(&self.body);
    }

    pub(crate) fn read_all(mut bytes: Bytes) -> Result<Vec<Self>, Nonsense> {
        let mut tells = Vec::new();
        while !bytes.is_empty() {
            if bytes.len() < 20 {
                return Err(Nonsense);
            }
            let (shard, epoch) = (bytes.get_i64(), bytes.get_i64());
            let length = usize::try_from(bytes.get_u32()).unwrap_or(usize::MAX);
            if length > bytes.len() {
                return Err(Nonsense);
            }
            tells.push(Self { shard, epoch, body: bytes.split_to(length) });
        }
        Ok(tells)
    }
}

impl Answer {
    pub(crate) fn write(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            Self::Answered(body) => {
                bytes.reserve(1 + body.len());
                bytes.put_u8(0);
                bytes.put_slice(body);
            }
            Self::NotOwner { owner, epoch } => {
                bytes.put_u8(1);
                bytes.put_i64(*epoch);
                bytes.put_slice(owner.map_or(Uuid::nil(), |owner| owner.0).as_bytes());
            }
            Self::Busy(after) => {
                bytes.put_u8(2);
                bytes.put_u32(ms(*after));
            }
            Self::Late => bytes.put_u8(3),
            Self::Loops => bytes.put_u8(4),
            Self::Broken => bytes.put_u8(5),
        }
        bytes.freeze()
    }

    pub(crate) fn read(mut bytes: Bytes) -> Result<Self, Nonsense> {
        let kind = bytes.try_get_u8().map_err(|_| Nonsense)?;
        let answer = match (kind, bytes.len()) {
            (0, _) => return Ok(Self::Answered(bytes)),
            (1, 24) => {
                let (epoch, owner) = (bytes.get_i64(), Uuid::from_u128(bytes.get_u128()));
                Self::NotOwner { owner: (!owner.is_nil()).then_some(NodeId(owner)), epoch }
            }
            (2, 4) => Self::Busy(Duration::from_millis(bytes.get_u32().into())),
            (3, 0) => Self::Late,
            (4, 0) => Self::Loops,
            (5, 0) => Self::Broken,
            _ => return Err(Nonsense),
        };
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> [Answer; 7] {
        [
            Answer::Answered(Bytes::from_static(b"x")),
            Answer::NotOwner { owner: None, epoch: -1 },
            Answer::NotOwner { owner: Some(NodeId(Uuid::from_u128(7))), epoch: 3 },
            Answer::Busy(Duration::from_millis(20)),
            Answer::Late,
            Answer::Loops,
            Answer::Broken,
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        let left = Duration::from_millis(1_500);
        let ask = Ask { shard: 15, epoch: 1 << 40, hops: 2, left, body: Bytes::from_static(b"what") };
        assert_eq!(Ask::read(ask.write()), Ok(ask));
        for answer in answers() {
            assert_eq!(Answer::read(answer.write()), Ok(answer));
        }
        let tells = [b"".as_slice(), b"one", b"another"];
        let tells = tells.map(|body| Tell { shard: 1, epoch: 2, body: Bytes::from_static(body) });
        let mut bytes = BytesMut::new();
        for tell in &tells {
            tell.write(&mut bytes);
        }
        assert_eq!(bytes.len(), tells.iter().map(Tell::length).sum::<usize>());
        assert_eq!(Tell::read_all(bytes.freeze()), Ok(tells.to_vec()));
    }

    #[test]
    fn what_is_cut_or_too_long_is_nonsense() {
        let ask = Ask { shard: 1, epoch: 1, hops: 0, left: Duration::ZERO, body: Bytes::new() }.write();
        assert_eq!(Ask::read(ask.slice(..ask.len() - 1)), Err(Nonsense));
        for answer in answers().into_iter().skip(1) {
            let bytes = answer.write();
            assert_eq!(Answer::read(bytes.slice(..bytes.len() - 1)), Err(Nonsense), "{answer:?}");
            assert_eq!(Answer::read([&bytes[..], b"x"].concat().into()), Err(Nonsense), "{answer:?}");
        }
        assert_eq!(Answer::read(Bytes::from_static(&[6])), Err(Nonsense));
        let mut bytes = BytesMut::new();
        Tell { shard: 1, epoch: 2, body: Bytes::from_static(b"one") }.write(&mut bytes);
        let bytes = bytes.freeze();
        for end in 1..bytes.len() {
            assert_eq!(Tell::read_all(bytes.slice(..end)), Err(Nonsense), "{end}");
        }
    }
}
