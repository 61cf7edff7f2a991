//! The servers the stories stand on: private, fresh for each test, and gone with the run.

use crate::support::postgres::{self, Postgres};
use crate::support::redis::Redis;

#[test]
fn each_test_has_a_postgres_database_of_its_own() {
    let Some(shared) = postgres::shared() else { return };
    let (first, second) = (shared.fresh_database(), shared.fresh_database());
    assert_ne!(first, second);
    postgres::query(&first, "CREATE TABLE mine (id int)").unwrap();
    assert_eq!(postgres::query(&first, "SELECT count(*) FROM mine").unwrap(), "0");
    assert!(postgres::query(&second, "SELECT * FROM mine").is_err());
    let version = postgres::query(&first, "SHOW server_version_num").unwrap();
    assert!(version.parse::<u32>().unwrap() >= 150_000, "{version}");
}

#[test]
fn a_postgres_of_ones_own_goes_away_and_comes_back_with_its_data() {
    let Some(mut own) = Postgres::start() else { return };
    let url = own.fresh_database();
    postgres::query(&url, "CREATE TABLE kept (id int)").unwrap();
    own.stop();
    assert!(postgres::query(&url, "SELECT 1").is_err());
    own.resume();
    assert_eq!(postgres::query(&url, "SELECT count(*) FROM kept").unwrap(), "0");
}

#[test]
fn a_redis_goes_away_and_comes_back() {
    let Some(mut redis) = Redis::start() else { return };
    assert_eq!(redis.ping().unwrap(), "+PONG");
    redis.stop();
    assert!(redis.ping().is_err());
    redis.resume();
    assert_eq!(redis.ping().unwrap(), "+PONG");
}
