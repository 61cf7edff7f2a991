//! The members of an account: who they are, invitations, what changed; and asking owners for more.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use billing::{
    ids::{AccountId, PersonId},
    key::Scope,
    member::{Act, Role},
};
use serde::{Deserialize, de::DeserializeOwned};
use uuid::Uuid;

use super::super::{
    page::{Frame, Visitor, answered, failed, visited},
    text::{Minute, minute},
};
use crate::{
    http::{
        attempts::Attempt,
        error::ApiError,
        pages::{Empty, said, to},
        query::Query,
        respond::Body,
        state::Shared,
        trail, values,
    },
    service::people::{
        Person,
        members::{self, By, Changed, Invitation, Member, Wanted},
    },
};

struct Row {
    id: Uuid,
    name: String,
    email: String,
    role: &'static str,
    since: Minute,
    /// Since when an operator lets the person in no more.
    away: Option<Minute>,
}

impl From<Member> for Row {
    fn from(Member { membership, person }: Member) -> Self {
        let away = person.as_ref().and_then(|person| person.disabled_at).map(minute);
        let (name, email) = person.map_or_else(
            || ("Somebody who was forgotten".to_owned(), String::new()),
            |person| (person.name, person.email),
        );
        let (id, role) = (membership.person_id.0, membership.role.name());
        Self { id, name, email, role, since: minute(membership.since), away }
    }
}

struct Open {
    id: Uuid,
    email: String,
    role: &'static str,
    until: Minute,
}

impl From<Invitation> for Open {
    fn from(Invitation { id, email, role, expires_at }: Invitation) -> Self {
        Self { id, email, role: role.name(), until: minute(expires_at) }
    }
}

struct Change {
    at: Minute,
    says: String,
}

impl From<Changed> for Change {
    fn from(Changed { at, kind, whom, role, by, keys_revoked }: Changed) -> Self {
        let what = match kind.as_str() {
            "member_joined" => "became",
            "member_role_changed" => "is now",
            _ => "is no more",
        };
        let by = if by == "sign_up" { "signing up" } else { &by };
        let keys = match keys_revoked {
            0 => String::new(),
            1 => " A key was revoked with it.".to_owned(),
            count => format!(" {count} keys were revoked with it."),
        };
        Self { at: minute(at), says: format!("{whom} {what} {role}, by {by}.{keys}") }
    }
}

#[derive(Template)]
#[template(path = "dashboard/members.html")]
struct Members {
    frame: Frame,
    message: Option<String>,
    said: Option<&'static str>,
    roles: [&'static str; 4],
    may_change: bool,
    rows: Vec<Row>,
    invitations: Vec<Open>,
    changes: Vec<Change>,
}

/// What a page says after a form was carried out, by a word in its address.
const SAID: [(&str, &str); 3] = [
    ("invited", "The invitation is on its way."),
    ("withdrawn", "The invitation is good no more."),
    ("changed", "It is changed."),
];

/// `GET /dashboard/members`.
pub(super) async fn members(state: Shared, request: HttpRequest) -> HttpResponse {
    visited(&state, &request, async |visitor| made(&state, &request, visitor, None).await).await
}

async fn shown(state: &Shared, request: &HttpRequest, visitor: &Visitor, wrong: Option<ApiError>) -> HttpResponse {
    answered(state, request, visitor, wrong, async |wrong| made(state, request, visitor, wrong).await).await
}

async fn made(
    state: &Shared,
    request: &HttpRequest,
    visitor: &Visitor,
    message: Option<String>,
) -> Result<Members, ApiError> {
    visitor.person(Act::Read)?;
    let account = visitor.may(Scope::Read)?.account_id;
    let query = Query::of_form(request, &["said"])?;
    let may_change = visitor.role().is_some_and(|role| role.may(Act::Members));
    // Whom others invite is no business of who may not.
    let invitations = if may_change { members::invitations(&state.service, account).await? } else { Vec::new() };
    Ok(Members {
        frame: visitor.frame("Members"),
        message,
        said: said(&query, &SAID),
        roles: Role::ALL.map(Role::name),
        may_change,
        rows: members::list(&state.service, account).await?.into_iter().map(Row::from).collect(),
        invitations: invitations.into_iter().map(Open::from).collect(),
        changes: members::changes(&state.service, account).await?.into_iter().map(Change::from).collect(),
    })
}

/// Carries out a form of an owner. Gives the word by which the page says that it was, one of [`SAID`].
async fn carried_out<T: DeserializeOwned>(
    state: &Shared,
    request: &HttpRequest,
    body: Body,
    act: impl AsyncFnOnce(&Person, AccountId, T) -> Result<&'static str, ApiError>,
) -> HttpResponse {
    let visitor = match Visitor::of(state, request).await {
        Ok(visitor) => visitor,
        Err(answer) => return answer,
    };
    let work = async {
        let by = &visitor.person(Act::Members)?.person;
        act(by, visitor.caller.account_id, visitor.form(request, body)?).await
    };
    match work.await {
        Ok(said) => to(&format!("/dashboard/members?said={said}")),
        Err(error) => shown(state, request, &visitor, Some(error)).await,
    }
}

fn role(name: &str) -> Result<Role, ApiError> {
    let known = || Role::ALL.map(Role::name).join(", ");
    Role::from_name(name).ok_or_else(|| ApiError::invalid("role", format!("must be one of {}", known())))
}

fn person(text: &str) -> Result<PersonId, ApiError> {
    Ok(PersonId(values::id("person", text, "must be an id")?))
}

/// An invitation.
#[derive(Deserialize)]
struct Invite {
    #[serde(default)]
    email: String,
    #[serde(default)]
    role: String,
}

/// `POST /dashboard/members/invite`.
pub(super) async fn invite(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    carried_out(&state, &request, body, async |by, account, Invite { email, role: name }| {
        let role = role(&name)?;
        state.attempts.count(Attempt::Letter, state.addresses.of(&request), Some(&email)).await?;
        // The address is the invited person's, whom nobody has asked yet.
        trail::about(&request, None, role.name());
        members::invite(&state.service, account, by, &email, role).await?;
        Ok("invited")
    })
    .await
}

/// `POST /dashboard/members/invitations/{id}/withdraw`.
pub(super) async fn withdraw(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    carried_out(&state, &request, body, async |_, account, Empty {}| {
        members::withdraw(&state.service, account, values::id("id", &id, "must be an id")?).await?;
        Ok("withdrawn")
    })
    .await
}

/// Another role.
#[derive(Deserialize)]
struct OtherRole {
    #[serde(default)]
    role: String,
    keys: Option<String>,
}

/// `POST /dashboard/members/{person}/role`. The keys that the member made and that may do more end with it, unless the form says
/// otherwise.
pub(super) async fn change_role(
    state: Shared,
    request: HttpRequest,
    id: web::Path<String>,
    body: Body,
) -> HttpResponse {
    carried_out(&state, &request, body, async |by, account, OtherRole { role: name, keys }| {
        let (role, keys) = (role(&name)?, values::made_keys(keys.as_deref())?);
        trail::about(&request, None, role.name());
        let by = By::Person(by.id);
        let revoked = members::change_role(&state.service, account, person(&id)?, role, by, keys).await?;
        trail::unless_changed(&request, revoked.is_some());
        forget(&state, &revoked.unwrap_or_default());
        Ok("changed")
    })
    .await
}

/// Has this process know of revoked keys at once.
fn forget(state: &Shared, revoked: &[String]) {
    for public in revoked {
        state.keys.forget(public);
    }
}

/// The end of a membership. The keys that the member made end with it, unless the form says otherwise.
#[derive(Deserialize)]
struct Remove {
    keys: Option<String>,
}

/// `POST /dashboard/members/{person}/remove`.
pub(super) async fn remove(state: Shared, request: HttpRequest, id: web::Path<String>, body: Body) -> HttpResponse {
    carried_out(&state, &request, body, async |by, account, Remove { keys }| {
        let keys = values::made_keys(keys.as_deref())?;
        let revoked = members::remove(&state.service, account, person(&id)?, By::Person(by.id), keys).await?;
        forget(&state, &revoked);
        Ok("changed")
    })
    .await
}

/// What is asked for.
#[derive(Deserialize)]
struct Ask {
    #[serde(default)]
    wants: String,
}

/// `POST /dashboard/members/ask`.
pub(super) async fn ask(state: Shared, request: HttpRequest, body: Body) -> HttpResponse {
    let visitor = match Visitor::of(&state, &request).await {
        Ok(visitor) => visitor,
        Err(answer) => return answer,
    };
    let work = async {
        let by = &visitor.person(Act::Ask)?.person;
        let Ask { wants } = visitor.form(&request, body)?;
        let wanted = Wanted::ALL.into_iter().find(|wanted| wanted.name() == wants);
        let wanted = wanted.ok_or_else(|| ApiError::invalid("wants", "must be one of credits, limit"))?;
        members::ask(&state.service, visitor.caller.account_id, by, wanted).await?;
        Ok::<_, ApiError>(to("/dashboard?said=asked"))
    };
    work.await.unwrap_or_else(|error| failed(&request, &error))
}
