//! `/admin/v1/people`: people, who are found, invited, given another password, turned away and forgotten by operators.

use actix_web::{HttpRequest, HttpResponse, web};
use billing::member::Role;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    http::{
        auth,
        error::ApiError,
        query::Query,
        respond::{Body, answer, read, read_nothing},
        state::Shared,
        trail, values,
        views::{
            List, Page,
            people::{AccountMember, ForgottenPerson, Person, PersonLink, PersonState},
        },
    },
    service::{
        accounts,
        people::{members, operator},
    },
};

/// An address to invite.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WantedPerson)]
pub struct Wanted {
    email: String,
    /// The id or the address of the account to be a member of; without it the link opens an account of its own.
    account: Option<String>,
    /// `owner`, `billing`, `developer` or `reader`: with an account alone.
    role: Option<String>,
    /// Whether the link is mailed, too.
    #[serde(default)]
    mail: bool,
}

/// `GET /admin/v1/people`, newest first. `search` is a part of the e-mail address.
pub async fn list(state: Shared, request: HttpRequest) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let query = Query::of(&request, &["search", "limit", "cursor"])?;
        let found = operator::list(&state.service, query.get("search"), query.page()?).await?;
        Ok(Page::<Person>::from(found))
    };
    answer(&request, work.await)
}

/// `GET /admin/v1/people/{person}`, by id or address.
pub async fn person(state: Shared, request: HttpRequest, person: web::Path<String>) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        Ok(Person::from(operator::named(&state.service, &person).await?))
    };
    answer(&request, work.await)
}

/// `GET /admin/v1/accounts/{account}/members`.
pub async fn members(state: Shared, request: HttpRequest, account: web::Path<String>) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let id = accounts::named(&state.service, &account).await?;
        Ok(List::<AccountMember>::of(members::list(&state.service, id).await?))
    };
    answer(&request, work.await)
}

fn role(name: Option<&str>) -> Result<Role, ApiError> {
    let found = name.and_then(Role::from_name);
    found.ok_or_else(|| ApiError::invalid("role", format!("must be one of {}", Role::ALL.map(Role::name).join(", "))))
}

/// `POST /admin/v1/people/invite`.
pub async fn invite(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let Wanted { email, account, role: named, mail } = read(&state, body)?;
        let to = match account {
            Some(account) => Some((accounts::named(&state.service, &account).await?, role(named.as_deref())?)),
            None if named.is_some() => return Err(ApiError::invalid("role", "takes an account")),
            None => None,
        };
        let place = to.map_or_else(
            || "an account of its own".to_owned(),
            |(account, role)| format!("account {account}, {}", role.name()),
        );
        trail::about(&request, Some(&place), "");
        Ok(PersonLink { link: operator::invite(&state.service, &email, to, mail).await? })
    };
    answer(&request, work.await)
}

/// `POST /admin/v1/people/{person}/reset-link`.
pub async fn reset_link(state: Shared, request: HttpRequest, person: web::Path<String>, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        read_nothing(&state, body)?;
        let found = operator::named(&state.service, &person).await?;
        trail::about(&request, Some(&format!("person {}", found.person.id)), "");
        Ok(PersonLink { link: operator::reset_link(&state.service, &found.person).await? })
    };
    answer(&request, work.await)
}

/// `POST /admin/v1/people/{person}/disable`. `keys` says what becomes of those that the person made: `revoke`, the default, or
/// `keep`.
pub async fn disable(state: Shared, request: HttpRequest, person: web::Path<String>, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let keys = values::made_keys(Query::of(&request, &["keys"])?.get("keys"))?;
        read_nothing(&state, body)?;
        let found = operator::named(&state.service, &person).await?;
        let id = found.person.id;
        trail::about(&request, Some(&format!("person {id}")), "");
        let revoked = operator::disable(&state.service, &found, keys).await?;
        for public in &revoked {
            state.keys.forget(public);
        }
        Ok(PersonState { id: id.0, disabled: true, keys_revoked: revoked.len() })
    };
    answer(&request, work.await)
}

/// `POST /admin/v1/people/{person}/enable`.
pub async fn enable(state: Shared, request: HttpRequest, person: web::Path<String>, body: Body) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        read_nothing(&state, body)?;
        let id = operator::named(&state.service, &person).await?.person.id;
        trail::about(&request, Some(&format!("person {id}")), "");
        operator::enable(&state.service, id).await?;
        Ok(PersonState { id: id.0, disabled: false, keys_revoked: 0 })
    };
    answer(&request, work.await)
}

/// `DELETE /admin/v1/people/{person}`. `keys` says what becomes of those that the person made: `revoke`, the default, or `keep`.
pub async fn forget(state: Shared, request: HttpRequest, person: web::Path<String>) -> HttpResponse {
    let work = async {
        auth::operator(&state, &request)?;
        let keys = values::made_keys(Query::of(&request, &["keys"])?.get("keys"))?;
        let found = operator::named(&state.service, &person).await?;
        trail::about(&request, Some(&format!("person {}", found.person.id)), "");
        let revoked = operator::forget(&state.service, &found, keys).await?;
        for public in &revoked {
            state.keys.forget(public);
        }
        Ok(ForgottenPerson { id: found.person.id.0, forgotten: true, keys_revoked: revoked.len() })
    };
    answer(&request, work.await)
}
