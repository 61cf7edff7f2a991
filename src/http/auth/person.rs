//! A person's session as an authority: the person acts for the account that the session looks at, in the role that the person
//! has there now.

use billing::ids::{AccountId, KeyId};
use uuid::Uuid;

use super::{Known, Shown};
use crate::{
    gateway::serve::Caller,
    http::{error::ApiError, state::Shared},
    service::people::sessions::{self, Open},
};

fn over() -> ApiError {
    ApiError::unauthorized("This session has ended: sign in again.")
}

/// Opens a session by its token.
pub(super) async fn opened(state: &Shared, id: Uuid, token: &str) -> Result<Shown, ApiError> {
    let open = sessions::open(&state.service, id, token).await?.ok_or_else(over)?;
    let (member, _) = open.seat.ok_or_else(|| ApiError::forbidden("You are a member of no account."))?;
    Ok(Shown::Session(id, member.account_id))
}

/// What a session that was opened before may do now.
pub(super) async fn known(state: &Shared, id: Uuid, account: AccountId) -> Result<Known, ApiError> {
    let open = sessions::still(&state.service, id, account).await?.ok_or_else(over)?;
    let caller = caller(&open).ok_or_else(over)?;
    Ok(Known { caller, expires_at: Some(open.session.ends_at), is_limited: false })
}

/// The caller of an open session: the member stands where a key would, so that each member's use is told apart.
pub(in crate::http) fn caller(open: &Open) -> Option<Caller> {
    let (member, _) = open.seat.as_ref()?;
    let key_id = KeyId(member.person_id.0);
    Some(Caller { account_id: member.account_id, key_id, scopes: member.role.scopes() })
}
