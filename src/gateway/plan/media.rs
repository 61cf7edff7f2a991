//! What a provider bills of speech, of transcriptions and of images: characters, milliseconds, images or tokens, by what the
//! price of the model names. Each has a bound before it runs, or is refused by name: the most is held, and what the
//! provider reports is charged. Where it reports nothing, what was counted here is.

use std::sync::Arc;

use billing::{
    price::{Cost, Price, Unpriced},
    quantity::{Direction, Key, Kind, Modality, Quantities},
};
use wire::{
    format::openai::media::drawn,
    inference::{ImageGeneration, Request, Speech, Task, TranscriptForm, Transcription, Work},
    tokens,
};

use super::{Payer, invalid};
use crate::{catalogue::ClosedModel, gateway::serve::ServeError};

/// The keys of what is billed beside tokens.
const CHARACTERS: Key = Key::of(Kind::Characters, Direction::Input);
const MILLISECONDS: Key = Key::of(Kind::Milliseconds, Direction::Input);
const IMAGES: Key = Key::of(Kind::Images, Direction::Output);

/// Tokens that a provider may put around a text: some of its own instructions.
const AROUND: u64 = 256;
/// Tokens of sound for a character, as people speak: fifteen characters a second, and twenty tokens.
const SPOKEN: (u64, u64) = (4, 3);
/// Tokens of sound for a second that is heard: ten, of which OpenAI's models read a quarter of an hour into 16,000.
const HEARD_A_SECOND: u64 = 10;
/// Text tokens for a second that is heard: people say three words.
const WRITTEN_A_SECOND: u64 = 4;
/// A provider rounds a length to seconds, and its decoder may add a piece of one at both ends.
const ROUNDED: u64 = 1_000;
/// The fewest bytes of a second of a recording that are believed: a file that lies about its length is charged as its
/// provider says, up to this.
const LEAST_BYTES_A_SECOND: u64 = 500;

/// What is billed of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) struct Media {
    /// The unit.
    pub(in crate::gateway) bills: Bills,
    /// The most, at the dearest keys.
    most: Quantities,
    /// What is charged where the provider reports nothing.
    pub(in crate::gateway) counted: Quantities,
    /// The most of each that a report may plausibly have.
    pub(in crate::gateway) can: Most,
}

/// The unit in which a model's work is billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Bills {
    /// Characters of the request's text, which nobody has to report.
    Characters,
    /// Milliseconds of a recording.
    Milliseconds,
    /// Images.
    Images,
    /// Tokens.
    Tokens,
}

/// The most that a model uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Most {
    /// Input tokens.
    pub(in crate::gateway) input: u64,
    /// Output tokens.
    pub(in crate::gateway) output: u64,
    /// Milliseconds of a recording.
    pub(in crate::gateway) milliseconds: u64,
    /// Images.
    pub(in crate::gateway) images: u64,
}

/// Tokens: the most, and as they are counted.
struct Tokens {
    input: (u64, Quantities),
    output: (u64, Quantities),
    /// The modalities beside text.
    modalities: ([Modality; 2], [Modality; 2]),
}

fn bound(most: u64) -> u64 {
    if most == 0 { u32::MAX.into() } else { most }
}

fn one(key: Key, amount: u64) -> Quantities {
    [(key, amount)].into_iter().collect()
}

impl Media {
    /// What is billed of a request; `None` where its work is text.
    ///
    /// # Errors
    ///
    /// The price has no unit of such work, or nothing bounds it.
    pub(super) fn of(
        model: &Arc<ClosedModel>,
        price: &Price,
        request: &Request,
        payer: Payer,
    ) -> Result<Option<Self>, ServeError> {
        let media = match &request.work {
            Work::Speech(speech) => Self::of_speech(model, price, speech, payer),
            Work::Transcription(transcription) => Self::of_transcription(model, price, transcription, request, payer),
            Work::Image(images) => Self::of_images(model, price, images, payer),
            _ => return Ok(None),
        };
        media.map(Some)
    }

    /// Why a model can't be asked for anything where credits pay, if it can't: nothing bounds what its work costs.
    ///
    /// # Errors
    ///
    /// The reason.
    pub(in crate::gateway) fn check(model: &ClosedModel) -> Result<(), ServeError> {
        let Some(price) = &model.price else { return Ok(()) };
        match model.task {
            Task::Speech => Self::of_speech(model, price, &Speech::default(), Payer::Credits).map(drop),
            Task::Image => Self::of_images(model, price, &ImageGeneration::default(), Payer::Credits).map(drop),
            _ => Ok(()),
        }
    }

    fn of_speech(model: &ClosedModel, price: &Price, speech: &Speech, payer: Payer) -> Result<Self, ServeError> {
        if price.rate(CHARACTERS).is_some() {
            return Ok(Self::units(Bills::Characters, CHARACTERS, speech.characters(), Most::default()));
        }
        if model.max_output == 0 && payer == Payer::Credits {
            let message = "is billed by tokens of sound, and nothing bounds them: its entry in a price file may \
                           (max_output); with your own provider-key it passes";
            return Err(invalid("model", message));
        }
        let instructions = speech.instructions.as_ref().map_or(0, |text| tokens::count_text(&model.id, text));
        let input = tokens::count_text(&model.id, &speech.input).saturating_add(instructions);
        let most = u64::from(model.max_output);
        let spoken = (speech.characters().saturating_mul(SPOKEN.0) / SPOKEN.1).min(most);
        Self::tokens(
            model,
            price,
            &Tokens {
                input: (input.saturating_mul(tokens::margin(&model.id)).saturating_add(AROUND), one(Key::INPUT, input)),
                output: (most, one(Key::OUTPUT.in_modality(Modality::Audio), spoken)),
                modalities: ([Modality::Text; 2], [Modality::Text, Modality::Audio]),
            },
        )
    }

    fn of_transcription(
        model: &ClosedModel,
        price: &Price,
        transcription: &Transcription,
        request: &Request,
        payer: Payer,
    ) -> Result<Self, ServeError> {
        let is_ours = payer == Payer::Credits;
        let milliseconds = match transcription.milliseconds {
            None if is_ours => {
                let message =
                    "is no recording whose length can be told: it must be flac, mp3, mp4, m4a, ogg, wav or webm";
                return Err(invalid("file", message));
            }
            milliseconds => milliseconds.unwrap_or(0),
        };
        let bytes = transcription.recording.bytes.len() as u64;
        let longest = (bytes.saturating_mul(1_000) / LEAST_BYTES_A_SECOND).max(milliseconds).saturating_add(ROUNDED);
        if price.rate(MILLISECONDS).is_some() {
            let can = Most { milliseconds: longest, ..Most::default() };
            let media = Self::units(Bills::Milliseconds, MILLISECONDS, milliseconds, can);
            let most = milliseconds.next_multiple_of(ROUNDED).saturating_add(ROUNDED);
            return Ok(Self { most: one(MILLISECONDS, most), ..media });
        }
        if transcription.form == TranscriptForm::Subtitles && is_ours {
            let message = "has no usage to be billed by in this form: ask for json, text or verbose_json";
            return Err(invalid("response_format", message));
        }
        if let Some(field) = ["chunking_strategy", "chunking_strategy[type]"]
            .into_iter()
            .find(|field| is_ours && request.source.body.present(field).is_some())
        {
            let message = "has no known price for this model: each piece has the prompt read again, and nothing tells how \
                           many there are";
            return Err(invalid(field, message));
        }
        if (model.context == 0 || model.max_output == 0) && is_ours {
            let message =
                "is billed by tokens, and nothing bounds them: its entry in a price file may (context, max_output)";
            return Err(invalid("model", message));
        }
        let (context, most) = (u64::from(model.context), u64::from(model.max_output));
        let seconds = milliseconds.div_ceil(1_000);
        let prompt = transcription.prompt.as_ref().map_or(0, |prompt| tokens::count_text(&model.id, prompt));
        let heard = seconds.saturating_mul(HEARD_A_SECOND);
        let heard =
            one(Key::INPUT.in_modality(Modality::Audio), heard.min(context)).and(&one(Key::INPUT, prompt.min(context)));
        let written = seconds.saturating_mul(WRITTEN_A_SECOND).min(most);
        Self::tokens(
            model,
            price,
            &Tokens {
                input: (context, heard),
                output: (most, one(Key::OUTPUT, written)),
                modalities: ([Modality::Text, Modality::Audio], [Modality::Text; 2]),
            },
        )
    }

    fn of_images(
        model: &ClosedModel,
        price: &Price,
        images: &ImageGeneration,
        payer: Payer,
    ) -> Result<Self, ServeError> {
        let n = u64::from(images.n.unwrap_or(1));
        if price.rate(IMAGES).is_some() {
            let can = Most { images: n, ..Most::default() };
            return Ok(Self::units(Bills::Images, IMAGES, n, can));
        }
        let each = match (model.max_output, drawn::most(&model.id, images)) {
            (0, Err(no)) if payer == Payer::Credits => return Err(invalid(no.field, no.message)),
            (0, told) => told.unwrap_or(0),
            (most, _) => most.into(),
        };
        let partials = drawn::PARTIAL.saturating_mul(images.partials.into());
        let output = each.saturating_add(partials).saturating_mul(n);
        let input = tokens::count_text(&model.id, &images.prompt);
        let reads = images.edit.as_ref().map_or(0, |edit| u64::from(edit.read));
        let read = drawn::READ.saturating_mul(reads);
        // Each image that is read comes with some text of the provider's own.
        let around = AROUND.saturating_mul(reads.saturating_add(1));
        let most = input.saturating_mul(tokens::margin(&model.id)).saturating_add(around).saturating_add(read);
        let most = most.saturating_mul(n);
        let counted = one(Key::INPUT, input).and(&one(Key::INPUT.in_modality(Modality::Image), read));
        Self::tokens(
            model,
            price,
            &Tokens {
                input: (most, counted),
                output: (output, one(Key::OUTPUT.in_modality(Modality::Image), output)),
                modalities: ([Modality::Text, Modality::Image], [Modality::Text, Modality::Image]),
            },
        )
    }

    fn units(bills: Bills, key: Key, amount: u64, can: Most) -> Self {
        let amount = one(key, amount);
        Self { bills, most: amount, counted: amount, can }
    }

    fn tokens(model: &ClosedModel, price: &Price, tokens: &Tokens) -> Result<Self, ServeError> {
        let Tokens { input: (input, read), output: (output, written), modalities } = tokens;
        let dearest = |direction, modalities: [Modality; 2]| {
            let keys = modalities.map(|modality| Key::of(Kind::Tokens, direction).in_modality(modality));
            let priced = keys.into_iter().filter_map(|key| Some((price.rate(key)?, key)));
            let dearest = priced.max_by_key(|(rate, _)| *rate).map(|(_, key)| key);
            dearest.ok_or_else(|| ServeError::Unpriced(model.id.to_string()))
        };
        let (of_input, of_output) =
            (dearest(Direction::Input, modalities.0)?, dearest(Direction::Output, modalities.1)?);
        Ok(Self {
            bills: Bills::Tokens,
            most: one(of_input, *input).and(&one(of_output, *output)),
            counted: read.and(written),
            // With the caller's own key nothing has to bound them.
            can: Most { input: bound(*input), output: bound(*output), ..Most::default() },
        })
    }

    /// The highest cost, with the fee.
    pub(super) fn most_cost(&self, price: &Price) -> Result<Cost, Unpriced> {
        price.cost(&self.most)
    }

    /// Input and output tokens, as they are counted.
    pub(in crate::gateway) fn counted_tokens(&self) -> (u64, u64) {
        let of = |direction| self.counted.sum(|key| key.is_tokens(direction));
        (of(Direction::Input), of(Direction::Output))
    }

    /// So many milliseconds or images, as they are billed.
    pub(in crate::gateway) fn told(&self, amount: u64) -> Quantities {
        match self.bills {
            Bills::Milliseconds => one(MILLISECONDS, amount),
            Bills::Images => one(IMAGES, amount),
            Bills::Characters | Bills::Tokens => self.counted,
        }
    }
}

#[cfg(test)]
mod tests;
