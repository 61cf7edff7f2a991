//! How a provider bills the ordering of documents: by units of search, by the tokens that the model reads, or by both. Its
//! price says which. What has no price is neither held nor charged.

use billing::{
    price::{Cost, Permitted, Price, Unpriced},
    quantity::{Direction, Key, Kind, Quantities},
};
use wire::tokens::Pairs;

/// The key of units of search.
const UNITS: Key = Key::of(Kind::SearchUnits, Direction::Neither);

/// The billed quantities of one request, as they are counted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) struct Ranking {
    /// The tokens; `None` where they have no price.
    pub(in crate::gateway) tokens: Option<u64>,
    /// The units of search; `None` where they have no price.
    pub(in crate::gateway) search_units: Option<u64>,
    /// The most units of search that the provider may count.
    pub(in crate::gateway) most_units: u64,
}

impl Ranking {
    /// The ordering of these documents at this price.
    ///
    /// # Errors
    ///
    /// [`Unpriced`] where the price has neither tokens nor units of search.
    pub(super) fn of(pairs: &Pairs, model: &str, price: &Price) -> Result<Self, Unpriced> {
        let has = |key: Key| price.rate(key).is_some();
        let ranking = Self {
            tokens: has(Key::INPUT).then(|| pairs.tokens()),
            search_units: has(UNITS).then(|| pairs.search_units(1)),
            most_units: pairs.search_units(wire::tokens::margin(model)),
        };
        if ranking.tokens.or(ranking.search_units).is_none() { Err(Unpriced(UNITS)) } else { Ok(ranking) }
    }

    /// The highest cost of at most `input` tokens and of the most units, with the fee.
    pub(super) fn most(&self, price: &Price, input: u64, largest: u64) -> Result<Cost, Unpriced> {
        let uses = self.search_units.map_or(Quantities::NONE, |_| billed(0, self.most_units));
        match self.tokens {
            Some(_) => price.most_input(input, largest, &Permitted { uses, ..Permitted::TEXT }),
            None => price.cost(&uses),
        }
    }

    /// The quantities, as they are counted here.
    pub(super) fn counted(&self) -> Quantities {
        billed(self.tokens.unwrap_or(0), self.search_units.unwrap_or(0))
    }
}

/// Billed quantities.
pub(in crate::gateway) fn billed(tokens: u64, search_units: u64) -> Quantities {
    [(Key::INPUT, tokens), (UNITS, search_units)].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use billing::{Nanos, hold::HoldRequest};
    use wire::{format, inference::Rerank};

    use super::{
        super::{Payer, Target, closed},
        *,
    };
    use crate::catalogue::{Catalogue, ClosedModel, Model};

    fn pairs(documents: usize) -> Pairs {
        let rerank = Rerank {
            query: "hello world".into(),
            documents: vec!["hello".into(); documents],
            top_n: None,
            max_tokens_per_document: None,
            return_documents: false,
        };
        Pairs::count(&rerank, "m")
    }

    fn of(price: &str) -> (Result<Ranking, Unpriced>, Price) {
        let price: Price = toml::from_str(price).unwrap();
        (Ranking::of(&pairs(101), "m", &price), price)
    }

    #[test]
    fn what_the_price_names_is_held_and_nothing_else() {
        let (units, price) = of("each = { search_units = '0.002' }");
        let units = units.unwrap();
        assert_eq!((units.tokens, units.search_units, units.most_units), (None, Some(2), 2));
        // 2 x 0.002 x 1.02
        assert_eq!(units.most(&price, 9_999, 9_999).unwrap().total().normalize().to_string(), "0.00408");
        assert_eq!(units.counted(), billed(0, 2));
        let (tokens, price) = of("input = '0.05'\noutput = '0'");
        let tokens = tokens.unwrap();
        // Two tokens of the query and eight around it with each, and one of each document.
        assert_eq!((tokens.tokens, tokens.search_units), (Some(101 * 11), None));
        // 2,000,000 x 0.05 / 1e6 x 1.02
        assert_eq!(tokens.most(&price, 2_000_000, 2_000_000).unwrap().total().normalize().to_string(), "0.102");
        let (both, price) = of("input = '0.05'\noutput = '0'\neach = { search_units = '0.002' }");
        assert_eq!(
            both.unwrap().most(&price, 2_000_000, 2_000_000).unwrap().total().normalize().to_string(),
            "0.10608"
        );
        assert_eq!(of("each = { 'pages.input' = '1' }").0, Err(Unpriced(UNITS)));
    }

    #[test]
    fn documents_are_held_by_what_their_price_names() {
        let of = |model: &str, documents: usize| {
            let Ok(Model::Closed(model)) = Catalogue::built_in().unwrap().find(model) else { panic!() };
            let documents = serde_json::json!(vec!["word ".repeat(400); documents]);
            let body = format!(r#"{{"model":"m","query":"hello world","documents":{documents}}}"#);
            closed::plan(&model, &format::rerank::read_rerank(body.as_bytes()).unwrap(), Payer::Credits).unwrap()
        };
        // 401 tokens are up to 802 of Cohere's, two chunks of 496: a hundred documents are two units at $0.002. What is
        // expected at least is one.
        let units = of("rerank-v3.5", 100);
        assert_eq!(
            units.hold,
            HoldRequest { expected: units.hold.minimum, minimum: units.hold.worst_case, ..units.hold }
        );
        assert_eq!((units.hold.worst_case, units.least().unwrap()), (Nanos::new(4_080_000), Nanos::new(2_040_000)));
        // 411 tokens with the query and around, twice that for Cohere's own, at $0.02 a million.
        let tokens = of("rerank-v5.0-fast", 100);
        assert_eq!((tokens.hold.worst_case, tokens.least().unwrap()), (Nanos::new(1_676_880), Nanos::new(838_440)));
        let Target::Closed(terms) = tokens.target else { panic!() };
        assert_eq!((terms.context, terms.most_output()), (32_768 * 100, 0));
    }

    #[test]
    fn where_no_price_file_says_what_a_model_reads_the_count_is_the_bound() {
        let Ok(Model::Closed(model)) = Catalogue::built_in().unwrap().find("mistral-embed") else { panic!() };
        let of = |context: u32| {
            let model = Arc::new(ClosedModel { context, ..ClosedModel::clone(&model) });
            let request = format::openai::read_embedding(br#"{"model":"m","input":["hello world","hello"]}"#);
            let Target::Closed(terms) = closed::plan(&model, &request.unwrap(), Payer::Credits).unwrap().target else {
                panic!()
            };
            (terms.input, terms.estimated, terms.context)
        };
        assert_eq!(of(8_192), (6, 3, 16_384));
        assert_eq!(of(1), (2, 2, 2));
        assert_eq!(of(0), (6, 3, 6), "it is not free");
    }
}
