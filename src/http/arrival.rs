//! A request as it came: its id, which of its lives it is, and when.

use std::time::Instant;

use actix_web::{HttpMessage, HttpRequest};
use billing::ids::RequestId;
use uuid::Uuid;

use crate::{
    idempotency::{Asked, Life},
    service::acts::Origin,
};

use super::state::Shared;

/// A request's id and when it came.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Its id: also its hold's, its record's, and that of whatever it makes.
    pub id: RequestId,
    /// Which of its lives this is: one under an `Idempotency-Key` may have others.
    pub life: Life,
    /// When its head was read.
    pub at: Instant,
}

impl Arrival {
    /// Of this request: made on first use.
    pub fn of(request: &HttpRequest) -> Self {
        if let Some(arrival) = request.extensions().get::<Self>() {
            return *arrival;
        }
        let arrival = Self { id: RequestId(Uuid::now_v7()), life: Life::First, at: Instant::now() };
        request.extensions_mut().insert(arrival);
        arrival
    }

    /// The request that asks for an act.
    pub fn origin(request: &HttpRequest) -> Origin {
        let Self { id, life, .. } = Self::of(request);
        Origin { id, life }
    }

    /// A later life of a request: it goes on under the id of the first.
    pub(super) fn resumed(request: &HttpRequest, id: RequestId, life: Life) {
        let at = Self::of(request).at;
        request.extensions_mut().insert(Self { id, life, at });
    }
}

/// The secret part of what a request makes and shows once. Under an `Idempotency-Key` it is the same in each of its lives;
/// none where there is no key.
pub fn secret(state: &Shared, request: &HttpRequest) -> Option<String> {
    let asked = request.extensions().get::<Asked>().cloned()?;
    Some(state.idempotency.secret(&asked, Arrival::of(request).id))
}
