//! A request as it came: its id, which of its lives it is, and when.

use std::time::Instant;

use actix_web::{HttpMessage, HttpRequest};
use billing::ids::RequestId;
use uuid::Uuid;

use crate::idempotency::Life;

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

    /// A later life of a request: it goes on under the id of the first.
    pub(super) fn resumed(request: &HttpRequest, id: RequestId, life: Life) {
        let at = Self::of(request).at;
        request.extensions_mut().insert(Self { id, life, at });
    }
}
