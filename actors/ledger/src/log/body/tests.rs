//! Bodies are read as they were written, for ever, and nothing else is guessed.

pub(in crate::log::body) mod examples;
mod golden;
mod resources;
mod sessions;
mod strategies;
mod timings;

use proptest::prelude::*;
use uuid::Uuid;

use self::strategies::transitions;
use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn transitions_are_read_as_they_were_written(transitions in transitions()) {
        let body = encode(&transitions);
        prop_assert_eq!(decode(&body), Ok(Body::Transitions(transitions)));
    }

    #[test]
    fn a_genesis_is_read_as_it_was_written(id in any::<u128>(), is_new in any::<bool>()) {
        let began = if is_new { Began::New } else { Began::AfterTables };
        let genesis = Genesis { log_id: Uuid::from_u128(id), began, schema: 13 };
        prop_assert_eq!(decode(&encode_genesis(&genesis)), Ok(Body::Genesis(genesis)));
    }

    #[test]
    fn damaged_bodies_are_refused_or_read_as_something_else(
        transitions in transitions(),
        flips in proptest::collection::vec((any::<usize>(), 0_u8..8), 0..4),
        length in any::<usize>(),
    ) {
        let mut body = encode(&transitions);
        for (place, bit) in flips {
            let place = place % body.len();
            body[place] ^= 1 << bit;
        }
        body.truncate(length % (body.len() + 1));
        let _ = decode(&body);
    }

    #[test]
    fn random_bytes_are_refused_or_read_as_something(mut body in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode(&body);
        body.insert(0, 1);
        let _ = decode(&body);
    }
}

#[test]
fn every_cut_of_a_body_is_read_without_a_panic() {
    let body = encode(&examples::everything());
    let whole = (0..body.len()).filter(|length| decode(&body[..*length]).is_ok()).count();
    assert_eq!(whole, examples::everything().len(), "only cuts between transitions can be read");
}

#[test]
fn a_newer_form_is_refused_by_its_version() {
    let mut body = encode(&[examples::admission()]);
    body[0] = 9;
    assert_eq!(decode(&body), Err(BadBody::Newer(9)));
    assert_eq!(BadBody::Newer(9).to_string(), "was written by a newer version of this program (form 9)");
    body[0] = 0;
    assert_eq!(decode(&body), Err(BadBody::Malformed("the form's version".into())));
    assert_eq!(decode(&[]), Err(BadBody::Malformed("the form's version".into())));
}

#[test]
fn a_batch_without_transitions_is_a_batch() {
    assert_eq!(encode(&[]), [1]);
    assert_eq!(decode(&[1]), Ok(Body::Transitions(Vec::new())));
}

#[test]
fn a_usual_request_takes_few_bytes() {
    let sizes = [examples::admission(), examples::settlement()].map(|transition| encode(&[transition]).len());
    assert!(sizes.iter().sum::<usize>() <= 800, "{sizes:?}");
}
