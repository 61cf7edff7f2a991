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
        Kind::Q8_0 => layout(32, 8, 128, false),
        Kind::Q5K => layout(32, 8, 16, true),
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
            Kind::Q8_0 => {
                out.scales.push(half(block));
                out.numbers.extend(block[2..].iter().map(|byte| byte.wrapping_add(128)));
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

/// The eight scales and minimums of a `Q4K` or `Q5K` block. The format subtracts its minimums.
fn sub_blocks(block: &[u8], out: &mut Pieces) {
    let (all, all_minimum) = (half(block), half(&block[2..]));
    for index in 0..8 {
        let (scale, minimum) = scale_and_minimum(&block[4..16], index);
        out.scales.push(all * f32::from(scale));
        out.minimums.push(-(all_minimum * f32::from(minimum)));
    }
}
