//! Repacks quantized tensors for ONNX Runtime's `MatMulNBits` without rounding a weight again. That operator's fast
//! kernels take only symmetric numbers, so a weight `number * scale + minimum` becomes `(number - centre) * scale +
//! offset` with `offset = minimum + centre * scale`. The graph adds the offsets as a product with the block sums of
//! `x`. Rows stay separate, so that tensors of one kind can be stacked.

use super::blocks::Kind;
use super::quant::{layout, pieces};

/// A repacked matrix of `rows` outputs by `columns` inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    /// The number of outputs.
    pub rows: usize,
    /// The number of inputs.
    pub columns: usize,
    /// 4 or 8.
    pub bits: u8,
    /// The number of elements that share a scale: 16 or 32.
    pub block: usize,
    /// The value subtracted from each number. The operator's own zero point is half its range; `numbers` are shifted to
    /// it.
    pub centre: u8,
    /// The numbers, row by row; two in a byte (low half first) where `bits` is 4.
    pub numbers: Vec<u8>,
    /// One scale for each block.
    pub scales: Vec<f32>,
    /// One minimum for each block; empty where the kind has no minimums.
    pub minimums: Vec<f32>,
}

impl Packed {
    /// The offset that the graph adds for each block: minimum + centre x scale. Empty where the kind has no minimums.
    pub fn offsets(&self) -> Vec<f32> {
        let centre = f32::from(self.centre);
        self.minimums.iter().zip(&self.scales).map(|(minimum, scale)| minimum + centre * scale).collect()
    }

    /// The stored number of an element, in the operator's form.
    pub fn number(&self, element: usize) -> u8 {
        if self.bits == 4 { self.numbers[element / 2] >> (element % 2 * 4) & 15 } else { self.numbers[element] }
    }

    /// A matrix of 8 bits as the sum of two of 4 bits: the high halves of its numbers, scaled by 16, and the low ones,
    /// which take the offsets.
    pub fn halves(&self) -> [Self; 2] {
        let pairs =
            |pick: fn(u8) -> u8| self.numbers.chunks_exact(2).map(move |pair| pick(pair[0]) | pick(pair[1]) << 4);
        let scales = self.scales.iter().map(|scale| scale * 16.0).collect();
        let numbers = pairs(|number| number >> 4).collect();
        let high = Self { bits: 4, centre: 8, numbers, scales, minimums: Vec::new(), ..*self };
        let minimums = if self.minimums.is_empty() { vec![0.0; self.scales.len()] } else { self.offsets() };
        let numbers = pairs(|number| number & 15).collect();
        [high, Self { bits: 4, centre: 8, numbers, scales: self.scales.clone(), minimums, ..*self }]
    }

    /// Appends `other`'s rows to this matrix.
    ///
    /// # Errors
    ///
    /// Returns `other` unchanged where the two forms differ: keep the matrices apart.
    pub fn stack(&mut self, other: Self) -> Result<(), Self> {
        let same = (self.columns, self.bits, self.block, self.centre, self.minimums.is_empty())
            == (other.columns, other.bits, other.block, other.centre, other.minimums.is_empty());
        if !same {
            return Err(other);
        }
        self.rows += other.rows;
        self.numbers.extend(other.numbers);
        self.scales.extend(other.scales);
        self.minimums.extend(other.minimums);
        Ok(())
    }

    /// Reorders rows: row `i` of the result is row `order[i]`.
    #[must_use]
    pub fn reordered(&self, order: &[usize]) -> Self {
        let pick = |width: usize| {
            move |row: &usize| {
                let start = row * width;
                start..start + width
            }
        };
        let bytes = self.columns * usize::from(self.bits) / 8;
        let blocks = self.columns / self.block;
        let floats = |from: &[f32]| order.iter().map(pick(blocks)).flat_map(|range| from[range].to_vec()).collect();
        Self {
            rows: order.len(),
            numbers: order.iter().map(pick(bytes)).flat_map(|range| self.numbers[range].to_vec()).collect(),
            scales: floats(&self.scales),
            minimums: if self.minimums.is_empty() { Vec::new() } else { floats(&self.minimums) },
            ..*self
        }
    }
}

/// Repacks a matrix; `None` where the kind is not quantized.
pub fn repack(kind: Kind, rows: usize, columns: usize, bytes: &[u8]) -> Option<Packed> {
    let layout = layout(kind)?;
    let pieces = pieces(kind, bytes);
    // From the format's centre to the operator's: 8 of 16, or 128 of 256.
    let shift = (1 << (layout.bits - 1)) - layout.centre;
    let shifted = pieces.numbers.iter().map(|number| number.wrapping_add(shift));
    let numbers = if layout.bits == 4 {
        let numbers: Vec<u8> = shifted.collect();
        numbers.chunks_exact(2).map(|pair| pair[0] | pair[1] << 4).collect()
    } else {
        shifted.collect()
    };
    let minimums = if layout.minimums { pieces.minimums } else { Vec::new() };
    Some(Packed {
        rows,
        columns,
        bits: layout.bits,
        block: layout.block,
        centre: layout.centre,
        numbers,
        scales: pieces.scales,
        minimums,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gguf::dequantize;

    fn quantized() -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(|kind| layout(*kind).is_some())
    }

    /// Element `at` of the repacked form, computed in the order of the format.
    fn restored(packed: &Packed, at: usize) -> f32 {
        let half = 1_i16 << (packed.bits - 1);
        let centred = i16::from(packed.number(at)) - half;
        let scale = packed.scales[at / packed.block];
        match packed.minimums.get(at / packed.block) {
            Some(minimum) => f32::from(centred + i16::from(packed.centre)) * scale + minimum,
            None => f32::from(centred) * scale,
        }
    }

    fn blocks(kind: Kind, count: usize, seed: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = seed.iter().copied().cycle().take(kind.block_bytes() * count).collect();
        for block in bytes.chunks_exact_mut(kind.block_bytes()) {
            // Only finite scales: no quantizer writes infinities.
            let halves: &[usize] = match kind {
                Kind::Q4_1 | Kind::Q5_1 | Kind::Q4K | Kind::Q5K => &[1, 3],
                Kind::Q2K => &[81, 83],
                Kind::Q3K => &[109],
                Kind::Q6K => &[209],
                _ => &[1],
            };
            for &at in halves {
                block[at] &= 0xbb;
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn repacking_is_exact_to_the_last_bit(seed in prop::collection::vec(any::<u8>(), 600..700)) {
            for kind in quantized() {
                let bytes = blocks(kind, 4, &seed);
                let plain = dequantize(kind, &bytes);
                let packed = repack(kind, 2, plain.len() / 2, &bytes).unwrap();
                prop_assert_eq!(packed.scales.len(), plain.len() / packed.block);
                for (at, value) in plain.iter().enumerate() {
                    prop_assert_eq!(restored(&packed, at).to_bits(), value.to_bits(), "{:?} element {}", kind, at);
                }
            }
        }

        #[test]
        fn offsets_move_the_centre_without_loss_beyond_one_rounding(
            seed in prop::collection::vec(any::<u8>(), 600..700),
        ) {
            for kind in [Kind::Q4_1, Kind::Q5_1, Kind::Q2K, Kind::Q4K, Kind::Q5K] {
                let bytes = blocks(kind, 4, &seed);
                let packed = repack(kind, 4, dequantize(kind, &bytes).len() / 4, &bytes).unwrap();
                for ((offset, minimum), scale) in packed.offsets().iter().zip(&packed.minimums).zip(&packed.scales) {
                    let exact = f64::from(*minimum) + f64::from(packed.centre) * f64::from(*scale);
                    prop_assert!((f64::from(*offset) - exact).abs() <= exact.abs() * 1.2e-7 + 1e-40);
                }
            }
        }
    }

    #[test]
    fn halves_make_the_whole() {
        let seed: Vec<u8> = (0..=255).collect();
        for kind in quantized().filter(|kind| layout(*kind).is_some_and(|layout| layout.bits == 8)) {
            let bytes = blocks(kind, 4, &seed);
            let plain = dequantize(kind, &bytes);
            let [high, low] = repack(kind, 2, plain.len() / 2, &bytes).unwrap().halves();
            let largest = plain.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            for (at, value) in plain.iter().enumerate() {
                let apart = (restored(&high, at) + restored(&low, at) - value).abs();
                assert!(apart <= largest * 1e-5, "{kind:?} element {at}: {apart}");
            }
        }
    }

    #[test]
    fn stacking_and_reordering_keep_rows_whole() {
        let seed: Vec<u8> = (0..=255).collect();
        let bytes = blocks(Kind::Q4_1, 8, &seed);
        let whole = repack(Kind::Q4_1, 4, 64, &bytes).unwrap();
        let mut upper = repack(Kind::Q4_1, 2, 64, &bytes[..bytes.len() / 2]).unwrap();
        let lower = repack(Kind::Q4_1, 2, 64, &bytes[bytes.len() / 2..]).unwrap();
        upper.stack(lower).unwrap();
        assert_eq!(upper, whole);
        assert_eq!(whole.reordered(&[3, 2, 1, 0]).reordered(&[3, 2, 1, 0]), whole);
        let other = repack(Kind::Q8_0, 1, 64, &blocks(Kind::Q8_0, 2, &seed)).unwrap();
        assert!(upper.stack(other).is_err());
    }
}
