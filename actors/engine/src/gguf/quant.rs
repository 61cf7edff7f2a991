//! A quantized block taken apart without rounding: its small whole numbers, and a scale and a minimum for each
//! sub-block. An element is `number * scale + minimum`, or `(number - centre) * scale` without minimum. An effective
//! scale that is a product (K blocks) is computed in the order of the format's definition.

use super::blocks::{Kind, half, scale_and_minimum};

/// How a kind divides into sub-blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// The number of elements that share a scale.
    pub(super) block: usize,
    /// The bits of a repacked number.
    pub(super) bits: u8,
    /// The value subtracted from a number before the multiplication.
    pub(super) centre: u8,
    /// Whether there are minimums.
    pub(super) minimums: bool,
}

pub(super) fn layout(kind: Kind) -> Option<Layout> {
    let layout = |block, bits, centre, minimums| Some(Layout { block, bits, centre, minimums });
    match kind {
        Kind::F32 | Kind::F16 | Kind::BF16 => None,
        Kind::Q4_0 => layout(32, 4, 8, false),
        Kind::Q4_1 | Kind::Q4K => layout(32, 4, 8, true),
        Kind::Q5_0 => layout(32, 8, 16, false),
        Kind::Q8_0 => layout(32, 8, 128, false),
        // The middle of the four numbers: the products stay small, and with them what rounded activations change.
        Kind::Q2K => layout(16, 4, 2, true),
        Kind::Q3K => layout(16, 4, 4, false),
        Kind::Q5_1 | Kind::Q5K => layout(32, 8, 16, true),
        Kind::Q6K => layout(16, 8, 32, false),
    }
}

/// The pieces of many blocks, in element order.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pub(super) numbers: Vec<u8>,
    pub(super) scales: Vec<f32>,
    pub(super) minimums: Vec<f32>,
}

/// Takes whole blocks apart. Unquantized kinds have no pieces.
pub(super) fn pieces(kind: Kind, bytes: &[u8]) -> Pieces {
    let mut out = Pieces::default();
    for block in bytes.chunks_exact(kind.block_bytes()) {
        match kind {
            Kind::F32 | Kind::F16 | Kind::BF16 => {}
            Kind::Q4_0 => {
                out.scales.push(half(block));
                nibbles(&block[2..], &mut out.numbers);
            }
            Kind::Q4_1 => {
                out.scales.push(half(block));
                out.minimums.push(half(&block[2..]));
                nibbles(&block[4..], &mut out.numbers);
            }
            Kind::Q5_0 => {
                out.scales.push(half(block));
                let start = out.numbers.len();
                nibbles(&block[6..], &mut out.numbers);
                fifths(&block[2..6], &mut out.numbers[start..]);
            }
            Kind::Q5_1 => {
                out.scales.push(half(block));
                out.minimums.push(half(&block[2..]));
                let start = out.numbers.len();
                nibbles(&block[8..], &mut out.numbers);
                fifths(&block[4..8], &mut out.numbers[start..]);
            }
            Kind::Q8_0 => {
                out.scales.push(half(block));
                out.numbers.extend(block[2..].iter().map(|byte| byte.wrapping_add(128)));
            }
            Kind::Q2K => {
                let (all, all_minimum) = (half(&block[80..]), half(&block[82..]));
                out.scales.extend(block[..16].iter().map(|packed| all * f32::from(packed & 15)));
                out.minimums.extend(block[..16].iter().map(|packed| -(all_minimum * f32::from(packed >> 4))));
                out.numbers.extend((0..256).map(|at| pair(&block[16..80], at)));
            }
            Kind::Q3K => {
                let all = half(&block[108..]);
                out.scales.extend(six_bit_scales(&block[96..108]).map(|scale| all * f32::from(scale)));
                let third = |at: usize| block[at % 32] >> (at / 32) & 1;
                out.numbers.extend((0..256).map(|at| pair(&block[32..96], at) | third(at) << 2));
            }
            Kind::Q4K => {
                sub_blocks(block, &mut out);
                block[16..].chunks_exact(32).for_each(|bytes| nibbles(bytes, &mut out.numbers));
            }
            Kind::Q5K => {
                sub_blocks(block, &mut out);
                let start = out.numbers.len();
                block[48..].chunks_exact(32).for_each(|bytes| nibbles(bytes, &mut out.numbers));
                for (at, number) in out.numbers[start..].iter_mut().enumerate() {
                    *number |= (block[16 + at % 32] >> (at / 32) & 1) << 4;
                }
            }
            Kind::Q6K => {
                let all = half(&block[208..]);
                out.scales.extend(block[192..208].iter().map(|&scale| all * f32::from(scale.cast_signed())));
                for at in 0..256 {
                    let (part, quarter, lane) = (at / 128, at / 32 % 4, at % 32);
                    let low = block[part * 64 + quarter % 2 * 32 + lane] >> (quarter / 2 * 4) & 15;
                    let high = block[128 + part * 32 + lane] >> (quarter * 2) & 3;
                    out.numbers.push(low | high << 4);
                }
            }
        }
    }
    out
}

/// The low halves of all bytes, then the high halves.
fn nibbles(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(bytes.iter().map(|byte| byte & 15));
    out.extend(bytes.iter().map(|byte| byte >> 4));
}

/// The fifth bits of 32 numbers, a bit a number.
fn fifths(bits: &[u8], numbers: &mut [u8]) {
    for (at, number) in numbers.iter_mut().enumerate() {
        *number |= (bits[at / 8] >> (at % 8) & 1) << 4;
    }
}

/// Two bits of element `at`, of 256 in 64 bytes: four elements in a byte, 32 apart.
fn pair(bytes: &[u8], at: usize) -> u8 {
    bytes[at / 128 * 32 + at % 32] >> (at / 32 % 4 * 2) & 3
}

/// The 16 signed scales of a `Q3K` block: eight bytes of low halves, then four bytes of two high bits each.
fn six_bit_scales(packed: &[u8]) -> impl Iterator<Item = i8> {
    let (low, high) = packed.split_at(8);
    let bits = (0..16).map(move |at| (low[at % 8] >> (at / 8 * 4) & 15) | (high[at % 4] >> (at / 4 * 2) & 3) << 4);
    bits.map(|scale: u8| scale.cast_signed() - 32)
}

/// The eight scales and minimums of a `Q4K` or `Q5K` block. The format subtracts its minimums.
fn sub_blocks(block: &[u8], out: &mut Pieces) {
    let (all, all_minimum) = (half(block), half(&block[2..]));
    for index in 0..8 {
        let (scale, minimum) = scale_and_minimum(&block[4..16], index);
        out.scales.push(all * f32::from(scale));
        out.minimums.push(-(all_minimum * f32::from(minimum)));
    }
}
