//! The arrival of a request: its id, its attempt (life) and its time.

use std::time::Instant;

use actix_web::{HttpMessage, HttpRequest};
use billing::ids::RequestId;
use uuid::Uuid;

use crate::{
    idempotency::{Asked, Life},
    service::acts::Origin,
};

use super::state::Shared;

/// A request's id, and when it arrived.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// The request's id, which its hold, its record and the objects it creates have too.
    pub id: RequestId,
    /// Which attempt of the request this is. A request under an `Idempotency-Key` may have several.
    pub life: Life,
    /// When the request's head was read.
    pub at: Instant,
}

impl Arrival {
    /// The arrival of this request, made on first use.
    pub fn of(request: &HttpRequest) -> Self {
        if let Some(arrival) = request.extensions().get::<Self>() {
            return *arrival;
        }
        let state = request.app_data::<Shared>();
        let id = state.map_or_else(|| RequestId(Uuid::now_v7()), |state| state.gateway.accounts.running().new_id());
        let arrival = Self { id, life: Life::First, at: Instant::now() };
        request.extensions_mut().insert(arrival);
        arrival
    }

    /// The request that asks for an act.
    pub fn origin(request: &HttpRequest) -> Origin {
        let Self { id, life, .. } = Self::of(request);
        Origin { id, life }
    }

    /// Marks a later attempt of a request, which goes on under the id of the first.
    pub(super) fn resumed(request: &HttpRequest, id: RequestId, life: Life) {
        let at = Self::of(request).at;
        request.extensions_mut().insert(Self { id, life, at });
    }
}

/// The secret part of an object that a request creates and shows once. Under an `Idempotency-Key` it is the same in
/// each attempt; `None` without a key.
pub fn secret(state: &Shared, request: &HttpRequest) -> Option<String> {
    let asked = request.extensions().get::<Asked>().cloned()?;
    Some(state.idempotency.secret(&asked, Arrival::of(request).id))
}
