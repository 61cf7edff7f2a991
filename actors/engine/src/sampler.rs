//! Chooses the next token from a model's scores: bias and penalties, then temperature, `top_k`, `top_p` and a seeded
//! draw, of the tokens that a grammar leaves. The same scores, settings and seed give the same token. Log probabilities are
//! the model's own, before all of these.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::grammar::Mask;

/// Below this temperature the likeliest token is chosen.
const COLDEST: f32 = 1e-4;
/// How many of the likeliest tokens are tried first for `top_p`; most answers need no more.
const FIRST_LOOK: usize = 256;

/// How tokens are chosen, with every default filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerSettings {
    /// 0 is greedy.
    pub temperature: f32,
    /// 1 keeps all.
    pub top_p: f32,
    /// 0 keeps all.
    pub top_k: usize,
    /// Subtracted from a token's score for each time that it was written.
    pub frequency_penalty: f32,
    /// Subtracted from a token's score once it was written.
    pub presence_penalty: f32,
    /// Added to a token's score.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for SamplerSettings {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
        }
    }
}

/// One choice's sampler.
#[derive(Debug)]
pub struct Sampler {
    settings: SamplerSettings,
    random: StdRng,
    counts: HashMap<u32, u16>,
    scores: Vec<f32>,
}

/// The likeliest tokens at a position.
#[derive(Debug, Clone, PartialEq)]
pub struct Likelihood {
    /// The chosen token's log probability.
    pub chosen: f32,
    /// The likeliest tokens, best first.
    pub top: Vec<(u32, f32)>,
}

impl Sampler {
    /// A sampler for the choice with this index in a request.
    pub fn new(settings: SamplerSettings, seed: u64, choice: u32) -> Self {
        // Choices of one request differ, and choice 0 of a seed is the same for every `n`.
        let seed = seed ^ u64::from(choice).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { settings, random: StdRng::seed_from_u64(seed), counts: HashMap::new(), scores: Vec::new() }
    }

    /// Chooses a token, and remembers it for the penalties.
    pub fn next(&mut self, logits: &[f32]) -> u32 {
        let token = self.choose(logits, None);
        self.wrote(token);
        token
    }

    /// Chooses a token of those that a mask leaves.
    pub(crate) fn choose(&mut self, logits: &[f32], mask: Option<&Mask>) -> u32 {
        let settings = &self.settings;
        let has_counts = self.is_penalized() && !self.counts.is_empty();
        if settings.logit_bias.is_empty() && !has_counts && mask.is_none() {
            choose(settings, &mut self.random, logits)
        } else {
            self.scores.clear();
            self.scores.extend_from_slice(logits);
            for (token, bias) in &settings.logit_bias {
                if let Some(score) = self.scores.get_mut(*token as usize) {
                    *score += bias;
                }
            }
            for (token, &count) in &self.counts {
                if let Some(score) = self.scores.get_mut(*token as usize) {
                    *score -= settings.frequency_penalty * f32::from(count) + settings.presence_penalty;
                }
            }
            if let Some(mask) = mask {
                mask.apply(&mut self.scores);
            }
            choose(settings, &mut self.random, &self.scores)
        }
    }

    /// Remembers a token for the penalties.
    pub(crate) fn wrote(&mut self, token: u32) {
        if self.is_penalized() {
            let count = self.counts.entry(token).or_default();
            *count = count.saturating_add(1);
        }
    }

    fn is_penalized(&self) -> bool {
        self.settings.frequency_penalty != 0.0 || self.settings.presence_penalty != 0.0
    }
}

fn choose(settings: &SamplerSettings, random: &mut StdRng, scores: &[f32]) -> u32 {
    let best = best(scores);
    if settings.temperature < COLDEST || settings.top_k == 1 {
        return best;
    }
    let limit = scores.get(best as usize).copied().unwrap_or(0.0);
    let weight = |score: f32| ((score - limit) / settings.temperature).exp();
    let draw: f32 = random.random();
    if settings.top_k == 0 && settings.top_p >= 1.0 {
        let all = || scores.iter().map(|&score| weight(score));
        return pick(all(), all().sum::<f32>() * draw).map_or(best, index);
    }
    let kept = if settings.top_k == 0 { scores.len() } else { settings.top_k.min(scores.len()) };
    let total: f32 = if settings.top_k == 0 { scores.iter().map(|&score| weight(score)).sum() } else { 0.0 };
    let mut look = FIRST_LOOK.min(kept);
    loop {
        let candidates = likeliest(scores, if settings.top_k == 0 { look } else { kept });
        let weights: Vec<f32> = candidates.iter().map(|&token| weight(scores[token as usize])).collect();
        let total = if settings.top_k == 0 { total } else { weights.iter().sum() };
        let nucleus = pick(weights.iter().copied(), total * settings.top_p);
        match nucleus {
            None if settings.top_k == 0 && look < kept => look = (look * 8).min(kept),
            end => {
                let weights = &weights[..end.map_or(weights.len(), |end| end + 1)];
                let at = pick(weights.iter().copied(), weights.iter().sum::<f32>() * draw);
                return at.and_then(|at| candidates.get(at).copied()).unwrap_or(best);
            }
        }
    }
}

/// The index where the running sum reaches `target`.
fn pick(weights: impl Iterator<Item = f32>, target: f32) -> Option<usize> {
    let mut sum = 0.0;
    for (at, weight) in weights.enumerate() {
        sum += weight;
        if sum >= target && weight > 0.0 {
            return Some(at);
        }
    }
    None
}

fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The token with the highest score, the first of equals.
fn best(scores: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (at, &score) in scores.iter().enumerate() {
        if score > best.1 {
            best = (at, score);
        }
    }
    index(best.0)
}

/// The `count` likeliest tokens, best first, the first of equals first.
fn likeliest(scores: &[f32], count: usize) -> Vec<u32> {
    let mut tokens: Vec<u32> = (0..index(scores.len())).collect();
    let order = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b));
    if count == 0 {
        return Vec::new();
    }
    if count < tokens.len() {
        tokens.select_nth_unstable_by(count - 1, order);
        tokens.truncate(count);
    }
    tokens.sort_unstable_by(order);
    tokens
}

/// The model's own log probability of a token, and of the `count` likeliest ones.
pub fn likelihood(logits: &[f32], token: u32, count: usize) -> Likelihood {
    let limit = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from((logit - limit).exp())).sum();
    #[expect(clippy::cast_possible_truncation, reason = "a logarithm of a modest number")]
    let normalizer = limit + sum.ln() as f32;
    let of = |token: u32| logits.get(token as usize).map_or(f32::NEG_INFINITY, |logit| logit - normalizer);
    Likelihood {
        chosen: of(token),
        top: likeliest(logits, count).into_iter().map(|token| (token, of(token))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, -1.0, 0.0];

    fn draws(settings: &SamplerSettings, seed: u64, count: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(settings.clone(), seed, 0);
        (0..count).map(|_| sampler.next(&LOGITS)).collect()
    }

    #[test]
    fn greedy_takes_the_best_and_the_first_of_equals() {
        let greedy = SamplerSettings { temperature: 0.0, ..SamplerSettings::default() };
        assert_eq!(draws(&greedy, 1, 3), [1, 1, 1]);
        assert_eq!(Sampler::new(greedy, 1, 0).next(&[0.0, 2.0, 2.0]), 1);
    }

    #[test]
    fn the_same_seed_draws_the_same_and_choices_differ() {
        let warm = SamplerSettings { temperature: 1.5, top_p: 0.95, ..SamplerSettings::default() };
        assert_eq!(draws(&warm, 7, 50), draws(&warm, 7, 50));
        assert_ne!(draws(&warm, 7, 50), draws(&warm, 8, 50));
        let mut second = Sampler::new(warm.clone(), 7, 1);
        let second: Vec<u32> = (0..50).map(|_| second.next(&LOGITS)).collect();
        assert_ne!(draws(&warm, 7, 50), second);
    }

    #[test]
    fn frequencies_follow_the_distribution() {
        let draws = draws(&SamplerSettings::default(), 3, 20_000);
        let total: f32 = LOGITS.iter().map(|logit| logit.exp()).sum();
        for (token, logit) in LOGITS.iter().enumerate() {
            let seen = draws.iter().filter(|&&drawn| drawn as usize == token).count();
            #[expect(clippy::cast_precision_loss, reason = "small counts")]
            let share = seen as f32 / 20_000.0;
            assert!((share - logit.exp() / total).abs() < 0.015, "{token}: {share}");
        }
    }

    #[test]
    fn top_k_and_top_p_keep_only_the_likeliest() {
        let two = SamplerSettings { temperature: 5.0, top_k: 2, ..SamplerSettings::default() };
        assert!(draws(&two, 1, 300).iter().all(|token| [1, 2].contains(token)));
        let nucleus = SamplerSettings { temperature: 1.0, top_p: 0.8, ..SamplerSettings::default() };
        let drawn = draws(&nucleus, 1, 300);
        assert!(drawn.iter().all(|token| [1, 2].contains(token)), "{drawn:?}");
        assert!(drawn.contains(&2));
        let narrow = SamplerSettings { top_p: 0.0, ..SamplerSettings::default() };
        assert!(draws(&narrow, 1, 50).iter().all(|&token| token == 1));
    }

    #[test]
    fn a_wide_flat_vocabulary_reaches_beyond_the_first_look() {
        let flat = vec![0.0; 4096];
        let mut sampler = Sampler::new(SamplerSettings { top_p: 0.99, ..SamplerSettings::default() }, 5, 0);
        let drawn: Vec<u32> = (0..200).map(|_| sampler.next(&flat)).collect();
        assert!(drawn.iter().any(|&token| token > 2048));
    }

    #[test]
    fn bias_and_penalties_move_the_choice() {
        let banned = SamplerSettings {
            temperature: 0.0,
            logit_bias: vec![(1, -100.0), (99, 5.0)],
            ..SamplerSettings::default()
        };
        assert_eq!(draws(&banned, 1, 2), [2, 2]);
        let fresh = SamplerSettings { temperature: 0.0, presence_penalty: 1.5, ..SamplerSettings::default() };
        assert_eq!(draws(&fresh, 1, 3), [1, 2, 1]);
        let rare = SamplerSettings { temperature: 0.0, frequency_penalty: 0.6, ..SamplerSettings::default() };
        assert_eq!(draws(&rare, 1, 4), [1, 1, 2, 1]);
    }

    #[test]
    fn log_probabilities_are_the_models_own() {
        let found = likelihood(&LOGITS, 3, 2);
        let total: f32 = LOGITS.iter().map(|logit| logit.exp()).sum();
        assert!((found.chosen - (-1.0 - total.ln())).abs() < 1e-5);
        assert_eq!(found.top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [1, 2]);
        assert!((found.top[0].1 - (3.0 - total.ln())).abs() < 1e-5);
        assert!(likelihood(&LOGITS, 0, 0).top.is_empty());
    }

    #[test]
    fn scores_that_are_not_numbers_choose_something() {
        for temperature in [0.0, 1.0] {
            let mut sampler =
                Sampler::new(SamplerSettings { temperature, top_p: 0.9, ..SamplerSettings::default() }, 1, 0);
            assert!(sampler.next(&[f32::NAN, f32::NAN]) < 2);
        }
    }
}
