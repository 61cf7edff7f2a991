//! GGUF's tensor types: their block sizes, and the conversion of a block's bytes to floats. Written after the format's
//! definition and deliberately without code from [`super::quant`], so that the two check each other.

/// How a tensor's elements are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// The upper half of 32-bit floats.
    BF16,
    /// 32 elements: scale, 4-bit numbers around 8.
    Q4_0,
    /// 32 elements: scale, minimum, 4-bit numbers.
    Q4_1,
    /// 32 elements: scale, 5-bit numbers around 16.
    Q5_0,
    /// 32 elements: scale, minimum, 5-bit numbers.
    Q5_1,
    /// 32 elements: scale, signed 8-bit numbers.
    Q8_0,
    /// 256 elements: 16 sub-blocks with 4-bit scales and minimums, 2-bit numbers.
    Q2K,
    /// 256 elements: 16 sub-blocks with 6-bit scales, 3-bit numbers around 4.
    Q3K,
    /// 256 elements: 8 sub-blocks with 6-bit scales and minimums, 4-bit numbers.
    Q4K,
    /// As `Q4K` with 5-bit numbers.
    Q5K,
    /// 256 elements: 16 sub-blocks with 8-bit scales, 6-bit numbers around 32.
    Q6K,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// The kind with this GGUF number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// The kind's GGUF number.
    pub fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q2K => 10,
            Self::Q3K => 11,
            Self::Q4K => 12,
            Self::Q5K => 13,
            Self::Q6K => 14,
            Self::BF16 => 30,
        }
    }

    /// The number of elements in a block.
    pub fn block_elements(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// The number of bytes in a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }
}

/// A 16-bit float at the start of `bytes` as a 32-bit one; exact for every value.
pub(super) fn half(bytes: &[u8]) -> f32 {
    let bits = u32::from(u16::from_le_bytes([bytes[0], bytes[1]]));
    let sign = (bits & 0x8000) << 16;
    let exponent = (bits >> 10) & 0x1f;
    let fraction = bits & 0x3ff;
    match exponent {
        // Subnormal: a whole number of 2^-24, exact in 32 bits.
        0 => f32::from_bits(sign | 0x3f80_0000) * (f32::from(u16::try_from(fraction).unwrap_or(0)) / 16_777_216.0),
        31 => f32::from_bits(sign | 0x7f80_0000 | (fraction << 13)),
        _ => f32::from_bits(sign | ((exponent + 112) << 23) | (fraction << 13)),
    }
}

/// The 6-bit scale and minimum of sub-block `index` of a K block, from its 12 packed bytes.
pub(super) fn scale_and_minimum(packed: &[u8], index: usize) -> (u8, u8) {
    if index < 4 {
        (packed[index] & 63, packed[index + 4] & 63)
    } else {
        let high = packed[index + 4];
        ((high & 15) | ((packed[index - 4] >> 6) << 4), (high >> 4) | ((packed[index] >> 6) << 4))
    }
}

/// The elements of whole blocks as floats; bytes after the last whole block are ignored.
pub fn dequantize(kind: Kind, bytes: &[u8]) -> Vec<f32> {
    let mut out = Vec::with_capacity(bytes.len() / kind.block_bytes() * kind.block_elements());
    for block in bytes.chunks_exact(kind.block_bytes()) {
        match kind {
            Kind::F32 => out.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]])),
            Kind::F16 => out.push(half(block)),
            Kind::BF16 => out.push(f32::from_bits(u32::from(u16::from_le_bytes([block[0], block[1]])) << 16)),
            Kind::Q4_0 => {
                let scale = half(block);
                out.extend(block[2..].iter().map(|byte| (f32::from(byte & 15) - 8.0) * scale));
                out.extend(block[2..].iter().map(|byte| (f32::from(byte >> 4) - 8.0) * scale));
            }
            Kind::Q4_1 => {
                let (scale, minimum) = (half(block), half(&block[2..]));
                out.extend(block[4..].iter().map(|byte| f32::from(byte & 15) * scale + minimum));
                out.extend(block[4..].iter().map(|byte| f32::from(byte >> 4) * scale + minimum));
            }
            Kind::Q5_0 => {
                let scale = half(block);
                out.extend(fives(&block[2..]).map(|number| (f32::from(number) - 16.0) * scale));
            }
            Kind::Q5_1 => {
                let (scale, minimum) = (half(block), half(&block[2..]));
                out.extend(fives(&block[4..]).map(|number| f32::from(number) * scale + minimum));
            }
            Kind::Q8_0 => {
                let scale = half(block);
                out.extend(block[2..].iter().map(|&byte| f32::from(byte.cast_signed()) * scale));
            }
            Kind::Q2K => two_bits(block, &mut out),
            Kind::Q3K => three_bits(block, &mut out),
            Kind::Q4K => four_bits(block, &mut out),
            Kind::Q5K => five_bits(block, &mut out),
            Kind::Q6K => six_bits(block, &mut out),
        }
    }
    out
}

/// The 32 numbers behind the scales of a `Q5_0` or `Q5_1` block: a word of fifth bits, then the halves of 16 bytes.
fn fives(packed: &[u8]) -> impl Iterator<Item = u8> {
    let fifths = u32::from_le_bytes([packed[0], packed[1], packed[2], packed[3]]);
    let fifth = move |at: usize| if fifths >> at & 1 == 1 { 16 } else { 0 };
    let low = packed[4..20].iter().enumerate().map(move |(at, byte)| (byte & 15) + fifth(at));
    let high = packed[4..20].iter().enumerate().map(move |(at, byte)| (byte >> 4) + fifth(at + 16));
    low.chain(high)
}

fn two_bits(block: &[u8], out: &mut Vec<f32>) {
    let (all, all_minimum) = (half(&block[80..]), half(&block[82..]));
    let mut scales = block[..16].iter();
    for bytes in block[16..80].chunks_exact(32) {
        for shift in [0, 2, 4, 6] {
            for (part, packed) in bytes.chunks_exact(16).zip(scales.by_ref()) {
                let (scale, minimum) = (all * f32::from(packed & 15), all_minimum * f32::from(packed >> 4));
                out.extend(part.iter().map(|byte| scale * f32::from(byte >> shift & 3) - minimum));
            }
        }
    }
}

fn three_bits(block: &[u8], out: &mut Vec<f32>) {
    let (thirds, packed, all) = (&block[..32], &block[96..108], half(&block[108..]));
    for (half_index, bytes) in block[32..96].chunks_exact(32).enumerate() {
        for quarter in 0..4 {
            for (lane, byte) in bytes.iter().enumerate() {
                let sub = half_index * 8 + quarter * 2 + lane / 16;
                let low = if sub < 8 { packed[sub] & 15 } else { packed[sub - 8] >> 4 };
                let high = packed[8 + sub % 4] >> (sub / 4 * 2) & 3;
                let scale = all * (f32::from(low | high << 4) - 32.0);
                // A third bit that is not set takes 4 away.
                let is_set = thirds[lane] >> (half_index * 4 + quarter) & 1 == 1;
                let number = f32::from(byte >> (quarter * 2) & 3) - if is_set { 0.0 } else { 4.0 };
                out.push(scale * number);
            }
        }
    }
}

fn four_bits(block: &[u8], out: &mut Vec<f32>) {
    let (all, all_minimum) = (half(block), half(&block[2..]));
    for (pair, bytes) in block[16..].chunks_exact(32).enumerate() {
        for (half_index, shift) in [(0, 0), (1, 4)] {
            let (scale, minimum) = scale_and_minimum(&block[4..16], pair * 2 + half_index);
            let (scale, minimum) = (all * f32::from(scale), all_minimum * f32::from(minimum));
            out.extend(bytes.iter().map(|byte| scale * f32::from((byte >> shift) & 15) - minimum));
        }
    }
}

fn five_bits(block: &[u8], out: &mut Vec<f32>) {
    let (all, all_minimum) = (half(block), half(&block[2..]));
    let fifth = &block[16..48];
    for (pair, bytes) in block[48..].chunks_exact(32).enumerate() {
        for (half_index, shift) in [(0, 0), (1, 4)] {
            let sub = pair * 2 + half_index;
            let (scale, minimum) = scale_and_minimum(&block[4..16], sub);
            let (scale, minimum) = (all * f32::from(scale), all_minimum * f32::from(minimum));
            out.extend(bytes.iter().zip(fifth).map(|(byte, high)| {
                let number = ((byte >> shift) & 15) + if high >> sub & 1 == 1 { 16 } else { 0 };
                scale * f32::from(number) - minimum
            }));
        }
    }
}

fn six_bits(block: &[u8], out: &mut Vec<f32>) {
    let all = half(&block[208..]);
    let start = out.len();
    out.resize(start + 256, 0.0);
    for part in 0..2 {
        let (low, high) = (&block[part * 64..], &block[128 + part * 32..]);
        let scales = &block[192 + part * 8..];
        let out = &mut out[start + part * 128..];
        for at in 0..32 {
            let numbers = [
                (low[at] & 15) | (high[at] & 3) << 4,
                (low[at + 32] & 15) | (high[at] >> 2 & 3) << 4,
                (low[at] >> 4) | (high[at] >> 4 & 3) << 4,
                (low[at + 32] >> 4) | (high[at] >> 6) << 4,
            ];
            for (quarter, number) in numbers.into_iter().enumerate() {
                let scale = f32::from(scales[at / 16 + quarter * 2].cast_signed());
                out[at + quarter * 32] = all * scale * (f32::from(number) - 32.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_exact() {
        for (bits, value) in [
            (0x0000_u16, 0.0_f32),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x8400, -6.103_515_6e-5),
            (0x3555, 0.333_251_95),
        ] {
            assert_eq!(half(&bits.to_le_bytes()).to_bits(), value.to_bits(), "{bits:04x}");
        }
        assert!(half(&0x7e00_u16.to_le_bytes()).is_nan());
        assert_eq!(half(&0xfc00_u16.to_le_bytes()).to_bits(), f32::NEG_INFINITY.to_bits());
    }

    /// Blocks of every quantized kind through another implementation, the `gguf` package for Python (0.19.0): the
    /// FNV-1a sums of the bytes of its floats.
    #[test]
    fn every_kind_is_read_as_its_reference_reads_it() {
        for (kind, halves, expected) in [
            (Kind::Q4_0, &[1][..], 0xc021_07fe_2145_dbfc_u64),
            (Kind::Q4_1, &[1, 3], 0x1eb5_7840_ea85_1cbc),
            (Kind::Q5_0, &[1], 0xb50c_df1e_1394_5590),
            (Kind::Q5_1, &[1, 3], 0x383c_9742_8d18_5441),
            (Kind::Q8_0, &[1], 0x9d79_35ac_84ae_4729),
            (Kind::Q2K, &[81, 83], 0x41ec_7cb7_d8ef_2373),
            (Kind::Q3K, &[109], 0xb7c1_d93e_2899_690d),
            (Kind::Q4K, &[1, 3], 0x8275_15c8_2dd4_a376),
            (Kind::Q5K, &[1, 3], 0x28fd_0c84_aa25_67de),
            (Kind::Q6K, &[209], 0x02a7_3c5a_14ff_116f),
        ] {
            let mut state = u64::from(kind.number()) + 1;
            let mut random = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state.to_le_bytes()[6]
            };
            let mut bytes: Vec<u8> = (0..kind.block_bytes() * 4).map(|_| random()).collect();
            for block in bytes.chunks_exact_mut(kind.block_bytes()) {
                for &at in halves {
                    block[at] &= 0xbb;
                }
            }
            let floats = dequantize(kind, &bytes);
            assert_eq!(floats.len(), kind.block_elements() * 4);
            let sum = floats
                .iter()
                .flat_map(|float| float.to_le_bytes())
                .fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
            assert_eq!(sum, expected, "{kind:?}");
        }
    }

    #[test]
    fn numbers_round_trip() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(kind.number()), Some(kind));
        }
        assert_eq!(Kind::from_number(9), None);
    }
}
