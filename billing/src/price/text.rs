//! A price as price files write it, the reverse of [`written`](super::written): in the short form as far as it goes, a
//! line for each service tier, and every other rate by its key. What is written is read as the same price.

use std::fmt::Write as _;

use super::{Price, Rate};
use crate::quantity::{Band, Cache, Key, Kind, ServiceTier};

/// The longest line.
const WIDTH: usize = 120;

/// The names of the short form, with the keys they stand for.
const SHORT: [(&str, Key); 5] = [
    ("input", Key::INPUT),
    ("cached_input", Key::CACHE_READ),
    ("cache_write", Key::CACHE_WRITE),
    ("cache_write_long", Key::INPUT.cached(Cache::Write1h)),
    ("output", Key::OUTPUT),
];

/// Whether the short form may have a name for this key, in some tier and band.
fn is_short(key: Key) -> bool {
    SHORT.iter().any(|(_, short)| short.in_tier(key.tier).in_band(key.band) == key)
}

/// Whether a rate is written for a million.
const fn is_per_million(key: Key) -> bool {
    matches!(key.kind, Kind::Tokens | Kind::Characters)
}

/// The rate's text in a list.
fn number(key: Key, rate: Rate) -> String {
    if is_per_million(key) { rate.million_text() } else { rate.unit_text() }
}

/// The band of a tier that its short form has: its only one, with both input and output.
fn short_band(price: &Price, tier: ServiceTier) -> Option<Band> {
    let in_tier = |band: &&Band| price.rates.iter().any(|(key, _)| key.tier == tier && key.band == **band);
    let mut bands = price.bands.iter().filter(in_tier);
    let (band, more) = (bands.next().copied()?, bands.next());
    let is_whole = [Key::INPUT, Key::OUTPUT].iter().all(|key| price.exact(key.in_tier(tier).in_band(band)).is_some());
    (more.is_none() && is_whole).then_some(band)
}

/// The names and numbers of the short form in a tier and a band.
fn names(price: &Price, tier: ServiceTier, band: Band) -> Vec<String> {
    let of = |(name, key): (&str, Key)| {
        let rate = price.exact(key.in_tier(tier).in_band(band))?;
        Some(format!("{name} = \"{}\"", rate.million_text()))
    };
    SHORT.into_iter().filter_map(of).collect()
}

/// The short form of a tier, as the fields of a table.
fn fields(price: &Price, tier: ServiceTier) -> Vec<String> {
    let mut fields = names(price, tier, Band(0));
    if let Some(band) = short_band(price, tier) {
        fields.push(format!("band = {{ above = {}, {} }}", band.0, names(price, tier, band).join(", ")));
    }
    fields
}

/// All fields of a price's table.
fn all_fields(price: &Price) -> Vec<String> {
    let has_base = [Key::INPUT, Key::OUTPUT].iter().all(|key| price.exact(*key).is_some());
    let mut all = if has_base { fields(price, ServiceTier::Standard) } else { Vec::new() };
    for tier in ServiceTier::ALL {
        let fields = fields(price, tier);
        if tier != ServiceTier::Standard && !fields.is_empty() {
            all.push(format!("{} = {{ {} }}", tier.name(), fields.join(", ")));
        }
    }
    let is_named = |key: Key| {
        let band = key.band == Band(0) || short_band(price, key.tier) == Some(key.band);
        is_short(key) && band && (has_base || key.tier != ServiceTier::Standard)
    };
    let others = || price.rates.iter().filter(|(key, _)| !is_named(*key));
    for (name, is_of) in [("per_million", true), ("each", false)] {
        let of_it = others().filter(|(key, _)| is_per_million(*key) == is_of);
        let of_it: Vec<_> = of_it.map(|(key, rate)| (spelled(*key), format!("\"{}\"", number(*key, *rate)))).collect();
        let inline = of_it.iter().map(|(key, rate)| format!("{key} = {rate}")).collect::<Vec<_>>().join(", ");
        match of_it.len() {
            0 => {}
            _ if inline.len() + name.len() + 8 <= WIDTH => all.push(format!("{name} = {{ {inline} }}")),
            _ => all.extend(of_it.iter().map(|(key, rate)| format!("{name}.{key} = {rate}"))),
        }
    }
    all
}

/// A key as TOML has it: in quotes where it has dots.
fn spelled(key: Key) -> String {
    let text = key.to_string();
    if text.contains('.') { format!("\"{text}\"") } else { text }
}

impl Price {
    /// The price as TOML of a price file: one line where it fits, or else a table of this name (`model.price`).
    pub fn to_toml(&self, table: &str) -> String {
        let fields = all_fields(self);
        let name = table.rsplit('.').next().unwrap_or(table);
        let inline = format!("{name} = {{ {} }}\n", fields.join(", "));
        if inline.len() <= WIDTH {
            return inline;
        }
        let mut text = format!("[{table}]\n");
        for field in fields {
            let _ = writeln!(text, "{field}");
        }
        text
    }
}
