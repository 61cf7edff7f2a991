//! HTTP: translates between clients and the gateway and services. [`routes`] is the one table of routes. Handlers are
//! short, and lie in folders as their paths do. Their answers are in [`views`].

pub mod account;
pub mod addresses;
pub mod admin;
pub mod arrival;
pub mod attempts;
pub mod auth;
pub mod body;
pub mod connection;
pub mod cors;
pub mod dashboard;
pub mod edge;
pub mod error;
pub mod formats;
pub mod guesses;
pub mod idempotency;
pub mod inference;
mod landing;
pub mod live;
mod once;
mod openapi;
pub mod operations;
pub mod operator;
mod pages;
pub mod query;
pub mod relay;
pub mod respond;
pub mod routes;
pub mod server;
pub mod session;
pub mod state;
mod strangers;
mod stripe;
pub mod surface;
mod traced;
pub mod values;
pub mod views;
