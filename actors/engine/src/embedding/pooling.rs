//! How one vector is made of an encoder's states: pooling, shortening and normalizing. Pure.

/// How the states of a text's tokens become one vector ("Pooling", Sentence Transformers documentation).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The mean of all tokens' states.
    Mean,
    /// The first token's state.
    Cls,
    /// The largest number of each place.
    Max,
    /// The last token's state.
    LastToken,
}

impl Pooling {
    /// The vector of a text, from the states of its tokens, row by row, each of `width` numbers. No tokens give an empty
    /// vector.
    pub fn vector(self, states: &[f32], width: usize) -> Vec<f32> {
        let mut rows = states.chunks_exact(width.max(1));
        match self {
            Self::Cls => rows.next().map(<[f32]>::to_vec).unwrap_or_default(),
            Self::LastToken => rows.next_back().map(<[f32]>::to_vec).unwrap_or_default(),
            Self::Max => over(rows, f32::max).0,
            Self::Mean => {
                let (sum, count) = over(rows, |sum, state| sum + state);
                #[expect(clippy::cast_precision_loss, reason = "fewer tokens than a float counts exactly")]
                let count = count as f32;
                sum.iter().map(|sum| sum / count).collect()
            }
        }
    }
}

/// Rows put together place by place, and their number.
fn over<'a>(mut rows: impl Iterator<Item = &'a [f32]>, join: impl Fn(f32, f32) -> f32) -> (Vec<f32>, usize) {
    let Some(first) = rows.next() else { return (Vec::new(), 0) };
    let mut all = first.to_vec();
    let mut count = 1;
    for row in rows {
        for (sum, state) in all.iter_mut().zip(row) {
            *sum = join(*sum, *state);
        }
        count += 1;
    }
    (all, count)
}

/// A vector of length 1 in the same direction; zeros stay zeros.
pub fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    if length > 0.0 {
        for number in vector {
            *number /= length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_makes_its_vector() {
        let states = [1.0, 6.0, 3.0, 2.0, 5.0, 4.0];
        for (pooling, expected) in [
            (Pooling::Mean, [3.0, 4.0]),
            (Pooling::Cls, [1.0, 6.0]),
            (Pooling::Max, [5.0, 6.0]),
            (Pooling::LastToken, [5.0, 4.0]),
        ] {
            assert_eq!(pooling.vector(&states, 2), expected, "{pooling:?}");
            assert!(pooling.vector(&[], 2).is_empty(), "{pooling:?}");
        }
    }

    #[test]
    fn a_vector_keeps_its_direction_and_zeros_stay() {
        let mut vector = vec![3.0, 4.0];
        normalize(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
        let mut zeros = vec![0.0, 0.0];
        normalize(&mut zeros);
        assert_eq!(zeros, [0.0, 0.0]);
    }
}
