//! Makes a bad file of good ones, from a number.

/// A good file, and how much of its beginning is worth to be changed.
pub(crate) struct Base {
    pub(crate) bytes: Vec<u8>,
    pub(crate) harmed: usize,
}

impl Base {
    pub(crate) fn whole(bytes: Vec<u8>) -> Self {
        Self { harmed: bytes.len(), bytes }
    }
}

/// Numbers from a number (`SplitMix64`).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }
}

/// Numbers that readers stumble over.
const ODD: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 32,
    1 << 40,
    0x7fff_ffff_ffff_ffff,
    u64::MAX - 7,
    u64::MAX,
];

/// The bad file of this number.
pub(crate) fn mutated(bases: &[Base], number: u64) -> Vec<u8> {
    let mut numbers = Numbers(number.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let base = &bases[numbers.below(bases.len())];
    let mut bytes = base.bytes.clone();
    for _ in 0..=numbers.below(4) {
        let harmed = base.harmed.min(bytes.len());
        let at = numbers.below(harmed);
        let end = (at + 1 + numbers.below(40)).min(bytes.len());
        if bytes.is_empty() {
            break;
        }
        match numbers.below(12) {
            0..=2 => bytes[at] ^= 1 << numbers.below(8),
            3 => bytes[at] = u8::try_from(numbers.below(256)).unwrap(),
            4 => {
                let width = [1, 2, 4, 8][numbers.below(4)];
                let odd = ODD[numbers.below(ODD.len())].to_le_bytes();
                let end = (at + width).min(bytes.len());
                bytes[at..end].copy_from_slice(&odd[..end - at]);
            }
            // The longest numbers of a protocol buffer.
            5 => drop(bytes.splice(at..end.min(at + 1), [0xff; 9].into_iter().chain([1]))),
            6 => bytes.truncate(at),
            7 => drop(bytes.drain(at..end)),
            8 => {
                let twice = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, twice));
            }
            9 => {
                let other = &bases[numbers.below(bases.len())].bytes;
                let from = numbers.below(other.len());
                let part = other[from..(from + 60).min(other.len())].to_vec();
                drop(bytes.splice(at..at, part));
            }
            // Messages in messages.
            10 => {
                for _ in 0..numbers.below(60) {
                    let key = [0x3a, 0x0a, 0x2a, 0x32, 0x5a][numbers.below(5)];
                    let mut length = bytes.len();
                    let mut head = vec![key];
                    while length > 0x7f {
                        head.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
                        length >>= 7;
                    }
                    head.push(u8::try_from(length).unwrap());
                    drop(bytes.splice(0..0, head));
                }
            }
            _ => {
                let (a, b) = (at, numbers.below(harmed));
                bytes.swap(a, b);
            }
        }
    }
    bytes
}
