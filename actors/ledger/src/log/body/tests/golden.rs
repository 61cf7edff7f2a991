//! Bodies that were written once. NEVER write these files anew, and never change [`examples`]: logs hold such bytes. A
//! change of the form is a new version, with files of its own beside these.

use super::{
    super::{BadBody, Began, Body, Genesis, decode, encode, encode_genesis, encode_imported, encode_prices},
    Uuid, examples, sessions, timings,
};

const GENESIS: &[u8] = include_bytes!("../../../../tests/fixtures/log_bodies/1_genesis.bin");
const AFTER_TABLES: &[u8] = include_bytes!("../../../../tests/fixtures/log_bodies/1_after_tables.bin");
const REQUEST: &[u8] = include_bytes!("../../../../tests/fixtures/log_bodies/1_request.bin");
const PRICES: &[u8] = include_bytes!("../../../../tests/fixtures/log_bodies/1_prices.bin");
const IMPORTED: &[u8] = include_bytes!("../../../../tests/fixtures/log_bodies/1_imported.bin");
const ATTEMPTS: &[u8] = include_bytes!("../../../../tests/fixtures/log_bodies/2_attempts.bin");
const PARKED: &[u8] = include_bytes!("../../../../tests/fixtures/log_bodies/3_parked.bin");
const MEMBERS: &[u8] = include_bytes!("../../../../tests/fixtures/log_bodies/4_members.bin");
const FROZEN: &[u8] = include_bytes!("../../../../tests/fixtures/log_bodies/5_frozen.bin");
const ALERTS: &[u8] = include_bytes!("../../../../tests/fixtures/log_bodies/6_alerts.bin");
const SESSIONS: &[u8] = include_bytes!("../../../../tests/fixtures/log_bodies/7_sessions.bin");
const TIMINGS: &[u8] = include_bytes!("../../../../tests/fixtures/log_bodies/8_timings.bin");
const EVERYTHING: &[u8] = include_bytes!("../../../../tests/fixtures/log_bodies/1_everything.bin");

fn genesis(began: Began) -> Genesis {
    Genesis { log_id: Uuid::from_u128(0x0199_c0de_aaaa_7bbb_8ccc_0123_4567_89ab), began, schema: 13 }
}

#[test]
fn bodies_of_form_1_are_read_for_ever() {
    assert_eq!(decode(GENESIS), Ok(Body::Genesis(genesis(Began::New))));
    assert_eq!(decode(AFTER_TABLES), Ok(Body::Genesis(genesis(Began::AfterTables))));
    let request = vec![examples::opening(), examples::admission(), examples::settlement()];
    assert_eq!(decode(REQUEST), Ok(Body::Transitions(request)));
    assert_eq!(decode(PRICES), Ok(Body::Prices(examples::prices())));
    assert_eq!(decode(IMPORTED), Ok(Body::Imported(examples::imported())));
    assert_eq!(decode(EVERYTHING), Ok(Body::Transitions(examples::everything())));
}

#[test]
fn bodies_of_form_2_are_read_for_ever() {
    assert_eq!(decode(ATTEMPTS), Ok(Body::Transitions(vec![examples::admission(), examples::after_attempts()])));
}

#[test]
fn bodies_of_form_3_are_read_for_ever() {
    let all = vec![examples::admission(), examples::after_attempts(), examples::parking()];
    assert_eq!(decode(PARKED), Ok(Body::Transitions(all)));
}

#[test]
fn bodies_of_form_4_are_read_for_ever() {
    assert_eq!(decode(MEMBERS), Ok(Body::Transitions(vec![examples::parking(), examples::members()])));
}

#[test]
fn bodies_of_form_5_are_read_for_ever() {
    assert_eq!(decode(FROZEN), Ok(Body::Transitions([vec![examples::members()], examples::freezing()].concat())));
}

/// For as long as no other form holds all of them in fewer bytes.
#[test]
fn bodies_are_written_in_form_5_where_they_need_it() {
    assert_eq!(encode(&[vec![examples::members()], examples::freezing()].concat()), FROZEN);
    for needs in examples::freezing() {
        let body = encode(&[needs]);
        assert_eq!(body[0], 5);
        for older in [1, 2, 3, 4] {
            let refused = Err(BadBody::Malformed("header.frozen_at".into()));
            assert_eq!(decode(&[&[older], &body[1..]].concat()), refused);
        }
    }
    let other = encode(&[examples::members()]);
    assert!(decode(&[&[5], &other[1..]].concat()).is_err(), "it is for bodies that need it");
}

#[test]
fn bodies_of_form_6_are_read_for_ever() {
    assert_eq!(decode(ALERTS), Ok(Body::Transitions(vec![examples::members(), examples::alerts()])));
}

/// For as long as no other form holds all of them in fewer bytes.
#[test]
fn bodies_are_written_in_form_6_where_they_need_it() {
    assert_eq!(encode(&[examples::members(), examples::alerts()]), ALERTS);
    let alerts = encode(&[examples::alerts()]);
    for older in [1, 2, 3, 4, 5] {
        assert_eq!(decode(&[&[older], &alerts[1..]].concat()), Err(BadBody::Malformed("alerts".into())));
    }
    let other = encode(&[examples::members()]);
    assert!(decode(&[&[6], &other[1..]].concat()).is_err(), "it is for bodies that need it");
}

#[test]
fn bodies_of_form_7_are_read_for_ever() {
    assert_eq!(decode(SESSIONS), Ok(Body::Transitions([vec![examples::alerts()], sessions::sessions()].concat())));
}

/// For as long as no other form holds all of them in fewer bytes.
#[test]
fn bodies_are_written_in_form_7_where_they_need_it() {
    assert_eq!(encode(&[vec![examples::alerts()], sessions::sessions()].concat()), SESSIONS);
    for needs in sessions::sessions() {
        let body = encode(&[needs]);
        assert_eq!(body[0], 7);
        for older in [1, 2, 3, 4, 5, 6] {
            let refused = Err(BadBody::Malformed("sessions, or a webhook's keys".into()));
            assert_eq!(decode(&[&[older], &body[1..]].concat()), refused);
        }
    }
    let other = encode(&[examples::alerts()]);
    assert!(decode(&[&[7], &other[1..]].concat()).is_err(), "it is for bodies that need it");
}

#[test]
fn bodies_of_form_8_are_read_for_ever() {
    assert_eq!(decode(TIMINGS), Ok(Body::Transitions([sessions::sessions(), timings::timings()].concat())));
}

/// For as long as form 8 is the newest.
#[test]
fn bodies_are_written_in_form_8_where_they_need_it() {
    assert_eq!(encode(&[sessions::sessions(), timings::timings()].concat()), TIMINGS);
    for needs in timings::timings() {
        let body = encode(&[needs]);
        assert_eq!(body[0], 8);
        for older in [1, 2, 3, 4, 5, 6, 7] {
            let refused = Err(BadBody::Malformed("usage.timings".into()));
            assert_eq!(decode(&[&[older], &body[1..]].concat()), refused);
        }
    }
    let other = encode(&sessions::sessions());
    assert!(decode(&[&[8], &other[1..]].concat()).is_err(), "it is for bodies that need it");
}

/// For as long as no other form holds all of them in fewer bytes.
#[test]
fn bodies_are_written_in_form_4_where_they_need_it() {
    assert_eq!(encode(&[examples::parking(), examples::members()]), MEMBERS);
    let members = encode(&[examples::members()]);
    for older in [1, 2, 3] {
        assert_eq!(decode(&[&[older], &members[1..]].concat()), Err(BadBody::Malformed("members".into())));
    }
    let other = encode(&[examples::parking()]);
    assert!(decode(&[&[4], &other[1..]].concat()).is_err(), "it is for bodies that need it");
}

/// For as long as no other form holds all of them in fewer bytes.
#[test]
fn bodies_are_written_in_form_3_where_they_need_it() {
    assert_eq!(encode(&[examples::admission(), examples::after_attempts(), examples::parking()]), PARKED);
    assert_eq!(decode(&[&[1], &PARKED[1..]].concat()), Err(BadBody::Malformed("usage.attempts".into())));
    let parked = encode(&[examples::parking()]);
    for older in [1, 2] {
        assert_eq!(decode(&[&[older], &parked[1..]].concat()), Err(BadBody::Malformed("hold.is_parked".into())));
    }
    let other = encode(&[examples::admission()]);
    assert!(decode(&[&[3], &other[1..]].concat()).is_err(), "it is for bodies that need it");
}

/// For as long as no other form holds all of them in fewer bytes.
#[test]
fn bodies_are_written_in_form_2_where_they_need_it() {
    assert_eq!(encode(&[examples::admission(), examples::after_attempts()]), ATTEMPTS);
}

/// For as long as form 1 holds all of them.
#[test]
fn bodies_are_written_in_form_1() {
    assert_eq!(encode_genesis(&genesis(Began::New)), GENESIS);
    assert_eq!(encode_genesis(&genesis(Began::AfterTables)), AFTER_TABLES);
    assert_eq!(encode(&[examples::opening(), examples::admission(), examples::settlement()]), REQUEST);
    assert_eq!(encode_prices(&examples::prices()), PRICES);
    assert_eq!(encode_imported(&examples::imported()), IMPORTED);
    assert_eq!(encode(&examples::everything()), EVERYTHING);
}
